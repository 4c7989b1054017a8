package plugin

import (
	"time"

	"github.com/stratanode/strata/layers"
	slot "github.com/stratanode/strata/layers/transport"
)

// refuse answers a command that a plugin has no way to carry out.
func (e *Edge) refuse(ref layers.Ref, reason string) {
	e.up.Send(slot.Refused{Ref: ref, Reason: e.home.name + ": " + reason})
}

// watch takes a command. mu is held.
func (e *Edge) watch(c slot.Watch) {
	e.topics.watch(c, e.log)
	if c.Serves {
		e.offerHistory()
	}
}

// state says how the transport is doing. mu is held.
func (e *Edge) state() slot.State {
	count := &e.home.count
	s := slot.State{
		MaxMessage: e.info.MaxData,
		Pooled:     len(e.box.byRef), PooledBytes: e.box.unsent, PoolLimit: e.cfg.MaxUnsent,
		Admitted: count.received.Load(), Duplicates: count.drops[dropReplayed].Load(),
		Refused: map[string]uint64{}, Limited: map[string]uint64{},
		Servers: e.servers(),
	}
	for i, name := range dropNames {
		if n := count.drops[i].Load(); n > 0 && drop(i) != dropReplayed {
			s.Refused[name] = n
		}
	}
	if n := count.asksBusy.Load(); n > 0 {
		s.Limited["history_asks"] = n
	}
	return s
}

// explain tells what is remembered of an envelope: when it was published and
// when it came. What the transport does with it, nobody but it knows. mu is held.
func (e *Edge) explain(c slot.Explain) slot.Explained {
	out := slot.Explained{Ref: c.Ref, Hash: c.Hash}
	if at, ok := e.home.own.at(c.Hash); ok {
		out.Facts = append(out.Facts, slot.Fact{At: at, Deed: slot.Published, Detail: "by way of the transport " + e.home.name})
	}
	if at, ok := e.home.seen.at(c.Hash); ok {
		out.Facts = append(out.Facts, slot.Fact{At: at, Deed: slot.Came, Detail: "by way of the transport " + e.home.name})
	}
	return out
}

// servers are the archives that can be asked: the transport itself, which
// chooses among its peers. mu is held.
func (e *Edge) servers() []string {
	if !e.canQuery() {
		return nil
	}
	return []string{e.home.name}
}

// at returns when h was added.
func (s *hashes) at(h slot.Hash) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.young[h]
	if !ok {
		at, ok = s.old[h]
	}
	return time.Unix(0, at), ok
}
