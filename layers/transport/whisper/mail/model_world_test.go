package mail

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
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
	asked      map[uint64]*answer  // what is left to send, by ask
}

// answer is what an archive has for an ask.
type answer struct {
	left int
	tag  []byte // of a sync: the cursor that it was asked with
}

// String keeps the log of a failed run short.
func (n *node) String() string { return n.id.String()[:8] }

// GoString does too.
func (n *node) GoString() string { return n.String() }

// flight is a packet under way, or the word that the ones before it are out.
type flight struct {
	from, to *node
	packet   Packet // nil: Written
	since    time.Time
}

// travel is how long a packet is under way at most.
const travel = 5 * time.Second

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
	syncs   map[layers.Ref]bool
	synced  int
}

func newWorld(t *rapid.T, tt *testing.T, ids [3]identity) *world {
	w := &world{t: t, now: t0, linked: map[*node]bool{}, queue: map[*node][]flight{}, syncs: map[layers.Ref]bool{}}
	for _, s := range ids[:2] {
		n := &node{identity: s, post: newServer(tt, s), asked: map[uint64]*answer{}}
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
		w.queue[n] = append(w.queue[n], flight{n, to, decode(w.t, a.Packet), w.now})
		if a.Tell {
			w.queue[n] = append(w.queue[n], flight{n, to, nil, w.now})
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
			if w.syncs[e.Ref] && !bytes.HasPrefix(x.Data, syncTag(e.Ref)) {
				w.t.Fatalf("sync %v is given what was sent for %x", e.Ref, x.Data)
			}
		}
	case transport.Queried:
		if n.ended[e.Ref]++; n.ended[e.Ref] > 1 || !n.unanswered[e.Ref] {
			w.t.Fatalf("query %v has ended %d times", e.Ref, n.ended[e.Ref])
		}
		if (e.End == transport.QueryDone) != (e.Reason == "") {
			w.t.Fatalf("an end without a reason, or a success with one: %+v", e)
		}
		if w.syncs[e.Ref] {
			w.endSync(e)
		}
		delete(n.unanswered, e.Ref)
	case transport.Asked:
		w.asks++
		if _, again := n.asked[e.Ask]; again {
			w.t.Fatalf("ask %d comes twice", e.Ask)
		}
		a := &answer{left: rapid.IntRange(0, 5).Draw(w.t, "envelopes")}
		if e.Sync {
			a.tag = e.Cursor
		}
		n.asked[e.Ask] = a
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
	page, a := transport.Page{Ask: number}, n.asked[number]
	for range rapid.IntRange(0, a.left).Draw(w.t, "of them now") {
		topic := rapid.SampledFrom([]transport.Topic{chat, {1, 2, 3, 4}}).Draw(w.t, "topic")
		page.Envelopes = append(page.Envelopes, made(topic, t0.Add(-time.Minute), string(a.tag)+string(rune('a'+w.pages%26))))
		a.left--
		w.pages++
	}
	if page.Last = len(page.Envelopes) == 0 || a.left == 0; page.Last {
		delete(n.asked, number)
		switch how := rapid.IntRange(0, 3).Draw(w.t, "how it ends"); {
		case a.tag != nil && how != 1:
			page.Cursor = bytes.Clone(a.tag)
			page.Cursor[0] = 1
		case a.tag != nil:
			page.Failure = fmt.Sprintf("busy with %x", a.tag)
		case how == 0:
			page.Cursor = bytes.Repeat([]byte{byte(w.pages)}, cursorSize)
		case how == 1:
			page.Failure = rapid.SampledFrom([]string{"busy", "rlp: strange", "failed to decrypt"}).Draw(w.t, "failure")
		}
	}
	w.take(n, n.post.Page(w.now, page))
}

// syncTag is the cursor of a sync, by which its answer is told from others.
func syncTag(r layers.Ref) []byte { return append(make([]byte, 4), r[:cursorSize-4]...) }

// endSync checks that a sync has ended by an answer of its own.
func (w *world) endSync(e transport.Queried) {
	tag := syncTag(e.Ref)
	switch e.End {
	case transport.QueryDone:
		w.synced++
		if len(e.Cursor) != cursorSize || !bytes.Equal(e.Cursor[1:], tag[1:]) {
			w.t.Fatalf("sync %v has ended with the cursor %x", e.Ref, e.Cursor)
		}
	case transport.QueryRefused:
		if whose, found := strings.CutPrefix(e.Reason, "busy with "); found && whose != fmt.Sprintf("%x", tag) {
			w.t.Fatalf("sync %v has ended with %q", e.Ref, e.Reason)
		}
	}
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
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(time.Second)
		for _, n := range append([]*node{w.client}, w.servers...) {
			for len(w.queue[n]) > 0 && w.now.Sub(w.queue[n][0].since) > travel {
				w.arrive(n)
			}
			if !n.wake.IsZero() && !w.now.Before(n.wake) {
				n.wake = time.Time{}
				w.take(n, n.post.Wake(w.now))
			}
		}
	}
}

func (w *world) query(sync bool) {
	w.refs++
	var r layers.Ref
	binary.BigEndian.PutUint64(r[:], w.refs)
	q := transport.Query{Ref: r, From: t0.Add(-time.Hour), Topics: []transport.Topic{chat}}
	q.Server = rapid.SampledFrom([]string{"", "", w.servers[0].url, w.servers[1].id.String(), "nobody"}).Draw(w.t, "server")
	q.Limit = rapid.SampledFrom([]int{0, 1, 1000, 1001}).Draw(w.t, "limit")
	if sync {
		q.Sync, q.Server, q.Cursor = true, rapid.SampledFrom(w.servers).Draw(w.t, "synced").url, syncTag(r)
		w.syncs[r] = true
	}
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
