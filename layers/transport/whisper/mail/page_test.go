package mail

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

func TestRequestWithoutBatchGetsOneEnvelopePerPacket(t *testing.T) {
	p, client := serving(t)
	q := good()
	q.layout, q.batch = layoutRLP6, false
	a := only[transport.Asked](t, p.Packet(t0, client.id, enveloped(t, q.encode())))
	envelopes := []transport.Envelope{made(chat, t0, "1"), made(chat, t0, "2"), made(chat, t0, "3")}
	o := p.Page(t0, transport.Page{Ask: a.Ask, Envelopes: envelopes})
	if len(o.Packets) != 3 {
		t.Fatalf("%d packets, want 3", len(o.Packets))
	}
	for i, packet := range o.Packets {
		if !bytes.Equal(packet.Packet.Payload, envelopes[i].Raw) || packet.Packet.Code != CodeDelivery || packet.Tell != (i == 2) {
			t.Errorf("packet %d: %+v", i, packet)
		}
	}
}

func TestEmptyPageIsTakenAtOnce(t *testing.T) {
	p, client := serving(t)
	a := only[transport.Asked](t, p.Packet(t0, client.id, plain(1)))
	o := p.Page(t0, transport.Page{Ask: a.Ask})
	if only[transport.Taken](t, o); len(o.Packets) > 0 {
		t.Errorf("sent %+v", o.Packets)
	}
	o = p.Page(t0, transport.Page{Ask: a.Ask, Last: true})
	if c := sent(t, o).(Complete); c.Last != (transport.Hash{}) || c.Cursor != nil || c.Failed {
		t.Errorf("ended by %+v", c)
	}
}

func TestEnvelopeOfAnotherTransportIsGivenAForm(t *testing.T) {
	p, client := serving(t)
	a := only[transport.Asked](t, p.Packet(t0, client.id, plain(1)))
	e := transport.Envelope{Hash: transport.Hash{9}, Topic: chat, Data: []byte("data"), Sent: t0, TTL: 20 * time.Second}
	d := sent(t, p.Page(t0, transport.Page{Ask: a.Ask, Envelopes: []transport.Envelope{e}})).(Delivery)
	got := d.Envelopes[0]
	if got.Topic != e.Topic || !bytes.Equal(got.Data, e.Data) || !got.Sent.Equal(e.Sent) || got.TTL != e.TTL {
		t.Errorf("got %+v", got)
	}
	c := decode(t, p.Page(t0, transport.Page{Ask: a.Ask, Last: true}).Packets[0].Packet).(Complete)
	if c.Last != got.Hash {
		t.Errorf("last %v, want %v", c.Last, got.Hash)
	}
}

func TestPeerThatGoesIsAbandoned(t *testing.T) {
	p, client := serving(t)
	a := only[transport.Asked](t, p.Packet(t0, client.id, plain(1)))
	b := only[transport.Asked](t, p.Packet(t0, client.id, plain(2)))
	if b.Ask <= a.Ask {
		t.Errorf("asks %d and %d", a.Ask, b.Ask)
	}
	p.Page(t0, transport.Page{Ask: a.Ask, Last: true}) // is done with
	if e := only[transport.Abandoned](t, p.Disconnected(t0, client.id)); e.Ask != b.Ask {
		t.Errorf("abandoned %+v", e)
	}
	if o := p.Page(t0, transport.Page{Ask: b.Ask, Envelopes: []transport.Envelope{made(chat, t0, "x")}}); len(o.Packets) > 0 {
		t.Errorf("sent to nobody: %+v", o.Packets)
	}
}

func TestArchiveThatDoesNotAnswerIsGivenUp(t *testing.T) {
	p, client := serving(t)
	o := p.Packet(t0, client.id, plain(1))
	a := only[transport.Asked](t, o)
	if want := t0.Add(patience); !o.Wake.Equal(want) {
		t.Errorf("wake at %v, want %v", o.Wake, want)
	}
	o = p.Wake(o.Wake)
	if e := only[transport.Abandoned](t, o); e.Ask != a.Ask {
		t.Errorf("abandoned %+v", e)
	}
	if c := sent(t, o).(Complete); !c.Failed || c.Request != (transport.Hash{1}) || !o.Wake.IsZero() {
		t.Errorf("answered %+v", c)
	}
	if o := p.Page(t0, transport.Page{Ask: a.Ask, Last: true}); len(o.Packets) > 0 {
		t.Errorf("a late page is sent: %+v", o.Packets)
	}
}

func TestFailureOfTheArchiveIsTold(t *testing.T) {
	for name, tt := range map[string]struct {
		page transport.Page
		want string
	}{
		"failure": {transport.Page{Last: true, Failure: "the archive\nis closed"}, "the archive?is closed"},
		"cursor":  {transport.Page{Last: true, Cursor: []byte{1}}, "the cursor of the archive cannot be sent"},
	} {
		p, client := serving(t)
		tt.page.Ask = only[transport.Asked](t, p.Packet(t0, client.id, plain(1))).Ask
		if c := sent(t, p.Page(t0, tt.page)).(Complete); !c.Failed || c.Reason != tt.want {
			t.Errorf("%s: answered %+v", name, c)
		}
	}
}

func TestPacketsStayBelowTheLimitOfEveryPeer(t *testing.T) {
	s := settings()
	s.Bundle = 1 << 20
	var envelopes []transport.Envelope
	for i := range 17 {
		envelopes = append(envelopes, made(chat, t0, fmt.Sprint(i, strings.Repeat("x", i*(60<<10)))))
	}
	whole := made(chat, t0, strings.Repeat("y", 1<<20-1000))
	tooLong := made(chat, t0, strings.Repeat("z", 1<<20))
	envelopes = append(envelopes, tooLong, whole)
	for _, sync := range []bool{false, true} {
		a := &ask{sync: sync, batch: true}
		var got []transport.Envelope
		for i, o := range a.deliver(s, envelopes) {
			if len(o.Payload) > peerLimit {
				t.Errorf("sync %v: packet %d has %d bytes", sync, i, len(o.Payload))
			}
			switch m := decode(t, o).(type) {
			case Delivery:
				got = append(got, m.Envelopes...)
			case SyncResponse:
				got = append(got, m.Envelopes...)
			}
		}
		want := append(slices.Clone(envelopes[:17]), whole)
		if !equalHashes(got, want) {
			t.Errorf("sync %v: %d envelopes came, want %d", sync, len(got), len(want))
		}
	}
}

func TestWrittenIsAboutOnePeer(t *testing.T) {
	p, client := serving(t)
	other := newIdentity(t, 3)
	p.Connected(t0, other.connected("x"))
	a := only[transport.Asked](t, p.Packet(t0, client.id, plain(1)))
	b := only[transport.Asked](t, p.Packet(t0, other.id, plain(1)))
	for _, asked := range []transport.Asked{a, b} {
		p.Page(t0, transport.Page{Ask: asked.Ask, Envelopes: []transport.Envelope{made(chat, t0, "x")}})
	}
	if e := only[transport.Taken](t, p.Written(t0, other.id)); e.Ask != b.Ask {
		t.Errorf("taken %d, want %d", e.Ask, b.Ask)
	}
}

func TestRenewedLinkKeepsItsAsks(t *testing.T) {
	p, client := serving(t)
	a := only[transport.Asked](t, p.Packet(t0, client.id, plain(1)))
	again := client.connected("x")
	again.Address = netip.MustParseAddrPort("10.0.0.9:1")
	if o := p.Connected(t0, again); len(o.Up) > 0 {
		t.Errorf("got %+v", o.Up)
	}
	b := only[transport.Asked](t, p.Packet(t0, client.id, plain(2)))
	if b.Address.String() != "10.0.0.9" {
		t.Errorf("asked from %v", b.Address)
	}
	if ends := all[transport.Abandoned](p.Disconnected(t0, client.id)); len(ends) != 2 || ends[0].Ask != a.Ask {
		t.Errorf("abandoned %+v", ends)
	}
}

func BenchmarkPage(b *testing.B) {
	p := newServer(b, newIdentity(b, 1))
	client := newIdentity(b, 2)
	p.Connected(t0, client.connected("x"))
	var page transport.Page
	for i := range transport.MaxPage {
		page.Envelopes = append(page.Envelopes, made(chat, t0, fmt.Sprintf("%500d", i)))
	}
	b.ReportAllocs()
	for b.Loop() {
		page.Ask = all[transport.Asked](p.Packet(t0, client.id, plain(1)))[0].Ask
		page.Last = true
		p.Page(t0, page)
		p.Written(t0, client.id)
	}
	b.ReportMetric(float64(b.N*transport.MaxPage)/b.Elapsed().Seconds(), "envelopes/s")
}
