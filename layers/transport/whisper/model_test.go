package whisper

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

// world is some nodes on an overlay in memory that keeps its contract: packets
// of a link stay in order, a link may end at any time with all that is on it.
type world struct {
	t     *rapid.T
	now   time.Time
	nodes []*member
	links map[[2]int]*link // by sender and receiver; both directions at once
}

type member struct {
	n        *Node
	greeting overlay.Outgoing
	alarm    time.Time
	topics   []transport.Topic
	received map[transport.Hash]int
	own      map[transport.Hash]bool
	finals   map[layers.Ref]int
	archive  *archive // of one relay
}

// link is one direction of a link.
type link struct {
	packets  []overlay.Outgoing
	sending  bool
	given    map[transport.Hash]bool // envelopes sent over it
	batches  map[transport.Hash][]transport.Hash
	received map[transport.Hash]bool // envelopes that have arrived over it
}

const (
	relays  = 3
	clients = 2
)

var modelTopics = []transport.Topic{chat, other, {1, 2, 3, 4}, {0xff, 0xff, 0xff, 0x07}}

func newWorld(t *rapid.T) *world {
	w := &world{t: t, now: t0, links: map[[2]int]*link{}}
	for i := range relays + clients {
		cfg := DefaultConfig()
		cfg.BundleBytes = minBundle
		if i >= relays {
			cfg.Interest = Subscribed
		}
		w.nodes = append(w.nodes, &member{
			n: New(cfg), received: map[transport.Hash]int{}, own: map[transport.Hash]bool{}, finals: map[layers.Ref]int{},
		})
		w.wake(i)
	}
	w.nodes[0].archive = &archive{kept: map[transport.Hash]bool{}, held: map[transport.Hash]bool{}}
	w.command(0, transport.Watch{Keeps: true})
	return w
}

func id(i int) overlay.PeerID       { return overlay.PeerID{byte(i + 1)} }
func index(peer overlay.PeerID) int { return int(peer[0]) - 1 }
func (w *world) up(a, b int) bool   { return w.links[[2]int{a, b}] != nil }
func (w *world) wake(i int)         { w.nodes[i].alarm = time.Time{}; w.after(i, w.nodes[i].n.Wake(w.now)) }
func (w *world) command(i int, c transport.Command) {
	out, err := w.nodes[i].n.FromAbove(w.now, c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.after(i, out)
}

func (w *world) event(i int, e overlay.Event) {
	out, err := w.nodes[i].n.FromBelow(w.now, e)
	if err != nil {
		w.t.Fatal(err)
	}
	w.after(i, out)
}

// after carries out what a step of node i asks for.
func (w *world) after(i int, out output) {
	m := w.nodes[i]
	if !out.Wake.IsZero() {
		m.alarm = out.Wake
	}
	for _, e := range out.Up {
		switch e := e.(type) {
		case transport.Received:
			for _, envelope := range e.Envelopes {
				if m.received[envelope.Hash]++; m.received[envelope.Hash] > 1 {
					w.t.Fatalf("node %d: %s was reported twice", i, envelope.Hash)
				}
				if m.own[envelope.Hash] {
					w.t.Fatalf("node %d: the own %s was reported", i, envelope.Hash)
				}
				if !slices.Contains(m.topics, envelope.Topic) {
					w.t.Fatalf("node %d: topic %s is not subscribed", i, envelope.Topic)
				}
			}
		case transport.Accepted:
			m.own[e.Hash] = true
		case transport.Relayed:
			m.finals[e.Ref]++
		case transport.Expired:
			m.finals[e.Ref]++
		case transport.Refused:
			w.t.Fatalf("node %d: %+v", i, e)
		case transport.Admitted:
			if e.Mark <= m.archive.last {
				w.t.Fatalf("node %d: mark %d after %d", i, e.Mark, m.archive.last)
			}
			m.archive.last = e.Mark
			m.archive.heard = append(m.archive.heard, e)
		}
	}
	for _, c := range out.Down {
		switch c := c.(type) {
		case overlay.Greet:
			m.greeting = c.Packet
		case overlay.Send:
			w.send(i, index(c.Peer), c.Packets)
		case overlay.Drop:
			w.t.Fatalf("node %d drops %d: %s", i, index(c.Peer), c.Reason)
		}
	}
}

func (w *world) send(from, to int, packets []overlay.Outgoing) {
	l := w.links[[2]int{from, to}]
	if l == nil || l.sending {
		w.t.Fatalf("%d sends to %d: no link, or a Send is unanswered", from, to)
	}
	l.sending = true
	l.packets = append(l.packets, packets...)
	for _, p := range packets {
		w.checkKept(from, to, p)
		if p.Code != codeMessages {
			continue
		}
		envelopes, err := parseMessages(p.Payload)
		if err != nil || len(envelopes) == 0 || len(p.Payload) > minBundle && len(envelopes) > 1 {
			w.t.Fatalf("%d sends %d envelopes in %d bytes: %v", from, len(envelopes), len(p.Payload), err)
		}
		back := w.links[[2]int{to, from}]
		for _, e := range envelopes {
			batch := hashOf(p.Payload)
			l.batches[batch] = append(l.batches[batch], hashOf(e.raw))
		}
		for _, e := range envelopes {
			h := hashOf(e.raw)
			if l.given[h] {
				w.t.Fatalf("%d sends %s to %d twice", from, h, to)
			}
			if back.received[h] {
				w.t.Fatalf("%d echoes %s to %d", from, h, to)
			}
			l.given[h] = true
		}
	}
}

// connect makes a link, with the greetings that the nodes have set by now.
func (w *world) connect(a, b int) {
	if a == b || w.up(a, b) {
		return
	}
	for _, d := range [][2]int{{a, b}, {b, a}} {
		w.links[d] = &link{given: map[transport.Hash]bool{}, batches: map[transport.Hash][]transport.Hash{}, received: map[transport.Hash]bool{}}
	}
	for _, d := range [][2]int{{a, b}, {b, a}} {
		g := w.nodes[d[1]].greeting
		s, err := NewCodec(DefaultConfig()).Greeting(w.now, g.Code, g.Payload)
		if err != nil {
			w.t.Fatal(err)
		}
		w.event(d[0], overlay.Connected{Peer: id(d[1]), State: []overlay.Packet{s}})
	}
}

func (w *world) disconnect(a, b int) {
	if !w.up(a, b) {
		return
	}
	delete(w.links, [2]int{a, b})
	delete(w.links, [2]int{b, a})
	w.event(a, overlay.Disconnected{Peer: id(b)})
	w.event(b, overlay.Disconnected{Peer: id(a)})
}

// carry brings the first packet of a direction to its end, or tells the sender
// that there is none left.
func (w *world) carry(from, to int) bool {
	l := w.links[[2]int{from, to}]
	if l == nil || !l.sending {
		return false
	}
	if len(l.packets) == 0 {
		l.sending = false
		w.event(from, overlay.Written{Peer: id(to)})
		return true
	}
	o := l.packets[0]
	l.packets = l.packets[1:]
	p, err := NewCodec(DefaultConfig()).Decode(w.now, o.Code, o.Payload)
	if err != nil {
		w.t.Fatalf("%d drops the honest %d: %v", to, from, err)
	}
	if m, ok := p.(Messages); ok {
		for _, e := range m.Envelopes {
			l.received[e.Hash] = true
		}
	}
	if p != nil {
		w.event(to, overlay.Arrived{Peer: id(from), Packet: p})
	}
	return true
}

// settle runs until nothing is on its way and no alarm is due within the time.
func (w *world) settle(within time.Duration) {
	end := w.now.Add(within)
	for {
		busy := false
		for a := range w.nodes {
			for b := range w.nodes {
				busy = w.carry(a, b) || busy
			}
		}
		if busy {
			continue
		}
		next := -1
		for i, m := range w.nodes {
			if !m.alarm.IsZero() && !m.alarm.After(end) && (next < 0 || m.alarm.Before(w.nodes[next].alarm)) {
				next = i
			}
		}
		if next < 0 {
			w.now = end
			return
		}
		if w.now.Before(w.nodes[next].alarm) {
			w.now = w.nodes[next].alarm
		}
		w.wake(next)
	}
}

func TestEveryEnvelopeReachesEveryInterestedNodeOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		node := rapid.IntRange(0, relays+clients-1)
		published := map[layers.Ref]int{}
		all := map[transport.Hash]transport.Topic{}
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				i := node.Draw(t, "node")
				p := transport.Publish{TTL: time.Hour, Topic: rapid.SampledFrom(modelTopics).Draw(t, "topic")}
				binary.BigEndian.PutUint32(p.Ref[:], uint32(len(published)))
				p.Data = append(p.Ref[:4:4], make([]byte, rapid.SampledFrom([]int{0, 300, 2000}).Draw(t, "size"))...)
				published[p.Ref] = i
				before := len(w.nodes[i].own)
				w.command(i, p)
				for n := 0; len(w.nodes[i].own) == before; n++ {
					w.wake(i)
				}
				for h := range w.nodes[i].own {
					if _, known := all[h]; !known {
						all[h] = p.Topic
					}
				}
			},
			"subscribe": func(t *rapid.T) {
				i := node.Draw(t, "node")
				topics := rapid.SliceOfDistinct(rapid.SampledFrom(modelTopics), func(t transport.Topic) transport.Topic { return t }).Draw(t, "topics")
				w.nodes[i].topics = topics
				w.command(i, transport.Subscribe{Topics: topics})
			},
			"connect":    func(t *rapid.T) { w.connect(node.Draw(t, "a"), node.Draw(t, "b")) },
			"disconnect": func(t *rapid.T) { w.disconnect(node.Draw(t, "a"), node.Draw(t, "b")) },
			"overlay restarts": func(t *rapid.T) {
				i := node.Draw(t, "node")
				for j := range w.nodes {
					if w.up(i, j) {
						delete(w.links, [2]int{i, j})
						delete(w.links, [2]int{j, i})
						w.event(j, overlay.Disconnected{Peer: id(i)})
					}
				}
				w.event(i, overlay.Ready{})
			},
			"carry": func(t *rapid.T) {
				for range 10 {
					w.carry(node.Draw(t, "from"), node.Draw(t, "to"))
				}
			},
			"archive reads":   func(t *rapid.T) { w.nodes[0].archive.read(rapid.IntRange(0, 5).Draw(t, "events")) },
			"archive keeps":   func(*rapid.T) { w.keep(0) },
			"archive crashes": func(*rapid.T) { w.crash(0) },
			"settle":          func(t *rapid.T) { w.settle(time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond) },
		})

		// In the end the relays are a line and each client has one of them.
		for i := range relays - 1 {
			w.connect(i, i+1)
		}
		for i := range clients {
			w.connect(relays+i, i%relays)
		}
		w.settle(3 * time.Second)
		w.nodes[0].archive.read(1 << 20)
		w.keep(0)
		w.settle(3 * time.Second)
		for h := range all {
			if !w.nodes[0].archive.kept[h] {
				t.Errorf("%s was not kept", h)
			}
		}
		for i, p := range w.nodes[0].n.slots {
			if p != nil && len(p.held.list)+p.held.bytes != 0 {
				t.Errorf("peer %d still waits for %d confirmations", i, len(p.held.list))
			}
		}
		for i, m := range w.nodes {
			for h, topic := range all {
				want := slices.Contains(m.topics, topic) && !m.own[h]
				if want && m.received[h] != 1 {
					t.Errorf("node %d: %s of topic %s did not arrive", i, h, topic)
				}
			}
		}
		for ref, i := range published {
			if got := w.nodes[i].finals[ref]; got != 1 {
				t.Errorf("node %d: %d final events about %s, want Relayed", i, got, ref)
			}
		}
		for i, m := range w.nodes {
			for reason, count := range m.n.Counts() {
				if count > 0 && reason != admitted.String() {
					t.Errorf("node %d was sent what it refuses %d times: %s", i, count, reason)
				}
			}
		}
		w.settle(2 * time.Hour)
		for i, m := range w.nodes {
			if n := m.n; n.pool.len()+len(n.refs)+len(n.own)+len(n.mining)+n.pool.bytes+n.pool.owned != 0 {
				t.Errorf("node %d has something left after all has expired", i)
			}
			for ref, got := range m.finals {
				if got != 1 {
					t.Errorf("node %d: %d final events about %s", i, got, ref)
				}
			}
		}
	})
}
