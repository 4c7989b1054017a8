package mail

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

// node is one end of the model: a Post with what it was asked and what it said.
type node struct {
	identity
	post *Post
	wake time.Time

	unanswered map[layers.Ref]bool // queries without a Queried
	ended      map[layers.Ref]int  // Queried by query
	asked      map[uint64]int      // envelopes left to send, by ask
}

// String keeps the log of a failed run short.
func (n *node) String() string { return n.id.String()[:8] }

// GoString does too.
func (n *node) GoString() string { return n.String() }

// flight is a packet under way, or the word that the ones before it are out.
type flight struct {
	from, to *node
	packet   Packet // nil: Written
}

// world joins a client to two mail servers by links that come and go, in which
// packets keep their order and now and then end with the link.
type world struct {
	t       *rapid.T
	now     time.Time
	client  *node
	servers []*node
	linked  map[*node]bool // to the client
	queue   map[*node][]flight
	refs    uint64
	asks    int
	pages   int
	history int
}

func newWorld(t *rapid.T, tt *testing.T, ids [3]identity) *world {
	w := &world{t: t, now: t0, linked: map[*node]bool{}, queue: map[*node][]flight{}}
	for _, s := range ids[:2] {
		n := &node{identity: s, post: newServer(tt, s), asked: map[uint64]int{}}
		n.post.cfg.Asks = rapid.IntRange(1, 3).Draw(t, "asks")
		w.servers = append(w.servers, n)
	}
	w.client = &node{
		identity: ids[2], post: newClient(tt, w.servers[0].identity, w.servers[1].identity),
		unanswered: map[layers.Ref]bool{}, ended: map[layers.Ref]int{},
	}
	w.take(w.client, w.client.post.Open(w.now))
	for _, s := range w.servers {
		if rapid.IntRange(0, 3).Draw(t, "linked at first") > 0 {
			w.link(s)
		}
	}
	return w
}

// take carries out what a step of n asks for.
func (w *world) take(n *node, o Out) {
	n.wake = earlier(n.wake, o.Wake)
	for _, e := range o.Up {
		w.hear(n, e)
	}
	for _, a := range o.Packets {
		to := w.client
		if n == w.client {
			to = w.byID(a.Peer)
		} else if a.Peer != w.client.id {
			w.t.Fatalf("a packet for a stranger, %v", a.Peer)
		}
		if !w.linked[w.other(n, to)] {
			w.t.Fatalf("a packet for %v, which is not linked", a.Peer)
		}
		w.queue[n] = append(w.queue[n], flight{n, to, decode(w.t, a.Packet)})
		if a.Tell {
			w.queue[n] = append(w.queue[n], flight{n, to, nil})
		}
	}
}

// other returns the server of the two.
func (w *world) other(a, b *node) *node {
	if a == w.client {
		return b
	}
	return a
}

func (w *world) byID(id overlay.PeerID) *node {
	for _, s := range w.servers {
		if s.id == id {
			return s
		}
	}
	w.t.Fatalf("nobody has the id %v", id)
	return nil
}

func (w *world) hear(n *node, e transport.Event) {
	switch e := e.(type) {
	case transport.Archives:
		for _, s := range w.servers {
			if w.linked[s] != slices.Contains(e.Servers, s.url) {
				w.t.Fatalf("archives %v, but the links are %v", e.Servers, w.linked)
			}
		}
	case transport.History:
		w.history++
		if !n.unanswered[e.Ref] {
			w.t.Fatalf("history of %v, which nobody waits for", e.Ref)
		}
		for _, x := range e.Envelopes {
			if x.Topic != chat {
				w.t.Fatalf("history of topic %v", x.Topic)
			}
		}
	case transport.Queried:
		if n.ended[e.Ref]++; n.ended[e.Ref] > 1 || !n.unanswered[e.Ref] {
			w.t.Fatalf("query %v has ended %d times", e.Ref, n.ended[e.Ref])
		}
		if (e.End == transport.QueryDone) != (e.Reason == "") {
			w.t.Fatalf("an end without a reason, or a success with one: %+v", e)
		}
		delete(n.unanswered, e.Ref)
	case transport.Asked:
		w.asks++
		if _, again := n.asked[e.Ask]; again {
			w.t.Fatalf("ask %d comes twice", e.Ask)
		}
		n.asked[e.Ask] = rapid.IntRange(0, 5).Draw(w.t, "envelopes")
		w.page(n, e.Ask)
	case transport.Taken:
		if _, open := n.asked[e.Ask]; !open {
			w.t.Fatalf("taken %d, which has ended", e.Ask)
		}
		w.page(n, e.Ask)
	case transport.Abandoned:
		if _, open := n.asked[e.Ask]; !open {
			w.t.Fatalf("abandoned %d, which has ended", e.Ask)
		}
		delete(n.asked, e.Ask)
	}
}

// page answers an ask in part, or not at all.
func (w *world) page(n *node, number uint64) {
	if rapid.IntRange(0, 9).Draw(w.t, "archive hangs") == 0 {
		return
	}
	page := transport.Page{Ask: number}
	for range rapid.IntRange(0, n.asked[number]).Draw(w.t, "of them now") {
		topic := rapid.SampledFrom([]transport.Topic{chat, {1, 2, 3, 4}}).Draw(w.t, "topic")
		page.Envelopes = append(page.Envelopes, made(topic, t0.Add(-time.Minute), string(rune('a'+w.pages%26))))
		n.asked[number]--
		w.pages++
	}
	if page.Last = len(page.Envelopes) == 0 || n.asked[number] == 0; page.Last {
		delete(n.asked, number)
		switch rapid.IntRange(0, 3).Draw(w.t, "how it ends") {
		case 0:
			page.Cursor = bytes.Repeat([]byte{byte(w.pages)}, cursorSize)
		case 1:
			page.Failure = rapid.SampledFrom([]string{"busy", "rlp: strange", "failed to decrypt"}).Draw(w.t, "failure")
		}
	}
	w.take(n, n.post.Page(w.now, page))
}

func (w *world) link(s *node) {
	if w.linked[s] {
		return
	}
	w.linked[s] = true
	name := rapid.SampledFrom([]string{"Strata/v1", "Statusd/v0.39.1", "Statusd/v0.40.0", ""}).Draw(w.t, "name")
	w.take(s, s.post.Connected(w.now, w.client.connected("Strata")))
	w.take(w.client, w.client.post.Connected(w.now, s.connected(name)))
}

func (w *world) unlink(s *node) {
	if !w.linked[s] {
		return
	}
	w.linked[s] = false
	w.queue[s] = nil
	w.queue[w.client] = slices.DeleteFunc(w.queue[w.client], func(f flight) bool { return f.to == s })
	w.take(s, s.post.Disconnected(w.now, w.client.id))
	w.take(w.client, w.client.post.Disconnected(w.now, s.id))
}

// arrive brings the next packet of a node to where it goes.
func (w *world) arrive(n *node) {
	if len(w.queue[n]) == 0 {
		return
	}
	f := w.queue[n][0]
	w.queue[n] = w.queue[n][1:]
	if f.packet == nil {
		w.take(f.from, f.from.post.Written(w.now, f.to.id))
		return
	}
	w.take(f.to, f.to.post.Packet(w.now, f.from.id, f.packet))
}

func (w *world) pass(d time.Duration) {
	w.now = w.now.Add(d)
	for _, n := range append([]*node{w.client}, w.servers...) {
		if !n.wake.IsZero() && !w.now.Before(n.wake) {
			n.wake = time.Time{}
			w.take(n, n.post.Wake(w.now))
		}
	}
}

func (w *world) query() {
	w.refs++
	var r layers.Ref
	binary.BigEndian.PutUint64(r[:], w.refs)
	q := transport.Query{Ref: r, From: t0.Add(-time.Hour), Topics: []transport.Topic{chat}}
	q.Server = rapid.SampledFrom([]string{"", "", w.servers[0].url, w.servers[1].id.String(), "nobody"}).Draw(w.t, "server")
	q.Limit = rapid.SampledFrom([]int{0, 1, 1000, 1001}).Draw(w.t, "limit")
	w.client.unanswered[r] = true
	w.take(w.client, w.client.post.Query(w.now, q))
}

func (w *world) cancel() {
	if w.refs == 0 {
		return
	}
	var r layers.Ref
	binary.BigEndian.PutUint64(r[:], rapid.Uint64Range(1, w.refs).Draw(w.t, "which"))
	w.take(w.client, w.client.post.Cancel(w.now, transport.Cancel{Ref: r}))
	if w.client.unanswered[r] {
		w.t.Fatalf("query %v goes on after a cancel", r)
	}
}

// TestEveryQueryAndAskEndsOnce drives a client and two servers through any order
// of queries, packets, breaks and silences.
func TestEveryQueryAndAskEndsOnce(t *testing.T) {
	var history, done, asks int
	ids := [3]identity{newIdentity(t, 10), newIdentity(t, 11), newIdentity(t, 20)}
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt, t, ids)
		anyServer := rapid.SampledFrom(w.servers)
		anyNode := rapid.SampledFrom(append([]*node{w.client}, w.servers...))
		arrive := func(rt *rapid.T) { w.arrive(anyNode.Draw(rt, "who")) }
		flow := func(*rapid.T) {
			for range 20 {
				for _, n := range append([]*node{w.client}, w.servers...) {
					w.arrive(n)
				}
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"link":     func(rt *rapid.T) { w.link(anyServer.Draw(rt, "server")) },
			"query":    func(*rapid.T) { w.query() },
			"ask":      func(*rapid.T) { w.query() },
			"arrive 1": arrive, "arrive 2": arrive, "arrive 3": arrive,
			"flow 1": flow, "flow 2": flow, "flow 3": flow,
			"break":  func(rt *rapid.T) { w.unlink(anyServer.Draw(rt, "server")) },
			"cancel": func(*rapid.T) { w.cancel() },
			"lose": func(rt *rapid.T) { // a server that does not answer
				if n := anyNode.Draw(rt, "who"); len(w.queue[n]) > 0 && w.queue[n][0].packet != nil {
					w.queue[n] = w.queue[n][1:]
				}
			},
			"pass": func(rt *rapid.T) { w.pass(time.Duration(rapid.IntRange(1, 15).Draw(rt, "s")) * time.Second) },
			"restart": func(*rapid.T) {
				for _, s := range w.servers {
					w.linked[s], w.queue[s] = false, nil
					w.take(s, s.post.Disconnected(w.now, w.client.id))
				}
				w.queue[w.client] = nil
				w.take(w.client, w.client.post.OverlayReady(w.now))
			},
			"push": func(rt *rapid.T) { // what nobody has asked for
				if s := anyServer.Draw(rt, "server"); w.linked[s] {
					e := made(chat, t0.Add(-time.Second), "pushed")
					w.take(w.client, w.client.post.Packet(w.now, s.id, Delivery{Envelopes: []transport.Envelope{e}}))
				}
			},
			"": func(rt *rapid.T) {
				for _, s := range w.servers {
					if len(s.post.asks) > s.post.cfg.Asks || len(s.post.held) > 1 {
						rt.Fatalf("%d asks, %d of one peer wait", len(s.post.asks), len(s.post.held))
					}
				}
			},
		})
		w.finish()
		history, asks = history+w.history, asks+w.asks
		done += int(w.client.post.turn)
	})
	t.Logf("%d histories, %d answered queries, %d asks", history, done, asks)
	if history == 0 || done == 0 || asks == 0 {
		t.Errorf("%d histories, %d answered queries, %d asks: the model tests nothing", history, done, asks)
	}
}

// finish lets all that waits come to its end.
func (w *world) finish() {
	for range 200 {
		w.pass(10 * time.Second)
	}
	if left := len(w.client.unanswered); left > 0 {
		// Each of a full queue may wait for all forms to be tried.
		for range 64 * 60 {
			w.pass(10 * time.Second)
		}
	}
	// The links may last, so that all packets come through; or they break.
	if rapid.Bool().Draw(w.t, "links last") {
		for range 1000 {
			for _, n := range append([]*node{w.client}, w.servers...) {
				w.arrive(n)
			}
		}
		w.pass(patience)
		for range 1000 {
			w.arrive(w.servers[0])
			w.arrive(w.servers[1])
		}
	} else {
		w.unlink(w.servers[0])
		w.unlink(w.servers[1])
	}
	for _, s := range w.servers {
		for number := range s.asked {
			w.t.Errorf("ask %d has not ended", number)
		}
		if len(s.post.asks)+len(s.post.held) > 0 {
			w.t.Errorf("%d asks are left, %d wait", len(s.post.asks), len(s.post.held))
		}
	}
	for r := range w.client.unanswered {
		w.t.Errorf("query %v has not ended", r)
	}
}
