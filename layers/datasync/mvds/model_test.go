package mvds

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
	"github.com/stratanode/strata/layers/layertest"
	"github.com/stratanode/strata/layers/secure"
)

// world is some nodes over a secure transport that loses, doubles, delays and
// reorders, with an upper layer that has a memory of its own. Everything comes
// from one seed.
type world struct {
	rapid.TB
	chance *rand.Rand
	now    time.Time
	hosts  []*host
	flying []arrival
	faults faults
}

type faults struct {
	Lost, Doubled, Unsent, Unanswered int // percent of datagrams
	MaxDelay                          time.Duration
}

type arrival struct {
	at   time.Time
	to   *host
	what any // an event of secure, a command or an event of datasync
	life int // what is addressed to an earlier life is lost
}

// host is one node with its upper layer.
type host struct {
	w      *world
	key    layers.PublicKey
	memory *layertest.Memory
	node   *Node
	alarm  time.Time
	life   int

	crashAt    int  // commit at which to crash; 0: never
	afterwards bool // after that commit instead of before it
	commits    int

	answered map[layers.Ref][]byte // of this life's secure
	// What the upper layer has made durable.
	published map[layers.Ref]datasync.Publish
	queued    map[layers.Ref]bool
	result    map[layers.Ref]datasync.Event
	taken     map[string]int // body: how often taken as new
	takenIDs  map[datasync.MessageID]bool
}

func newWorld(t rapid.TB, seed uint64, people int, f faults) *world {
	w := &world{TB: t, chance: rand.New(rand.NewPCG(seed, 1)), now: t0, faults: f}
	for i := range people {
		h := &host{
			w: w, key: keyOf(fmt.Sprint("person ", i)), memory: layertest.NewMemory(),
			published: map[layers.Ref]datasync.Publish{}, queued: map[layers.Ref]bool{},
			result: map[layers.Ref]datasync.Event{}, taken: map[string]int{},
			takenIDs: map[datasync.MessageID]bool{},
		}
		w.hosts = append(w.hosts, h)
		h.start()
	}
	return w
}

func (h *host) start() {
	h.life++
	h.node = New(DefaultConfig(), h.key, nil, h.memory)
	h.alarm = time.Time{}
	h.answered = map[layers.Ref][]byte{}
	if h.do(h.node.Wake(h.w.now), nil) {
		h.step(datasync.Attach{})
	}
}

// do carries out one output. It is false if the host crashed in it.
func (h *host) do(out output, err error) bool {
	if err != nil {
		h.w.Fatal(err)
	}
	if len(out.Save) > 0 {
		h.commits++
		crash := h.commits == h.crashAt
		if !crash || h.afterwards {
			h.memory.Commit(out.Save)
		}
		if crash {
			h.start()
			return false
		}
	}
	if !out.Wake.IsZero() {
		h.alarm = out.Wake
	}
	for _, c := range out.Down {
		h.w.carry(h, c)
	}
	for _, e := range out.Up {
		h.w.later(h, 0, e)
	}
	return true
}

func (h *host) step(what any) {
	switch m := what.(type) {
	case datasync.Command:
		h.do(h.node.FromAbove(h.w.now, m))
	case secure.Event:
		h.do(h.node.FromBelow(h.w.now, m))
	case datasync.Event:
		h.upper(m)
	}
}

// upper is the layer above: what it notes is durable at once.
func (h *host) upper(e datasync.Event) {
	switch e := e.(type) {
	case datasync.Ready:
		for _, ref := range sortedRefs(h.published) {
			if !h.queued[ref] && h.result[ref] == nil {
				h.w.later(h, 0, h.published[ref])
			}
		}
	case datasync.Queued:
		h.queued[e.Ref] = true
	case datasync.Delivered:
		h.final(e.Ref, e)
	case datasync.Failed:
		h.final(e.Ref, e)
	case datasync.Received:
		if !h.takenIDs[e.ID] {
			h.takenIDs[e.ID] = true
			h.taken[string(e.Body)]++
		}
		h.w.later(h, 0, datasync.Taken{ID: e.ID})
	}
}

func (h *host) final(ref layers.Ref, e datasync.Event) {
	if before := h.result[ref]; before != nil && before != e {
		h.w.Fatalf("%v after %v", e, before)
	}
	h.result[ref] = e
}

func sortedRefs(m map[layers.Ref]datasync.Publish) []layers.Ref {
	var refs []layers.Ref
	for r := range m {
		refs = append(refs, r)
	}
	slices.SortFunc(refs, func(a, b layers.Ref) int { return bytes.Compare(a[:], b[:]) })
	return refs
}

func (w *world) publish(from, to *host, body string) {
	c := datasync.Publish{Ref: refOf(body), To: to.key, Body: []byte(body)}
	from.published[c.Ref] = c
	from.step(c)
}

// carry is the secure transport.
func (w *world) carry(h *host, c secure.Command) {
	switch c := c.(type) {
	case secure.Attach:
		w.later(h, 0, secure.Ready{Info: info})
	case secure.Send:
		if len(c.Body) == 0 {
			w.Fatal("an empty payload is sent")
		}
		// After an answer that is still on its way up, a repetition is sent
		// anew; but it must be a repetition.
		if before, ok := h.answered[c.Ref]; ok && !bytes.Equal(before, c.Body) {
			w.Fatalf("ref %v is used for something else", c.Ref)
		}
		if w.percent(w.faults.Unanswered) {
			return // until it is offered again
		}
		h.answered[c.Ref] = c.Body
		if w.percent(w.faults.Unsent) {
			w.later(h, w.delay(), secure.Expired{Ref: c.Ref})
			return
		}
		w.later(h, 0, secure.Accepted{Ref: c.Ref})
		w.later(h, w.delay(), secure.Relayed{Ref: c.Ref})
		for range 2 {
			if !w.percent(w.faults.Lost) {
				for _, to := range w.hosts {
					if to.key == c.To {
						w.flying = append(w.flying, arrival{w.now.Add(w.delay()), to, secure.Received{From: h.key, Body: c.Body, Sent: w.now}, 0})
					}
				}
			}
			if !w.percent(w.faults.Doubled) {
				return
			}
		}
	}
}

func (w *world) percent(p int) bool { return w.chance.IntN(100) < p }

func (w *world) delay() time.Duration {
	return time.Millisecond + time.Duration(w.chance.Int64N(int64(w.faults.MaxDelay)+1))
}

func (w *world) later(h *host, d time.Duration, what any) {
	w.flying = append(w.flying, arrival{w.now.Add(d), h, what, h.life})
}

// next lets the next thing happen. It is false if nothing happens until end.
func (w *world) next(end time.Time) bool {
	at, first, sleeper := end, -1, (*host)(nil)
	for i, a := range w.flying {
		if a.at.Before(at) {
			at, first = a.at, i
		}
	}
	for _, h := range w.hosts {
		if !h.alarm.IsZero() && h.alarm.Before(at) {
			at, first, sleeper = h.alarm, -1, h
		}
	}
	if at.After(w.now) {
		w.now = at
	}
	switch {
	case sleeper != nil:
		sleeper.alarm = time.Time{}
		sleeper.do(sleeper.node.Wake(w.now), nil)
	case first >= 0:
		a := w.flying[first]
		w.flying = slices.Delete(w.flying, first, first+1)
		if a.life == 0 || a.life == a.to.life {
			a.to.step(a.what)
		}
	default:
		return false
	}
	return true
}

func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for range 2_000_000 {
		if !w.next(end) {
			return
		}
	}
	w.Fatal("no rest")
}

// check wants every message taken once and known to be delivered.
func (w *world) check() {
	w.Helper()
	for i, h := range w.hosts {
		for ref, c := range h.published {
			if h.result[ref] != (datasync.Event)(datasync.Delivered{Ref: ref}) {
				w.Errorf("host %d: message %q: result %v, want delivered", i, c.Body, h.result[ref])
			}
			for _, to := range w.hosts {
				if to.key == c.To && to.taken[string(c.Body)] != 1 {
					w.Errorf("message %q is taken %d times, want once", c.Body, to.taken[string(c.Body)])
				}
			}
		}
		if n := h.node; len(n.messages)+len(n.byRef)+n.held.len()+n.unanswered.len()+n.queuedBytes+n.held.bytes > 0 {
			w.Errorf("host %d: left: %d messages, %d held, %d datagrams", i, len(n.messages), n.held.len(), n.unanswered.len())
		}
		for _, p := range h.node.peers {
			if p.busy() || p.unaccepted != 0 || p.heldBytes != 0 {
				w.Errorf("host %d: a peer is left busy: %+v", i, p)
			}
		}
	}
}

// checkForgotten wants that in the end nothing is kept.
func (w *world) checkForgotten() {
	w.Helper()
	w.run(seenFor + 24*time.Hour)
	for i, h := range w.hosts {
		if h.memory.Len() > 0 {
			w.Errorf("host %d: %d records left for ever", i, h.memory.Len())
		}
	}
}

func TestEveryMessageIsDeliveredExactlyOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := faults{
			Lost:       rapid.IntRange(0, 60).Draw(t, "lost"),
			Doubled:    rapid.IntRange(0, 50).Draw(t, "doubled"),
			Unsent:     rapid.IntRange(0, 40).Draw(t, "unsent"),
			Unanswered: rapid.IntRange(0, 10).Draw(t, "unanswered"),
			MaxDelay:   time.Duration(rapid.IntRange(0, 20_000).Draw(t, "delay ms")) * time.Millisecond,
		}
		w := newWorld(t, rapid.Uint64().Draw(t, "seed"), rapid.IntRange(2, 3).Draw(t, "people"), f)
		pick := func(name string) *host {
			return w.hosts[rapid.IntRange(0, len(w.hosts)-1).Draw(t, name)]
		}
		count := 0
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				from, to := pick("from"), pick("to")
				if from == to {
					return
				}
				for range rapid.IntRange(1, 20).Draw(t, "messages") {
					count++
					w.publish(from, to, fmt.Sprint("message ", count))
				}
			},
			"crash": func(t *rapid.T) { pick("who").start() },
			"crash soon": func(t *rapid.T) {
				h := pick("who")
				h.crashAt = h.commits + rapid.IntRange(1, 10).Draw(t, "commits from now")
				h.afterwards = rapid.Bool().Draw(t, "after the commit")
			},
			"ready again": func(t *rapid.T) { pick("who").step(secure.Ready{Info: info}) },
			"upper restarts": func(t *rapid.T) {
				h := pick("who")
				w.flying = slices.DeleteFunc(w.flying, func(a arrival) bool {
					_, up := a.what.(datasync.Event)
					return up && a.to == h
				})
				h.step(datasync.Attach{})
			},
			"time passes": func(t *rapid.T) {
				w.run(time.Duration(rapid.IntRange(1, 100_000).Draw(t, "ms")) * time.Millisecond)
			},
			"": func(t *rapid.T) {
				for _, h := range w.hosts {
					for body, k := range h.taken {
						if k > 1 {
							t.Fatalf("message %q is taken %d times", body, k)
						}
					}
				}
			},
		})
		w.faults = faults{MaxDelay: time.Second}
		for _, h := range w.hosts {
			h.crashAt = 0
		}
		w.run(2 * time.Hour)
		w.check()
		w.checkForgotten()
	})
}

// script is a conversation with losses, the same for every place of a crash.
func script(t rapid.TB, crash func(w *world)) *world {
	w := newWorld(t, 7, 2, faults{Lost: 25, Doubled: 10, Unsent: 10, MaxDelay: 3 * time.Second})
	crash(w)
	for i := range 8 {
		w.publish(w.hosts[0], w.hosts[1], fmt.Sprint("to ", i))
		w.publish(w.hosts[1], w.hosts[0], fmt.Sprint("fro ", i))
		w.run(2 * time.Second)
	}
	w.faults = faults{MaxDelay: time.Second}
	w.run(time.Hour)
	return w
}

func TestCrashAtEveryCommitLosesAndDoublesNothing(t *testing.T) {
	plain := script(t, func(*world) {})
	plain.check()
	for who, h := range plain.hosts {
		if h.commits < 30 {
			t.Fatalf("only %d commits", h.commits)
		}
		for k := 1; k <= h.commits; k++ {
			for _, after := range []bool{false, true} {
				w := script(t, func(w *world) { w.hosts[who].crashAt, w.hosts[who].afterwards = k, after })
				w.check()
				if w.hosts[who].life < 2 {
					t.Errorf("host %d did not crash at commit %d", who, k)
				}
				if t.Failed() {
					t.Fatalf("host %d, commit %d, afterwards %v", who, k, after)
				}
			}
		}
	}
}

func BenchmarkAcknowledgement(b *testing.B) {
	for _, pending := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(pending, " pending"), func(b *testing.B) {
			r := newNode(b, alice)
			r.node.cfg.MaxQueued = pending + 1
			var (
				ids  []datasync.MessageID
				next uint64
			)
			fill := func() {
				for len(r.node.messages) < pending {
					next++
					body := binary.BigEndian.AppendUint64(make([]byte, 200), next)
					r.step(r.node.FromAbove(r.now, datasync.Publish{Ref: layers.Keccak256(body), To: bob, Body: body}))
				}
				for id := range r.node.messages {
					ids = append(ids, id)
				}
			}
			fill()
			for b.Loop() {
				r.step(r.node.FromBelow(r.now, secure.Received{From: bob, Body: payload{acks: ids[:1]}.encode(), Sent: r.now}))
				ids = ids[1:]
				if len(r.node.messages) <= pending*9/10 {
					b.StopTimer()
					ids = ids[:0]
					fill()
					b.StartTimer()
				}
			}
		})
	}
}

// step carries an output out as far as sending goes, and keeps nothing.
func (r *rig) step(out output, err error) []secure.Command {
	if err != nil {
		r.t.Fatal(err)
	}
	for _, c := range out.Down {
		if s, ok := c.(secure.Send); ok {
			r.step(r.node.FromBelow(r.now, secure.Relayed{Ref: s.Ref}))
		}
	}
	return out.Down
}

func BenchmarkPublishAndAcknowledge(b *testing.B) {
	r := newNode(b, alice)
	i := uint64(0)
	for b.Loop() {
		i++
		body := binary.BigEndian.AppendUint64(make([]byte, 200), i)
		var ref layers.Ref
		binary.BigEndian.PutUint64(ref[:], i)
		r.step(r.node.FromAbove(r.now, datasync.Publish{Ref: ref, To: bob, Body: body}))
		m := wireMessage{nil, r.now.Unix(), body}
		g := r.node.peers[bob].group
		m.group = g[:]
		r.step(r.node.FromBelow(r.now, secure.Received{From: bob, Body: payload{acks: []datasync.MessageID{m.id()}}.encode()}))
	}
	if len(r.node.messages) > 0 {
		b.Errorf("%d messages left", len(r.node.messages))
	}
}

func BenchmarkReceiveAndTake(b *testing.B) {
	r := newNode(b, alice)
	g := oneToOne(alice, bob)
	i := uint64(0)
	for b.Loop() {
		i++
		m := wireMessage{g[:], r.now.Unix(), binary.BigEndian.AppendUint64(make([]byte, 200), i)}
		r.step(r.node.FromBelow(r.now, secure.Received{From: bob, Body: payload{messages: []wireMessage{m}}.encode(), Sent: r.now}))
		r.step(r.node.FromAbove(r.now, datasync.Taken{ID: m.id()}))
	}
}
