package mail

import (
	"slices"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

func TestLostLinkEndsOnlyWhatWasMeantForIt(t *testing.T) {
	a, b := newIdentity(t, 1), newIdentity(t, 2)
	p := newClient(t, a, b)
	p.Connected(t0, a.connected("x"))
	p.Connected(t0, b.connected("x"))
	p.Query(t0, askFor(1)) // runs at a
	named := askFor(2)
	named.Server = a.url
	p.Query(t0, named)
	p.Query(t0, askFor(3)) // waits, and does not care
	o := p.Disconnected(t0, a.id)
	ends := all[transport.Queried](o)
	if len(ends) != 2 || ends[0].Ref != ref(1) || ends[1].Ref != ref(2) || ends[0].End != transport.QueryGone || ends[1].End != transport.QueryGone {
		t.Errorf("ended %+v", ends)
	}
	if len(o.Packets) != 1 || o.Packets[0].Peer != b.id {
		t.Errorf("sent %+v, want the third query to go to the other server", o.Packets)
	}
	p.Connected(t0, a.connected("x"))
	p.Query(t0, askFor(4)) // waits behind the third, and has nowhere to go
	o = p.OverlayReady(t0)
	if len(o.Packets) > 0 {
		t.Errorf("sent without a link: %+v", o.Packets)
	}
	ends = all[transport.Queried](o)
	if len(ends) != 2 || ends[0].Ref != ref(3) || ends[0].End != transport.QueryGone || ends[1].Ref != ref(4) || ends[1].End != transport.QueryNobody {
		t.Errorf("ended %+v", ends)
	}
	if len(o.Down) != 2 {
		t.Errorf("%d commands, want AddPeer for both servers", len(o.Down))
	}
}

func TestBestServerIsTheOneThatLastAnswered(t *testing.T) {
	a, b, c := newIdentity(t, 1), newIdentity(t, 2), newIdentity(t, 3)
	p := newClient(t, a, b, c)
	p.Open(t0)
	serversAre := func(want ...identity) {
		t.Helper()
		var urls []string
		for _, s := range want {
			urls = append(urls, s.url)
		}
		if got := p.Servers(); !slices.Equal(got, urls) {
			t.Errorf("servers %v, want %v", got, urls)
		}
	}
	if p.Ready() != nil {
		t.Error("servers without links")
	}
	for i, s := range []identity{c, b, a} {
		e := only[transport.Archives](t, p.Connected(t0, s.connected("x")))
		if len(e.Servers) != i+1 {
			t.Errorf("announced %v", e.Servers)
		}
	}
	serversAre(a, b, c)
	at := func(s identity, n byte) Out {
		q := askFor(n)
		q.Server = s.id.String()
		return p.Query(t0, q)
	}
	p.Packet(t0, c.id, Complete{Request: idOf(t, at(c, 1))})
	serversAre(c, a, b)
	p.Packet(t0, b.id, Complete{Request: idOf(t, at(b, 2))})
	serversAre(b, c, a)
	only[transport.Queried](t, p.Wake(at(b, 3).Wake)) // silent
	serversAre(c, a, b)
	o := p.Disconnected(t0, c.id)
	if e := only[transport.Archives](t, o); !slices.Equal(e.Servers, []string{a.url, b.url}) {
		t.Errorf("announced %v", e.Servers)
	}
	if e := p.Ready()[0].(transport.Archives); !slices.Equal(e.Servers, []string{a.url, b.url}) {
		t.Errorf("announced %v", e.Servers)
	}
}

func TestNamedServerIsLinkedFirst(t *testing.T) {
	s := newIdentity(t, 1)
	p := newClient(t)
	q := askFor(1)
	q.Server = s.url
	o := p.Query(t0, q)
	add, ok := o.Down[0].(overlay.AddPeer)
	if !ok || add.Node != s.url || add.Ref == (layers.Ref{}) || len(o.Packets) > 0 {
		t.Fatalf("got %+v", o)
	}
	if o = p.Connected(t0.Add(time.Second), s.connected("x")); len(o.Packets) != 1 {
		t.Errorf("got %+v, want the request", o)
	}

	// The link does not come.
	p = newClient(t)
	o = p.Query(t0, q)
	o = p.Wake(o.Wake)
	if e := only[transport.Queried](t, o); e.End != transport.QueryNobody || e.Reason != "no link to the server within 10s" {
		t.Errorf("got %+v", e)
	}
}

func TestNobodyToAsk(t *testing.T) {
	s := newIdentity(t, 1)
	p := newClient(t, s)
	for name, server := range map[string]string{
		"none linked": "", "no address": newIdentity(t, 9).id.String(), "no name": "mail.example.org", "bad url": "enode://12@x:1",
	} {
		q := askFor(1)
		q.Server = server
		if e := only[transport.Queried](t, p.Query(t0, q)); e.End != transport.QueryNobody || e.Reason == "" || e.Server != "" {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func TestServersThatAreRememberedAreBounded(t *testing.T) {
	p := newClient(t)
	for n := range 2 * maxKnown {
		var s identity
		s.id = overlay.PeerID{byte(n), byte(n >> 8)}
		p.Connected(t0, s.connected("x"))
		q := transport.Query{Ref: layers.Ref{byte(n), byte(n >> 8)}, Server: s.id.String(), To: t0}
		o := p.Query(t0, q)
		if n%4 == 0 {
			p.Cancel(t0, transport.Cancel{Ref: q.Ref}) // and is no longer in use
		} else if ends := all[transport.Queried](o); len(ends) > 0 {
			if ends[0].End != transport.QueryNobody || n < maxKnown {
				t.Fatalf("server %d: %+v", n, ends[0])
			}
		}
		if len(p.servers) > maxKnown {
			t.Fatalf("%d servers are remembered", len(p.servers))
		}
	}
	if len(p.servers) != maxKnown {
		t.Errorf("%d servers are remembered, want %d", len(p.servers), maxKnown)
	}
}
