package mail

import (
	"bytes"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// cancelled is a client whose first sync was cancelled before its answer ended,
// and whose second waits.
func cancelled(t *testing.T) (*Post, identity) {
	t.Helper()
	p, s := syncing(t)
	p.Cancel(t0, transport.Cancel{Ref: ref(1)})
	wantNothing(t, "the next sync", p.Query(t0, syncFor(2, s)))
	return p, s
}

func wantSync(t *testing.T, what string, o Out) {
	t.Helper()
	if len(o.Packets) != 1 || o.Packets[0].Packet.Code != CodeSyncRequest {
		t.Errorf("%s: %+v, want a packet 123", what, o)
	}
}

func TestNextSyncBeginsAfterTheEndOfTheFormer(t *testing.T) {
	for name, end := range map[string]SyncResponse{
		"final": {Final: true, Cursor: bytes.Repeat([]byte{1}, cursorSize)},
		"error": {Error: "no"},
	} {
		p, s := cancelled(t)
		wantNothing(t, name+": late envelopes", p.Packet(t0, s.id, part(worth(t0, "late"))))
		wantSync(t, name, p.Packet(t0, s.id, end))
		if got := p.Stats(); got != (Stats{Unasked: 2}) {
			t.Errorf("%s: counted %+v", name, got)
		}
		if e := only[transport.Queried](t, p.Packet(t0, s.id, SyncResponse{Final: true})); e.Ref != ref(2) || e.Cursor != nil {
			t.Errorf("%s: ended %+v", name, e)
		}
	}
}

func TestNextSyncBeginsAfterSilence(t *testing.T) {
	p, s := cancelled(t)
	now := t0
	for range 2 { // every late packet begins the silence anew
		now = now.Add(quarantine - time.Second)
		if o := p.Wake(now); len(o.Up)+len(o.Packets) > 0 || !o.Wake.Equal(now.Add(time.Second)) {
			t.Fatalf("within the quarantine: %+v", o)
		}
		if now.Sub(t0) < quarantine {
			p.Packet(now, s.id, part())
		}
	}
	now = now.Add(time.Second)
	wantSync(t, "after it", p.Wake(now))
	if e := only[transport.Queried](t, p.Packet(now, s.id, SyncResponse{Final: true})); e.Ref != ref(2) || e.End != transport.QueryDone {
		t.Errorf("ended %+v", e)
	}
}

func TestSyncThatTimedOutOrWasTooLongKeepsTheNextWaiting(t *testing.T) {
	for name, stop := range map[string]func(*Post, identity) Out{
		"timeout": func(p *Post, _ identity) Out { return p.Wake(t0.Add(10 * time.Second)) },
		"too long": func(p *Post, s identity) (o Out) {
			for range maxDelivered + 1 {
				o = p.Packet(t0, s.id, part())
			}
			return o
		},
	} {
		p, s := syncing(t)
		if e := only[transport.Queried](t, stop(p, s)); e.End == transport.QueryDone {
			t.Errorf("%s: ended %+v", name, e)
		}
		wantNothing(t, name, p.Query(t0, syncFor(2, s)))
		wantSync(t, name, p.Packet(t0, s.id, SyncResponse{Final: true}))
	}
}

func TestQueriesDoNotWaitForALateSync(t *testing.T) {
	p, s := cancelled(t)
	q := askFor(3)
	q.Server = s.url
	id := idOf(t, p.Query(t0, q))
	// The end of the former sync is no reason to begin with the next at once.
	wantNothing(t, "the end", p.Packet(t0, s.id, SyncResponse{Final: true}))
	o := p.Packet(t0, s.id, Complete{Request: id})
	if e := only[transport.Queried](t, o); e.Ref != ref(3) || e.End != transport.QueryDone {
		t.Errorf("ended %+v", e)
	}
	wantSync(t, "after the query", o)
}

func TestServerThatNeverEndsASyncEndsTheNextByTime(t *testing.T) {
	p, s := cancelled(t)
	var ends []transport.Queried
	now := t0
	for ; len(ends) == 0 && now.Sub(t0) < time.Hour; now = now.Add(time.Second) {
		p.Packet(now, s.id, part(worth(now, "drip")))
		o := p.Wake(now)
		if len(o.Packets) > 0 {
			t.Fatalf("after %v: %+v", now.Sub(t0), o.Packets)
		}
		ends = all[transport.Queried](o)
	}
	if len(ends) != 1 || ends[0].End != transport.QueryTimeout || ends[0].Reason != "the answer to an earlier sync has not ended within 4m0s" {
		t.Errorf("ended %+v", ends)
	}
	if after := now.Add(-time.Second).Sub(t0); after != maxQuarantine {
		t.Errorf("after %v", after)
	}
}

func TestSyncThatMayBeginWaitsForItsTurnOnly(t *testing.T) {
	p, s := cancelled(t)
	q := askFor(3)
	q.Server = s.url
	id := idOf(t, p.Query(t0, q))
	now := t0
	for now.Sub(t0) < 2*maxQuarantine { // a query may take that long
		now = now.Add(9 * time.Second)
		if o := p.Wake(now); len(all[transport.Queried](o)) > 0 {
			t.Fatalf("after %v: %+v", now.Sub(t0), o.Up)
		}
		p.Packet(now, s.id, Delivery{})
	}
	wantSync(t, "at last", p.Packet(now, s.id, Complete{Request: id}))
}

func TestLinkThatIsNewOwesNothing(t *testing.T) {
	p, s := cancelled(t)
	if e := only[transport.Queried](t, p.Disconnected(t0, s.id)); e.Ref != ref(2) || e.End != transport.QueryGone {
		t.Errorf("ended %+v", e)
	}
	p.Connected(t0, s.connected("x"))
	wantSync(t, "on a new link", p.Query(t0, syncFor(3, s)))
}

// A node that replaces another one has the links of that, and on them the rest of
// what the other has asked for.
func TestAnswerToANodeThatWasReplacedIsNotTakenForOnesOwn(t *testing.T) {
	running, s := syncing(t)
	late, _ := cancelled(t)
	idle := newClient(t, s)
	idle.Connected(t0, s.connected("x"))
	heir := newClient(t)
	heir.Inherit(late)
	for name, tt := range map[string]struct {
		before *Post
		owes   bool
	}{"running": {running, true}, "late": {late, true}, "two before": {heir, true}, "idle": {idle, false}} {
		p := newClient(t, s)
		p.Inherit(tt.before)
		p.Open(t0)
		p.OverlayReady(t0)
		p.Connected(t0, s.connected("x"))
		o := p.Query(t0, syncFor(9, s))
		if !tt.owes {
			wantSync(t, name, o)
			continue
		}
		wantNothing(t, name, o)
		wantNothing(t, name+": envelopes of the former", p.Packet(t0, s.id, part(worth(t0, "x"))))
		wantSync(t, name, p.Packet(t0, s.id, SyncResponse{Final: true}))
	}
	p := newClient(t, s)
	p.Inherit(running)
	p.Disconnected(t0, s.id)
	p.Connected(t0, s.connected("x"))
	wantSync(t, "after the link was made anew", p.Query(t0, syncFor(9, s)))
}

func TestWaitingSyncCanBeCancelled(t *testing.T) {
	p, s := cancelled(t)
	if e := only[transport.Queried](t, p.Cancel(t0, transport.Cancel{Ref: ref(2)})); e.End != transport.QueryCancelled {
		t.Errorf("ended %+v", e)
	}
	wantNothing(t, "the end of the first", p.Packet(t0, s.id, SyncResponse{Final: true}))
	wantSync(t, "the third", p.Query(t0, syncFor(3, s)))
}

// A server that was named by its id is forgotten when others need its place. What
// its link owes is not.
func TestServerThatIsForgottenOwesTheEndAllTheSame(t *testing.T) {
	s := newIdentity(t, 1)
	p := newClient(t)
	p.Connected(t0, s.connected("x"))
	q := syncFor(1, s)
	q.Server = s.id.String()
	wantSync(t, "the first", p.Query(t0, q))
	p.Cancel(t0, transport.Cancel{Ref: ref(1)})
	if !p.forget() || p.server(s.id) != nil {
		t.Fatal("it is not forgotten")
	}
	q.Ref = ref(2)
	wantNothing(t, "the second", p.Query(t0, q))
	p.Cancel(t0, transport.Cancel{Ref: ref(2)})
	p.forget()
	wantNothing(t, "the end of the first", p.Packet(t0, s.id, SyncResponse{Final: true}))
	q.Ref = ref(3)
	wantSync(t, "the third", p.Query(t0, q))
}

func TestFloodOfSyncResponsesIsBounded(t *testing.T) {
	p, s := syncing(t)
	p.Query(t0, syncFor(2, s))
	flood, ends := []Packet{part(), part(worth(t0, "x")), SyncResponse{Cursor: []byte{1}}}, 0
	for i := range 1_000_000 {
		o := p.Packet(t0, s.id, flood[i%len(flood)])
		if len(o.Packets)+len(o.Down) > 0 {
			t.Fatalf("packet %d: %+v", i, o)
		}
		for _, e := range all[transport.Queried](o) {
			if ends++; i != maxDelivered || e.Ref != ref(1) || e.End != transport.QueryRefused || e.Count != 1 {
				t.Fatalf("packet %d: %+v", i, e)
			}
		}
	}
	if want := (Stats{Fetched: 1, Repeated: (maxDelivered+1)/3 - 1, Unasked: 1_000_000 - maxDelivered - 1}); ends != 1 || p.Stats() != want {
		t.Errorf("%d ends, counted %+v, want %+v", ends, p.Stats(), want)
	}
	if len(p.servers) != 1 || len(p.servers[0].queue) != 1 {
		t.Errorf("%d servers, with a queue of %d", len(p.servers), len(p.servers[0].queue))
	}
}
