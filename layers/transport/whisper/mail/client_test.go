package mail

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
)

var chat = transport.TopicOf("chat")

func ref(n byte) layers.Ref { return layers.Ref{n} }

func askFor(n byte) transport.Query {
	return transport.Query{Ref: ref(n), From: t0.Add(-time.Hour), To: t0, Topics: []transport.Topic{chat}}
}

// idOf returns the id of the request in an output.
func idOf(t *testing.T, o Out) transport.Hash {
	t.Helper()
	switch m := sent(t, o).(type) {
	case Request:
		return m.Envelope.Hash
	case PlainRequest:
		return m.ID
	default:
		t.Fatalf("%T is no request", m)
		return transport.Hash{}
	}
}

// readRequest reads a request as its server, which has key k, does.
func readRequest(t *testing.T, k layers.PrivateKey, o Out) request {
	t.Helper()
	switch m := sent(t, o).(type) {
	case Request:
		contents, _, err := (&sealer{k, passwordKey, newEntropy(1)}).Open(m.Envelope.Data)
		if err != nil {
			t.Fatal(err)
		}
		q, err := decodeRequest(contents)
		if err != nil {
			t.Fatal(err)
		}
		return q
	case PlainRequest:
		return m.request()
	default:
		t.Fatalf("%T is no request", m)
		return request{}
	}
}

func deliver(p *Post, s identity, envelopes ...transport.Envelope) Out {
	return p.Packet(t0, s.id, Delivery{Envelopes: envelopes})
}

func TestPageIsAskedForDeliveredAndEnded(t *testing.T) {
	s := newIdentity(t, 1)
	p := newClient(t, s)
	p.Open(t0)
	p.Connected(t0, s.connected("Statusd/v0.40.0"))
	o := p.Query(t0, askFor(1))
	id := idOf(t, o)
	if want := t0.Add(10 * time.Second); !o.Wake.Equal(want) {
		t.Errorf("wake at %v, want %v", o.Wake, want)
	}
	a, b := made(chat, t0.Add(-time.Minute), "a"), made(chat, t0.Add(-2*time.Minute), "b")
	h := only[transport.History](t, deliver(p, s, a, b))
	if h.Ref != ref(1) || h.Server != s.url || !equalHashes(h.Envelopes, []transport.Envelope{a, b}) {
		t.Errorf("history %+v", h)
	}
	cursor := bytes.Repeat([]byte{9}, cursorSize)
	done := only[transport.Queried](t, p.Packet(t0, s.id, Complete{Request: id, Last: b.Hash, Cursor: cursor}))
	want := transport.Queried{Ref: ref(1), Server: s.url, Count: 2, Cursor: cursor}
	if fmt.Sprint(done) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", done, want)
	}
	if o := deliver(p, s, a); len(o.Up) != 0 || p.Stats().Unasked != 1 {
		t.Errorf("a delivery after the end: %+v", o.Up)
	}
}

func TestOnlyWhatWasAskedForIsPassedOn(t *testing.T) {
	s := newIdentity(t, 1)
	p := newClient(t, s)
	p.Connected(t0, s.connected("x"))
	p.Query(t0, askFor(1))
	good := made(chat, t0.Add(-time.Minute), "good")
	o := deliver(p, s,
		good, good,
		made(transport.Topic{1}, t0.Add(-time.Minute), "other topic"),
		made(chat, t0.Add(-2*time.Hour), "too old"),
		made(chat, t0.Add(2*time.Minute), "too new"),
	)
	if h := only[transport.History](t, o); !equalHashes(h.Envelopes, []transport.Envelope{good}) {
		t.Errorf("passed on %+v", h)
	}
	if o := deliver(p, s, good); len(o.Up) > 0 {
		t.Errorf("passed on again %+v", o.Up)
	}
	want := Stats{Fetched: 1, Accidental: 1, Outside: 2, Repeated: 2}
	if p.Stats() != want {
		t.Errorf("counted %+v, want %+v", p.Stats(), want)
	}
}

func TestCursorThatDoesNotAdvanceEndsThePages(t *testing.T) {
	s := newIdentity(t, 1)
	p := newClient(t, s)
	p.Connected(t0, s.connected("x"))
	q := askFor(1)
	q.Cursor = bytes.Repeat([]byte{1}, cursorSize)
	id := idOf(t, p.Query(t0, q))
	e := only[transport.Queried](t, p.Packet(t0, s.id, Complete{Request: id, Cursor: slices.Clone(q.Cursor)}))
	if e.End != transport.QueryDone || e.Cursor != nil {
		t.Errorf("got %+v", e)
	}
}

func TestAnswerOfAnotherRequestIsIgnored(t *testing.T) {
	s, other := newIdentity(t, 1), newIdentity(t, 2)
	p := newClient(t, s)
	p.Connected(t0, s.connected("x"))
	p.Connected(t0, other.connected("x"))
	id := idOf(t, p.Query(t0, askFor(1)))
	for _, o := range []Out{
		p.Packet(t0, s.id, Complete{Request: transport.Hash{1}}),
		p.Packet(t0, other.id, Complete{Request: id}),
		p.Packet(t0, other.id, Complete{Request: id, Failed: true}),
		p.Packet(t0, other.id, Delivery{Envelopes: []transport.Envelope{made(chat, t0, "forged")}}),
		p.Packet(t0, s.id, SyncResponse{Final: true}),
	} {
		if len(o.Up)+len(o.Packets)+len(o.Down) > 0 {
			t.Errorf("%+v", o)
		}
	}
}

func TestEveryPacketRenewsThePatience(t *testing.T) {
	s := newIdentity(t, 1)
	p := newClient(t, s)
	p.Connected(t0, s.connected("x"))
	p.Query(t0, askFor(1))
	now := t0
	var end time.Time
	for i := range 1000 {
		now = now.Add(9 * time.Second)
		if o := p.Wake(now); len(all[transport.Queried](o)) > 0 {
			end = now
			break
		}
		p.Packet(now, s.id, Delivery{Envelopes: []transport.Envelope{made(chat, t0, fmt.Sprint(i))}})
	}
	// A server that is never silent, and never done, is given up all the same.
	if after := end.Sub(t0); after < stretch*10*time.Second || after > (stretch+1)*10*time.Second {
		t.Errorf("ended after %v", after)
	}
}

func TestServerThatSendsWithoutEndIsGivenUp(t *testing.T) {
	s := newIdentity(t, 1)
	p := newClient(t, s)
	p.Connected(t0, s.connected("x"))
	p.Query(t0, askFor(1))
	for i := range maxDelivered + 1 {
		o := deliver(p, s) // not even envelopes
		if ends := all[transport.Queried](o); len(ends) > 0 {
			if i != maxDelivered || ends[0].End != transport.QueryRefused {
				t.Errorf("after %d packets: %+v", i, ends[0])
			}
			return
		}
	}
	t.Error("it is not given up")
}

func TestQueriesWaitInOrder(t *testing.T) {
	s := newIdentity(t, 1)
	p := newClient(t, s)
	p.Connected(t0, s.connected("Statusd/v0.40"))
	id := idOf(t, p.Query(t0, askFor(1)))
	for n := byte(2); n <= maxQueries; n++ {
		if o := p.Query(t0, askFor(n)); len(o.Packets)+len(o.Up) > 0 {
			t.Fatalf("query %d: %+v", n, o)
		}
	}
	if e := only[transport.Queried](t, p.Query(t0, askFor(200))); e.End != transport.QueryRefused {
		t.Errorf("query beyond the bound: %+v", e)
	}
	if o := p.Query(t0, askFor(2)); len(o.Packets)+len(o.Up) > 0 {
		t.Errorf("a repeated query does %+v", o)
	}
	for n := byte(1); n <= maxQueries; n++ {
		o := p.Packet(t0, s.id, Complete{Request: id})
		if e := only[transport.Queried](t, o); e.Ref != ref(n) || e.End != transport.QueryDone {
			t.Fatalf("got %+v, want the end of %d", e, n)
		}
		if n < maxQueries {
			id = idOf(t, o)
		}
	}
}

func TestCancelEndsAQuery(t *testing.T) {
	s := newIdentity(t, 1)
	p := newClient(t, s)
	p.Connected(t0, s.connected("x"))
	p.Query(t0, askFor(1))
	p.Query(t0, askFor(2))
	if e := only[transport.Queried](t, p.Cancel(t0, transport.Cancel{Ref: ref(2)})); e.Ref != ref(2) || e.End != transport.QueryCancelled {
		t.Errorf("got %+v", e)
	}
	if e := only[transport.Queried](t, p.Cancel(t0, transport.Cancel{Ref: ref(1)})); e.Ref != ref(1) || e.End != transport.QueryCancelled {
		t.Errorf("got %+v", e)
	}
	if o := p.Cancel(t0, transport.Cancel{Ref: ref(1)}); len(o.Up) > 0 {
		t.Errorf("a second cancel does %+v", o.Up)
	}
	if o := deliver(p, s, made(chat, t0, "late")); len(o.Up) > 0 {
		t.Errorf("nobody asks, but %+v", o.Up)
	}
}

func TestBadQueryIsRefused(t *testing.T) {
	s := newIdentity(t, 1)
	for name, spoil := range map[string]func(*transport.Query){
		"limit":       func(q *transport.Query) { q.Limit = transport.MaxPage + 1 },
		"cursor":      func(q *transport.Query) { q.Cursor = make([]byte, 40) },
		"range":       func(q *transport.Query) { q.To = q.From.Add(-time.Second) },
		"after 2106":  func(q *transport.Query) { q.From, q.To = time.Unix(1<<33, 0), time.Unix(1<<33, 0) },
		"from future": func(q *transport.Query) { q.From, q.To = t0.Add(time.Hour), time.Time{} },
	} {
		p := newClient(t, s)
		p.Connected(t0, s.connected("x"))
		q := askFor(1)
		spoil(&q)
		if e := only[transport.Queried](t, p.Query(t0, q)); e.End != transport.QueryRefused || !strings.HasPrefix(e.Reason, "mail: ") {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func TestTrustedPeerIsHeardUnasked(t *testing.T) {
	s := newIdentity(t, 1)
	p := newClient(t)
	p.Trust(s.id) // not linked: nothing
	p.Connected(t0, s.connected("x"))
	e := made(transport.Topic{1}, t0.Add(-time.Hour), "unasked")
	if o := deliver(p, s, e); len(o.Up) > 0 {
		t.Errorf("not trusted, but %+v", o.Up)
	}
	p.Trust(s.id)
	if h := only[transport.History](t, deliver(p, s, e)); h.Ref != (layers.Ref{}) || h.Server != s.id.String() || len(h.Envelopes) != 1 {
		t.Errorf("got %+v", h)
	}
	p.Disconnected(t0, s.id)
	p.Connected(t0, s.connected("x"))
	if o := deliver(p, s, e); len(o.Up) > 0 {
		t.Errorf("trust has outlived the link: %+v", o.Up)
	}
}

func TestErrorTextIsMadePrintableAndBounded(t *testing.T) {
	s := newIdentity(t, 1)
	p := newClient(t, s)
	p.Connected(t0, s.connected("x"))
	id := idOf(t, p.Query(t0, askFor(1)))
	reason := "no\x1b[31m\xff\n" + strings.Repeat("é", 1000)
	e := only[transport.Queried](t, p.Packet(t0, s.id, Complete{Request: id, Failed: true, Reason: reason}))
	if !strings.HasPrefix(e.Reason, "no?[31m??é") || strings.Count(e.Reason, "") > maxReason+2 {
		t.Errorf("reason %q", e.Reason)
	}
}

func BenchmarkDelivery(b *testing.B) {
	s := newIdentity(b, 1)
	p := newClient(b, s)
	p.Connected(t0, s.connected("x"))
	var d Delivery
	for i := range transport.MaxPage {
		d.Envelopes = append(d.Envelopes, made(chat, t0.Add(-time.Minute), fmt.Sprintf("%500d", i)))
	}
	b.ReportAllocs()
	for b.Loop() {
		p.Query(t0, askFor(1))
		if o := p.Packet(t0, s.id, d); len(o.Up) != 1 {
			b.Fatal(o.Up)
		}
		p.Cancel(t0, transport.Cancel{Ref: ref(1)})
	}
	b.ReportMetric(float64(b.N*transport.MaxPage)/b.Elapsed().Seconds(), "envelopes/s")
}
