package mail

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// The tests of this file are about the known weaknesses of the deployed mail
// servers and clients, one each.

// One packet with a bloom of fewer than 64 bytes ended a server of 2020.
func TestDefectShortBloomEndsNobody(t *testing.T) {
	p, client := serving(t)
	for n := range bloomSize + 8 {
		m := plain(byte(n))
		m.Bloom = make([]byte, n)
		o := p.Packet(t0, client.id, m)
		if n == 0 || n == bloomSize {
			a := only[transport.Asked](t, o)
			if (a.Bloom == nil) != (n == 0) {
				t.Errorf("%d bytes: bloom %v", n, a.Bloom)
			}
			continue
		}
		wantError(t, o, m.ID, fmt.Sprintf("request is invalid: bloom filter has %d bytes, want 64", n))
		p.Written(t0, client.id)
	}
}

// An end of 2^32-1 became 0, so that nothing was found.
func TestDefectLastSecondIsNoOverflow(t *testing.T) {
	p, client := serving(t)
	m := plain(1)
	m.To = 1<<32 - 1
	if a := only[transport.Asked](t, p.Packet(t0, client.id, m)); a.To.Unix() != 1<<32-1 {
		t.Errorf("asked to %v", a.To)
	}
	// The same from the other side.
	s := newIdentity(t, 1)
	c := newClient(t, s)
	c.Connected(t0, s.connected("x"))
	q := askFor(1)
	q.To = time.Unix(1<<40, 0)
	if r := readRequest(t, s.key, c.Query(t0, q)); r.to != 1<<32-2 {
		t.Errorf("asked to %d", r.to)
	}
}

// A request could be sent again by whoever had seen it.
func TestDefectRequestCannotBeReplayed(t *testing.T) {
	p, client := serving(t)
	other := newIdentity(t, 3)
	p.Connected(t0, other.connected("x"))
	m := enveloped(t, good().encode())
	a := only[transport.Asked](t, p.Packet(t0, client.id, m))
	// Who asks twice on the same link while the answer is coming has not to be told.
	if o := p.Packet(t0, client.id, m); len(o.Up)+len(o.Packets) > 0 {
		t.Errorf("the same request again: %+v", o)
	}
	wantError(t, p.Packet(t0, other.id, m), m.Envelope.Hash, "request was made before")
	p.Page(t0, transport.Page{Ask: a.Ask, Last: true})
	p.Written(t0, client.id)
	wantError(t, p.Packet(t0, client.id, m), m.Envelope.Hash, "request was made before")
	wantError(t, p.Packet(t0.Add(111*time.Second), other.id, m), m.Envelope.Hash, "very old envelope")
}

// What is remembered against replays has a bound.
func TestDefectMemoryOfRequestsIsBounded(t *testing.T) {
	r := recent{seen: map[transport.Hash]bool{}}
	hash := func(i int) transport.Hash { return transport.Hash{byte(i), byte(i >> 8), byte(i >> 16)} }
	for i := range maxRecent + 100 {
		r.add(t0, hash(i), t0.Add(time.Minute))
	}
	if len(r.seen) != maxRecent || len(r.order) != maxRecent || r.has(hash(99)) || !r.has(hash(100)) {
		t.Errorf("%d and %d are remembered, want %d", len(r.seen), len(r.order), maxRecent)
	}
	r.add(t0.Add(2*time.Minute), transport.Hash{31: 1}, t0.Add(3*time.Minute))
	if len(r.seen) != 1 {
		t.Errorf("%d are remembered though their time is over", len(r.seen))
	}
}

// One peer could keep a server busy with as many requests as it liked.
func TestDefectRequestsOfOnePeerAreBounded(t *testing.T) {
	p, client := serving(t)
	for n := range byte(100) {
		o := p.Packet(t0, client.id, plain(n))
		if got := len(all[transport.Asked](o)); (got == 1) != (n < maxAsksPerPeer) {
			t.Errorf("request %d is asked %d times", n, got)
		}
		p.Written(t0, client.id)
	}
}

// A failed query of the archive got no answer, or one of success.
func TestDefectFailureIsNoSuccess(t *testing.T) {
	p, client := serving(t)
	a := only[transport.Asked](t, p.Packet(t0, client.id, plain(1)))
	p.Page(t0, transport.Page{Ask: a.Ask, Envelopes: []transport.Envelope{made(chat, t0, "x")}})
	p.Written(t0, client.id)
	o := p.Page(t0, transport.Page{Ask: a.Ask, Last: true, Failure: "disk"})
	if c := sent(t, o).(Complete); !c.Failed || c.Reason != "disk" {
		t.Errorf("answered %+v", c)
	}
}

// The last envelope of a full page travelled alone, and a cursor that leads to
// nothing came with it.
func TestDefectLastPageIsOnePacketWithoutCursor(t *testing.T) {
	p, client := serving(t)
	m := plain(1)
	a := only[transport.Asked](t, p.Packet(t0, client.id, m))
	var envelopes []transport.Envelope
	for i := range m.Limit {
		envelopes = append(envelopes, made(chat, t0, fmt.Sprint(i)))
	}
	o := p.Page(t0, transport.Page{Ask: a.Ask, Envelopes: envelopes, Last: true})
	if len(o.Packets) != 2 {
		t.Fatalf("%d packets, want a page and its end", len(o.Packets))
	}
	if d := decode(t, o.Packets[0].Packet).(Delivery); !equalHashes(d.Envelopes, envelopes) {
		t.Errorf("delivered %d", len(d.Envelopes))
	}
	if c := decode(t, o.Packets[1].Packet).(Complete); c.Cursor != nil || c.Last != envelopes[len(envelopes)-1].Hash {
		t.Errorf("ended by %+v", c)
	}
}

// Servers and clients with requests of six and seven items could not talk.
func TestDefectBothCountsOfItemsAreUnderstood(t *testing.T) {
	for l := layoutRLP7; l <= layoutFixed; l++ {
		p, client := serving(t)
		q := good()
		q.layout = l
		only[transport.Asked](t, p.Packet(t0, client.id, enveloped(t, q.encode())))
	}
	// TestMisreadRequestIsPutInAnotherForm has the other side.
}

// A cursor of another length brought the first page again, for ever.
func TestDefectCursorOfAnotherLengthIsAnError(t *testing.T) {
	for n := range 64 {
		p, client := serving(t)
		m := plain(1)
		m.Cursor = make([]byte, n)
		o := p.Packet(t0, client.id, m)
		if n == 0 || n == cursorSize {
			if a := only[transport.Asked](t, o); len(a.Cursor) != n {
				t.Errorf("cursor %x", a.Cursor)
			}
		} else {
			wantError(t, o, m.ID, fmt.Sprintf("request is invalid: cursor has %d bytes, want 36", n))
		}
	}
	// In the layout without RLP the topic may follow the cursor.
	p, client := serving(t)
	q := good()
	q.layout, q.cursor = layoutFixed, bytes.Repeat([]byte{8}, cursorSize)
	o := p.Packet(t0, client.id, enveloped(t, append(q.encode(), chat[:]...)))
	if a := only[transport.Asked](t, o); !bytes.Equal(a.Cursor, q.cursor) {
		t.Errorf("cursor %x", a.Cursor)
	}
}

// A whole answer was kept in memory, whatever the peer took.
func TestDefectNextPageWaitsForThePeer(t *testing.T) {
	p, client := serving(t)
	a := only[transport.Asked](t, p.Packet(t0, client.id, plain(1)))
	for range 5 {
		o := p.Page(t0, transport.Page{Ask: a.Ask, Envelopes: []transport.Envelope{made(chat, t0, "x")}})
		if len(o.Up) > 0 || !slices.ContainsFunc(o.Packets, func(a Addressed) bool { return a.Tell }) {
			t.Fatalf("taken before it was written: %+v", o)
		}
		if !p.Wake(t0.Add(time.Hour)).Wake.IsZero() {
			t.Error("a peer that reads slowly is taken for an archive that does not answer")
		}
		only[transport.Taken](t, p.Written(t0, client.id))
	}
}

// Packets were cut at the limit without the headers of lists, which ended links.
// TestPacketsStayBelowTheLimitOfEveryPeer has all sizes; this is the worst.
func TestDefectHeadersCountInTheSizeOfAPacket(t *testing.T) {
	s := settings()
	s.Bundle = s.MaxMessage
	several, _ := s.limits()
	for fill := several - 8; fill <= several+8; fill++ {
		half := transport.Envelope{Raw: make([]byte, fill/2)}
		rest := transport.Envelope{Raw: make([]byte, fill-fill/2)}
		for _, group := range s.split([]transport.Envelope{half, rest}, false) {
			for _, sync := range []bool{false, true} {
				packet := delivery(group)
				if sync {
					packet = syncPart(group, make([]byte, cursorSize), false, "")
				}
				if len(packet.Payload) > peerLimit {
					t.Fatalf("%d bytes in a packet of %d", fill, len(packet.Payload))
				}
			}
		}
	}
}

// A server that had been asked once could deliver what it liked for as long as
// the link lived.
func TestDefectServerIsTrustedOnlyWhileAsked(t *testing.T) {
	s := newIdentity(t, 1)
	p := newClient(t, s)
	p.Connected(t0, s.connected("x"))
	o := p.Query(t0, askFor(1))
	p.Packet(t0, s.id, Complete{Request: idOf(t, o)})
	p.Query(t0, askFor(2))
	p.Cancel(t0, transport.Cancel{Ref: ref(2)})
	if o := deliver(p, s, made(chat, t0.Add(-time.Minute), "forged")); len(o.Up) > 0 {
		t.Errorf("taken: %+v", o.Up)
	}
}

// The filter of the 2020 messenger had the bits of a zero topic in it.
func TestDefectBloomHasOnlyTheTopicsAsked(t *testing.T) {
	ones := 0
	for _, x := range bloomOf([]transport.Topic{{1, 2, 3, 4}, {0xf8, 0x94, 0x6a, 0xac}}) {
		for ; x > 0; x &= x - 1 {
			ones++
		}
	}
	if b := bloomOf([]transport.Topic{{1, 2, 3, 4}}); b[0]&1 != 0 || ones == 0 || ones > 6 {
		t.Errorf("%d bits, the first byte is %x", ones, b[0])
	}
}
