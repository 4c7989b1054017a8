package mvds

import (
	"cmp"
	"container/list"
	"slices"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
)

// compressed is a public key in its short form, as the records name it.
type compressed = [33]byte

// seenIDs knows the messages that were taken, so that a repetition is
// acknowledged and not reported again. It is bounded per peer, over all peers
// and in time; the peer that was silent longest is forgotten first.
type seenIDs struct {
	byID  map[datasync.MessageID]compressed
	peers map[compressed]*list.Element // of *seenPeer
	order list.List                    // the most recently active peer first
}

type seenPeer struct {
	key  compressed
	last time.Time // of the last message
	ids  []seenID  // the oldest first
}

type seenID struct {
	id datasync.MessageID
	at time.Time
}

type seenLoaded struct {
	peer compressed
	seenID
}

func newSeenIDs() *seenIDs {
	return &seenIDs{byID: map[datasync.MessageID]compressed{}, peers: map[compressed]*list.Element{}}
}

// has reports whether the message was taken from this peer.
func (s *seenIDs) has(peer compressed, id datasync.MessageID) bool {
	from, ok := s.byID[id]
	return ok && from == peer
}

// load takes over the records of an earlier life, in the order of their time.
func (s *seenIDs) load(all []seenLoaded) {
	slices.SortStableFunc(all, func(a, b seenLoaded) int { return a.at.Compare(b.at) })
	for _, l := range all {
		s.insert(l.peer, l.seenID)
	}
}

// add remembers a message and returns the records that change by it.
func (s *seenIDs) add(peer compressed, id datasync.MessageID, now time.Time) []layers.Record {
	if s.has(peer, id) {
		return nil
	}
	taken := seenID{id, now}
	p := s.insert(peer, taken)
	save := []layers.Record{seenRecord(peer, taken)}
	for len(p.ids) > maxSeenPeer || p.ids[0].at.Add(seenFor).Before(now) && len(save) < maxSwept {
		save = append(save, s.dropOldest(p))
	}
	for len(s.byID) > maxSeen {
		save = append(save, s.dropLast())
	}
	return save
}

func (s *seenIDs) insert(peer compressed, taken seenID) *seenPeer {
	e := s.peers[peer]
	if e == nil {
		e = s.order.PushFront(&seenPeer{key: peer})
		s.peers[peer] = e
	} else {
		s.order.MoveToFront(e)
	}
	p := e.Value.(*seenPeer)
	p.ids = append(p.ids, taken)
	p.last = taken.at
	s.byID[taken.id] = peer
	return p
}

// dropLast forgets one message of the peer that was silent longest.
func (s *seenIDs) dropLast() layers.Record { return s.dropOldest(s.order.Back().Value.(*seenPeer)) }

func (s *seenIDs) dropOldest(p *seenPeer) layers.Record {
	id := p.ids[0].id
	p.ids = p.ids[1:]
	delete(s.byID, id)
	if len(p.ids) == 0 {
		s.order.Remove(s.peers[p.key])
		delete(s.peers, p.key)
	}
	return layers.Record{Key: seenKey(p.key, id)}
}

// sweep forgets the messages of peers that were silent for seenFor, not more
// than maxSwept at a time.
func (s *seenIDs) sweep(now time.Time) (save []layers.Record) {
	for at := s.sweepAt(); !at.IsZero() && !at.After(now) && len(save) < maxSwept; at = s.sweepAt() {
		save = append(save, s.dropLast())
	}
	return save
}

// sweepAt returns when sweep has something to do, zero if never.
func (s *seenIDs) sweepAt() time.Time {
	if e := s.order.Back(); e != nil {
		return e.Value.(*seenPeer).last.Add(seenFor)
	}
	return time.Time{}
}

// finished is the result of a message, kept because the layer above may have
// missed it.
type finished struct {
	ref    layers.Ref
	id     datasync.MessageID
	at     time.Time
	state  state // delivered or failed
	reason string
}

func (f *finished) size() int { return len(f.reason) }

func (f *finished) event() datasync.Event {
	if f.state == delivered {
		return datasync.Delivered{Ref: f.ref}
	}
	return datasync.Failed{Ref: f.ref, Reason: f.reason}
}

// results are the finished messages, the oldest first.
type results struct {
	*ordered[layers.Ref, *finished]
	ids map[datasync.MessageID]struct{}
}

func newResults() *results {
	return &results{newOrdered[layers.Ref, *finished](), map[datasync.MessageID]struct{}{}}
}

func (r *results) load(all []*finished) {
	slices.SortStableFunc(all, func(a, b *finished) int {
		return cmp.Or(a.at.Compare(b.at), slices.Compare(a.ref[:], b.ref[:]))
	})
	for _, f := range all {
		r.insert(f)
	}
}

func (r *results) insert(f *finished) {
	r.ordered.add(f.ref, f)
	r.ids[f.id] = struct{}{}
}

// add keeps a result and returns the records that change by it.
func (r *results) add(f *finished) []layers.Record {
	r.insert(f)
	save := []layers.Record{f.record()}
	for r.len() > maxDone {
		save = append(save, r.drop())
	}
	return save
}

func (r *results) drop() layers.Record {
	f := r.oldest()
	r.remove(f.ref)
	delete(r.ids, f.id)
	return layers.Record{Key: doneKey(f.ref)}
}

func (r *results) sweep(now time.Time) (save []layers.Record) {
	for at := r.sweepAt(); !at.IsZero() && !at.After(now) && len(save) < maxSwept; at = r.sweepAt() {
		save = append(save, r.drop())
	}
	return save
}

func (r *results) sweepAt() time.Time {
	if f := r.oldest(); f != nil {
		return f.at.Add(doneFor)
	}
	return time.Time{}
}
