package mail

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// syncFor is a sync of the last hour at a server.
func syncFor(n byte, s identity) transport.Query {
	return transport.Query{Ref: ref(n), From: t0.Add(-time.Hour), To: t0, Server: s.url, Sync: true}
}

// syncing is a client of one linked server that a sync has begun at.
func syncing(t testing.TB) (*Post, identity) {
	t.Helper()
	s := newIdentity(t, 1)
	p := newClient(t, s)
	p.Connected(t0, s.connected("x"))
	if _, ok := sent(t, p.Query(t0, syncFor(1, s))).(SyncRequest); !ok {
		t.Fatal("no packet 123")
	}
	return p, s
}

// worth is an envelope that a relay would have taken in.
func worth(sent time.Time, data string) transport.Envelope {
	e := made(chat, sent, data)
	e.PoW = 0.002
	return e
}

func part(envelopes ...transport.Envelope) SyncResponse { return SyncResponse{Envelopes: envelopes} }

func wantNothing(t *testing.T, what string, o Out) {
	t.Helper()
	if len(o.Up)+len(o.Down)+len(o.Packets) > 0 {
		t.Errorf("%s: %+v", what, o)
	}
}

func TestSyncIsDeliveredInPartsAndEnded(t *testing.T) {
	p, s := syncing(t)
	a, b, c := worth(t0.Add(-time.Minute), "a"), worth(t0.Add(-time.Hour), "b"), worth(t0, "c")
	h := only[transport.History](t, p.Packet(t0, s.id, part(a, b)))
	if h.Ref != ref(1) || h.Server != s.url || !equalHashes(h.Envelopes, []transport.Envelope{a, b}) || !bytes.Equal(h.Envelopes[0].Raw, a.Raw) {
		t.Errorf("history %+v", h)
	}
	wantNothing(t, "an empty part", p.Packet(t0, s.id, part()))
	cursor := bytes.Repeat([]byte{9}, cursorSize)
	o := p.Packet(t0, s.id, SyncResponse{Envelopes: []transport.Envelope{c}, Cursor: cursor, Final: true})
	if h := only[transport.History](t, o); !equalHashes(h.Envelopes, []transport.Envelope{c}) {
		t.Errorf("the end brings %+v", h)
	}
	want := transport.Queried{Ref: ref(1), Server: s.url, Count: 3, Cursor: cursor}
	if e := only[transport.Queried](t, o); fmt.Sprint(e) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", e, want)
	}
	wantNothing(t, "after the end", p.Packet(t0, s.id, part(a)))
	wantNothing(t, "another end", p.Packet(t0, s.id, SyncResponse{Final: true}))
	if got := p.Stats(); got != (Stats{Fetched: 3, Unasked: 2}) {
		t.Errorf("counted %+v", got)
	}
}

func TestSyncEndsAsItsServerSays(t *testing.T) {
	cursor := bytes.Repeat([]byte{4}, cursorSize)
	for name, tt := range map[string]struct {
		m      SyncResponse
		end    transport.QueryEnd
		cursor []byte
		reason string
	}{
		"last page":       {SyncResponse{Final: true}, transport.QueryDone, nil, ""},
		"next page":       {SyncResponse{Final: true, Cursor: bytes.Repeat([]byte{5}, cursorSize)}, transport.QueryDone, bytes.Repeat([]byte{5}, cursorSize), ""},
		"same page":       {SyncResponse{Final: true, Cursor: cursor}, transport.QueryDone, nil, ""},
		"odd cursor":      {SyncResponse{Final: true, Cursor: cursor[:35]}, transport.QueryRefused, nil, "the server has a cursor of 35 bytes, want 36"},
		"error":           {SyncResponse{Error: "failed to process all envelopes"}, transport.QueryRefused, nil, "failed to process all envelopes"},
		"error at an end": {SyncResponse{Final: true, Cursor: []byte{1}, Error: "disk"}, transport.QueryRefused, nil, "disk"},
		"unprintable":     {SyncResponse{Error: "no\x1b[31m\xff\n"}, transport.QueryRefused, nil, "no?[31m??"},
		"long":            {SyncResponse{Error: strings.Repeat("é", 1000)}, transport.QueryRefused, nil, strings.Repeat("é", maxReason) + "…"},
		"too often":       {SyncResponse{Error: "requests per seconds limit exceeded"}, transport.QueryRefused, nil, "rate limit exceeded"},
		"too often, here": {SyncResponse{Error: errLimit.Error()}, transport.QueryRefused, nil, "rate limit exceeded"},
		"too much": {SyncResponse{Error: "request is invalid: limit exceeds the maximum allowed value"}, transport.QueryRefused, nil,
			"request is invalid: limit exceeds the maximum allowed value"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newIdentity(t, 1)
			p := newClient(t, s)
			p.Connected(t0, s.connected("x"))
			q := syncFor(1, s)
			q.Cursor = cursor
			p.Query(t0, q)
			o := p.Packet(t0, s.id, tt.m)
			e := only[transport.Queried](t, o)
			if e.End != tt.end || !bytes.Equal(e.Cursor, tt.cursor) || e.Reason != tt.reason {
				t.Errorf("got %+v", e)
			}
			// The answer has ended, so that the next sync has not to wait.
			if _, ok := sent(t, p.Query(t0, syncFor(2, s))).(SyncRequest); !ok {
				t.Error("the next sync does not begin")
			}
		})
	}
}

func TestOnlyWhatARelayWouldHaveTakenIsPassedOn(t *testing.T) {
	s := newIdentity(t, 1)
	p := newClient(t, s)
	narrow := settings()
	narrow.MaxMessage = 500
	p.Settle(narrow)
	p.Connected(t0, s.connected("x"))
	q := syncFor(1, s)
	q.To = t0.Add(time.Hour) // which another clock may believe in
	p.Query(t0, q)
	with := func(e transport.Envelope, change func(*transport.Envelope)) transport.Envelope {
		change(&e)
		return e
	}
	good := worth(t0.Add(-time.Minute), "good")
	edges := []transport.Envelope{
		good,
		worth(t0.Add(-time.Hour-tolerance), "the oldest"),
		worth(t0.Add(10*time.Second), "the newest"),
		with(worth(t0, "the longest ttl"), func(e *transport.Envelope) { e.TTL = time.Hour }),
		with(worth(t0, "the shortest ttl"), func(e *transport.Envelope) { e.TTL = time.Second }),
		with(worth(t0, "the longest"), func(e *transport.Envelope) { e.Raw = make([]byte, 500) }),
	}
	bad := []transport.Envelope{
		good,
		worth(t0.Add(-time.Hour-tolerance-time.Second), "too old"),
		worth(t0.Add(time.Hour+tolerance+time.Second), "too new"),
		worth(t0.Add(11*time.Second), "of the future"),
		with(worth(t0, "endless"), func(e *transport.Envelope) { e.TTL = 0 }),
		with(worth(t0, "lives too long"), func(e *transport.Envelope) { e.TTL = time.Hour + time.Second }),
		with(worth(t0, "too long"), func(e *transport.Envelope) { e.Raw = make([]byte, 501) }),
		with(worth(t0, "worthless"), func(e *transport.Envelope) { e.PoW = 0.00199 }),
	}
	o := p.Packet(t0, s.id, part(slices.Concat(edges, bad)...))
	if h := only[transport.History](t, o); !equalHashes(h.Envelopes, edges) {
		t.Errorf("passed on %+v", h.Envelopes)
	}
	wantNothing(t, "bad ones", p.Packet(t0, s.id, part(bad...)))
	want := Stats{Fetched: 6, Repeated: 2, Outside: 4, Future: 2, BadTTL: 4, Huge: 2, LowPoW: 2}
	if p.Stats() != want {
		t.Errorf("counted %+v, want %+v", p.Stats(), want)
	}
	if e := only[transport.Queried](t, p.Packet(t0, s.id, SyncResponse{Final: true})); e.Count != 6 {
		t.Errorf("got %+v", e)
	}
}

func TestSyncOfTopicsBringsNoOthers(t *testing.T) {
	s := newIdentity(t, 1)
	p := newClient(t, s)
	p.Connected(t0, s.connected("x"))
	q := syncFor(1, s)
	q.Topics = []transport.Topic{{1, 2, 3, 4}}
	p.Query(t0, q)
	wantNothing(t, "another topic", p.Packet(t0, s.id, part(worth(t0, "x"))))
	if got := p.Stats(); got != (Stats{Accidental: 1}) {
		t.Errorf("counted %+v", got)
	}
}

func TestSyncAndQueryAtOneServerAreNotConfused(t *testing.T) {
	p, s := syncing(t)
	wantNothing(t, "a query behind a sync", p.Query(t0, func() transport.Query { q := askFor(2); q.Server = s.url; return q }()))
	e := worth(t0, "e")
	wantNothing(t, "packet 127", p.Packet(t0, s.id, Delivery{Envelopes: []transport.Envelope{e}}))
	wantNothing(t, "packet 125", p.Packet(t0, s.id, Complete{}))
	wantNothing(t, "a failed packet 125", p.Packet(t0, s.id, Complete{Failed: true}))
	o := p.Packet(t0, s.id, SyncResponse{Final: true})
	if e := only[transport.Queried](t, o); e.Ref != ref(1) {
		t.Errorf("ended %+v", e)
	}
	id := idOf(t, o)
	wantNothing(t, "packet 124", p.Packet(t0, s.id, part(e)))
	wantNothing(t, "the end of a sync", p.Packet(t0, s.id, SyncResponse{Final: true}))
	wantNothing(t, "the failure of a sync", p.Packet(t0, s.id, SyncResponse{Error: "no"}))
	if e := only[transport.Queried](t, p.Packet(t0, s.id, Complete{Request: id})); e.Ref != ref(2) || e.End != transport.QueryDone {
		t.Errorf("ended %+v", e)
	}
	if got := p.Stats(); got != (Stats{Unasked: 6}) {
		t.Errorf("counted %+v", got)
	}
}

func TestOtherPeersCannotAnswerASync(t *testing.T) {
	p, s := syncing(t)
	other := newIdentity(t, 2)
	p.Connected(t0, other.connected("x"))
	p.Trust(other.id)
	wantNothing(t, "a part", p.Packet(t0, other.id, part(worth(t0, "x"))))
	wantNothing(t, "the end", p.Packet(t0, other.id, SyncResponse{Final: true}))
	if e := only[transport.Queried](t, p.Packet(t0, s.id, SyncResponse{Final: true})); e.Count != 0 {
		t.Errorf("ended %+v", e)
	}
}

func TestSyncEndsByTimeCancelAndLink(t *testing.T) {
	for name, tt := range map[string]struct {
		do     func(p *Post, s identity) Out
		end    transport.QueryEnd
		reason string
	}{
		"silence": {func(p *Post, _ identity) Out { return p.Wake(t0.Add(10 * time.Second)) }, transport.QueryTimeout, "silent for 10s"},
		"endless": {func(p *Post, s identity) (o Out) {
			for now := t0; len(o.Up) == 0 && now.Sub(t0) < time.Hour; now = now.Add(9 * time.Second) {
				p.Packet(now, s.id, part())
				o = p.Wake(now)
			}
			return o
		}, transport.QueryTimeout, "no end within 10m0s"},
		"cancel":  {func(p *Post, _ identity) Out { return p.Cancel(t0, transport.Cancel{Ref: ref(1)}) }, transport.QueryCancelled, "cancelled"},
		"break":   {func(p *Post, s identity) Out { return p.Disconnected(t0, s.id) }, transport.QueryGone, "the link ended"},
		"restart": {func(p *Post, _ identity) Out { return p.OverlayReady(t0) }, transport.QueryGone, "the link ended"},
	} {
		t.Run(name, func(t *testing.T) {
			p, s := syncing(t)
			before := p.Servers()
			o := tt.do(p, s)
			if e := only[transport.Queried](t, o); e.End != tt.end || e.Reason != tt.reason || e.Server != s.url {
				t.Errorf("got %+v", e)
			}
			if len(o.Packets) > 0 {
				t.Errorf("sent %v: a sync has one form", o.Packets)
			}
			if p.servers[0].lost+p.servers[0].won > 0 || len(before) != 1 {
				t.Error("what came of a sync counts for queries")
			}
		})
	}
}

func TestSyncWaitsForTheLinkToANamedServer(t *testing.T) {
	s := newIdentity(t, 1)
	p := newClient(t)
	o := p.Query(t0, syncFor(1, s))
	if len(o.Down) != 1 || len(o.Packets)+len(o.Up) > 0 {
		t.Fatalf("got %+v, want an AddPeer", o)
	}
	if m, ok := sent(t, p.Connected(t0, s.connected("x"))).(SyncRequest); !ok || m.Limit != pageLimit {
		t.Errorf("asked %+v", m)
	}
	other := newIdentity(t, 2)
	o = p.Query(t0, syncFor(2, other))
	e := only[transport.Queried](t, p.Wake(t0.Add(10*time.Second)).up(ref(2)))
	if e.End != transport.QueryNobody || !o.Wake.Equal(t0.Add(10*time.Second)) {
		t.Errorf("got %+v", e)
	}
}

// up returns the output with those events only that are ends of a query.
func (o Out) up(r [32]byte) Out {
	o.Up = slices.DeleteFunc(o.Up, func(e transport.Event) bool {
		q, ok := e.(transport.Queried)
		return !ok || q.Ref != r
	})
	return o
}
