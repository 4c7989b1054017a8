package status

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
	"github.com/stratanode/strata/layers/layertest"
	"github.com/stratanode/strata/layers/payload"
)

// TestModel lets two people write to each other and in a public chat over a data
// sync that keeps its promises and no more, while both crash at any commit.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{now: t0}
		for i, k := range []layers.PrivateKey{alice, bob} {
			p := &person{
				t: t, w: w, key: k, memory: layertest.NewMemory(),
				queued: map[layers.Ref]datasync.Publish{}, untaken: map[datasync.MessageID]datasync.Received{},
				status: map[payload.MessageID]payload.Status{}, shown: map[payload.MessageID]int{},
				clocks: map[payload.ChatID]uint64{}, saids: map[payload.MessageID]payload.Message{},
				bodies: map[datasync.MessageID]payload.MessageID{}, nextRef: byte(i),
			}
			w.people[i] = p
			p.start()
		}
		w.people[0].peer, w.people[1].peer = w.people[1], w.people[0]
		for _, p := range w.people {
			p.above(payload.Join{Ref: p.newRef(), Channel: "status"})
		}
		who := rapid.SampledFrom(w.people[:])
		t.Repeat(map[string]func(*rapid.T){
			"say": func(t *rapid.T) {
				p := who.Draw(t, "who")
				chat := chatOf(p.peer.key)
				if rapid.Bool().Draw(t, "public") {
					chat = "status"
				}
				p.above(payload.Say{Ref: p.newRef(), Chat: chat, Text: "same"})
			},
			"repeat the last command": func(t *rapid.T) {
				if p := who.Draw(t, "who"); p.last != nil {
					p.above(p.last)
				}
			},
			"deliver": func(t *rapid.T) { who.Draw(t, "who").deliver() },
			"duplicate": func(t *rapid.T) {
				if p := who.Draw(t, "who"); len(p.inbox) > 0 {
					p.inbox = append(p.inbox, p.inbox[0])
				}
			},
			"lose a public message": func(t *rapid.T) {
				p := who.Draw(t, "who")
				if len(p.inbox) > 0 {
					if e, ok := p.inbox[0].(datasync.Received); ok && e.Channel != "" {
						p.inbox = p.inbox[1:]
					}
				}
			},
			"fail broadcasts": func(t *rapid.T) { w.refuse = !w.refuse },
			"poison": func(t *rapid.T) {
				c := chatTo("status", func(c *chatMessage) {
					c.clock = milliseconds(w.now) + maxClockRead
					c.text = fmt.Sprint(w.poisoned)
				})
				w.poisoned++
				for _, p := range w.people {
					p.inbox = append(p.inbox, public(mallory, "status", signed(mallory, c)))
				}
			},
			"wait": func(t *rapid.T) {
				w.now = w.now.Add(time.Duration(rapid.IntRange(1, 100_000).Draw(t, "ms")) * time.Millisecond)
				for _, p := range w.people {
					p.wake()
				}
			},
			"crash":             func(t *rapid.T) { who.Draw(t, "who").crash() },
			"crash at a commit": func(t *rapid.T) { who.Draw(t, "who").memory.BeforeCommit = func(int) { panic(errCrash) } },
			"repeat ready":      func(t *rapid.T) { p := who.Draw(t, "who"); p.inbox = append(p.inbox, ready(10_000)) },
			"":                  func(*rapid.T) {},
		})
		w.settle(t)
	})
}

var errCrash = fmt.Errorf("crash")

type world struct {
	people   [2]*person
	now      time.Time
	refuse   bool // broadcasts fail
	poisoned int
}

// person is a node on a data sync of its own. What data sync has Queued, and
// what was not Taken, survives a crash; what is on its way between the two
// layers does not.
type person struct {
	t      *rapid.T
	w      *world
	peer   *person
	key    layers.PrivateKey
	node   *Node
	memory *layertest.Memory

	inbox   []datasync.Event
	queued  map[layers.Ref]datasync.Publish
	untaken map[datasync.MessageID]datasync.Received
	bodies  map[datasync.MessageID]payload.MessageID

	status  map[payload.MessageID]payload.Status
	shown   map[payload.MessageID]int
	clocks  map[payload.ChatID]uint64
	saids   map[payload.MessageID]payload.Message
	last    payload.Command
	nextRef byte
	refs    int
}

func (p *person) newRef() layers.Ref {
	p.refs++
	return layers.Ref{p.nextRef, byte(p.refs), byte(p.refs >> 8), 1}
}

func (p *person) start() {
	p.node = New(DefaultConfig(), p.key, p.memory)
	p.wake()
}

func (p *person) crash() {
	p.inbox = nil
	p.memory.BeforeCommit = nil
	p.start()
}

// step commits and carries out one step, or crashes in its commit.
func (p *person) step(do func() (output, error)) {
	defer func() {
		if r := recover(); r != nil {
			if r != any(errCrash) {
				panic(r)
			}
			p.crash()
		}
	}()
	out, err := do()
	if err != nil {
		return
	}
	p.memory.Commit(out.Save)
	for _, c := range out.Down {
		p.down(c)
	}
	for _, e := range out.Up {
		p.up(e)
	}
}

func (p *person) above(c payload.Command) {
	p.last = c
	p.step(func() (output, error) { return p.node.FromAbove(p.w.now, c) })
}

func (p *person) wake() {
	p.step(func() (output, error) { return p.node.Wake(p.w.now), nil })
}

func (p *person) deliver() {
	if len(p.inbox) == 0 {
		return
	}
	e := p.inbox[0]
	p.inbox = p.inbox[1:]
	p.step(func() (output, error) { return p.node.FromBelow(p.w.now, e) })
}

// down is data sync.
func (p *person) down(c datasync.Command) {
	tell := func(e datasync.Event) { p.inbox = append(p.inbox, e) }
	switch c := c.(type) {
	case datasync.Attach:
		tell(ready(10_000))
		for _, id := range slices.SortedFunc(maps.Keys(p.untaken), func(a, b datasync.MessageID) int { return bytes.Compare(a[:], b[:]) }) {
			tell(p.untaken[id])
		}
	case datasync.Publish:
		tell(datasync.Queued{Ref: c.Ref})
		if _, again := p.queued[c.Ref]; again {
			return
		}
		p.queued[c.Ref] = c
		tell(datasync.Sent{Ref: c.Ref})
		e := datasync.Received{ID: datasync.MessageID(c.Ref), From: p.key.Public(), Protection: datasync.Ratcheted, Body: c.Body}
		p.peer.untaken[e.ID] = e
		p.peer.bodies[e.ID] = messageID(e.From, e.Body)
		p.peer.inbox = append(p.peer.inbox, e)
	case datasync.Broadcast:
		if p.w.refuse {
			tell(datasync.Failed{Ref: c.Ref, Reason: "nobody is there"})
			return
		}
		tell(datasync.Relayed{Ref: c.Ref})
		p.peer.inbox = append(p.peer.inbox, public(p.key, c.Channel, c.Body))
	case datasync.Taken:
		if _, durable := p.memory.Get(messageKey(p.bodies[c.ID])); !durable {
			p.t.Errorf("taken %x, which is not durable", c.ID[:4])
		}
		delete(p.untaken, c.ID)
		p.peer.inbox = append(p.peer.inbox, datasync.Delivered{Ref: layers.Ref(c.ID)})
	}
}

// up is the API, which checks what it is told.
func (p *person) up(e payload.Event) {
	switch e := e.(type) {
	case payload.Said:
		m := e.Message
		if old, again := p.saids[m.ID]; again {
			m.Status, m.Reason = old.Status, old.Reason
			if m != old {
				p.t.Errorf("said %+v, before %+v", m, old)
			}
			return
		}
		if m.Clock <= p.clocks[m.Chat] {
			p.t.Errorf("clock %d after %d in %.8s", m.Clock, p.clocks[m.Chat], m.Chat)
		}
		if limit := milliseconds(p.w.now) + maxClockRead; m.Clock > limit {
			p.t.Errorf("clock %d is beyond the limit of others, %d", m.Clock, limit)
		}
		p.clocks[m.Chat] = m.Clock
		p.saids[m.ID] = m
		p.status[m.ID] = m.Status
	case payload.StatusChanged:
		if e.Status <= p.status[e.ID] {
			p.t.Errorf("status %v after %v", e.Status, p.status[e.ID])
		}
		p.status[e.ID] = e.Status
	case payload.Received:
		if p.shown[e.Message.ID]++; p.shown[e.Message.ID] > 1 {
			p.t.Errorf("message %v is shown twice", e.Message.ID)
		}
	case payload.Refused:
		p.t.Errorf("refused: %s", e.Reason)
	}
}

// settle ends all faults and checks that everything arrived under its own id.
func (w *world) settle(t *rapid.T) {
	w.refuse = false
	for _, p := range w.people {
		p.crash()
	}
	for busy := true; busy; {
		busy = false
		for _, p := range w.people {
			for len(p.inbox) > 0 {
				busy = true
				p.deliver()
			}
		}
	}
	for _, p := range w.people {
		if len(p.untaken) != 0 {
			t.Errorf("%d messages were never taken", len(p.untaken))
		}
		if p.node.outbox.len() != 0 {
			t.Errorf("%d messages are still pending", p.node.outbox.len())
		}
		for id, m := range p.saids {
			stored, ok := p.node.message(id)
			if !ok || stored.Status < p.status[id] {
				t.Errorf("own message %v: kept %v with status %v, last told %v", id, ok, stored.Status, p.status[id])
			}
			got, ok := p.peer.node.message(id)
			if !ok && !m.Public {
				t.Errorf("message %v has not arrived", id)
			}
			if ok && (got.Text != m.Text || got.Clock != m.Clock || got.Own || got.From != p.key.Public()) {
				t.Errorf("message %v arrived as %+v", id, got.Message)
			}
		}
	}
}
