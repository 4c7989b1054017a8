package whisper

import (
	"bytes"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

// alike are envelopes with one trait: they differ in the middle of their data.
func alike(t *testing.T, count int) (raws [][]byte) {
	t.Helper()
	for i := range count {
		e := Envelope{Expiry: uint32(t0.Unix()) + 60, TTL: 60, Topic: chat, Data: make([]byte, 200)}
		e.Data[100] = byte(i)
		raws = append(raws, EncodeEnvelope(e))
		if trait(raws[i]) != trait(raws[0]) {
			t.Fatal("the traits differ: this tests nothing")
		}
	}
	return raws
}

func TestEnvelopesWithOneTraitAreToldApart(t *testing.T) {
	n := opened(t, func(c *Config) { c.MinPoW = 0 })
	connect(t, n, t0, alice)
	connect(t, n, t0, bob)
	raws := alike(t, 3)
	other := sealed(t0, 60, chat, "other")
	out := below(t, n, t0, arrival(t, alice, append(raws, other)...))
	if got := hashes(t, out, bob); len(got) != 4 {
		t.Fatalf("%d envelopes went on, want 4", len(got))
	}
	below(t, n, t0, arrival(t, bob, append(raws, other)...))
	if n.pool.len() != 4 || n.duplicates != 4 || n.counts[admitted] != 4 {
		t.Errorf("%d pooled, %d duplicates, %d admitted; want 4 of each", n.pool.len(), n.duplicates, n.counts[admitted])
	}
	for _, raw := range raws {
		if x := n.pool.byHash(hashOf(raw)); x == nil || !bytes.Equal(n.pool.raw(x), raw) {
			t.Errorf("%s is not pooled as it came", hashOf(raw))
		}
	}
}

func TestEnvelopeIsFoundAfterAnotherWithItsTraitHasLeft(t *testing.T) {
	p := newPool(1 << 20)
	var list []Envelope
	for _, raw := range alike(t, 3) {
		e := decoded(t, raw)
		list = append(list, e)
		if _, ok := p.add(&e, 1, t0, false); !ok {
			t.Fatal("not pooled")
		}
	}
	for i := range list {
		for j := range list {
			e := list[j]
			e.Hash = transport.Hash{} // as from the codec
			x := p.find(&e)
			if got, want := x != nil, j >= i; got != want {
				t.Errorf("with %d gone, %d is found: %v, want %v", i, j, got, want)
			}
			if x != nil && !bytes.Equal(p.raw(x), e.raw) {
				t.Errorf("%d is taken for another", j)
			}
		}
		p.remove(p.find(&list[i]))
	}
	if p.len() != 0 || p.bytes != 0 {
		t.Errorf("%d envelopes of %d bytes are left", p.len(), p.bytes)
	}
}

func TestIdentityOfAPacketIsTheSameBeforeAndAfterItIsTaken(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	a, b, late := sealed(t0, 15, chat, "a"), sealed(t0, 15, other, "b"), sealed(t0.Add(-time.Minute), 15, chat, "late")
	below(t, n, t0, arrival(t, alice, a))
	packet := arrival(t, alice, a, b, b, late)
	before := packet.Identity()
	var want []byte
	for _, raw := range [][]byte{a, b, b, late} {
		h := hashOf(raw)
		want = append(want, h[:]...)
	}
	if !bytes.Equal(before, want) {
		t.Errorf("before: %x, want the four hashes %x", before, want)
	}
	below(t, n, t0, packet)
	if after := packet.Identity(); !bytes.Equal(after, want) {
		t.Errorf("after: %x, want the four hashes %x", after, want)
	}
	for i, e := range packet.Packet.(Messages).Envelopes {
		if e.Hash == (transport.Hash{}) {
			t.Errorf("the node has left envelope %d without a hash: the trace would compute it again", i)
		}
	}
}

func TestOnlyPeersThatConfirmAreToldWhatHasCome(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	connect(t, n, t0, bob, Status{Bloom: FullBloom()})
	good, old := sealed(t0, 15, chat, "x"), sealed(t0.Add(-time.Hour), 15, chat, "old")
	for _, envelopes := range [][][]byte{{good}, {old}, {good, old}, {good, old, good, good}} {
		for _, from := range []overlay.PeerID{alice, bob} {
			below(t, n, t0, overlay.Written{Peer: from})
			packets := sends(below(t, n, t0, arrival(t, from, envelopes...)))[from]
			payload := packets[codeAcknowledged]
			if told := payload != nil || packets[codeResponse] != nil; told != (from == alice) {
				t.Errorf("%d is told: %v", from[0], told)
			}
			if from == alice && !bytes.Equal(payload, encodeAcknowledged(hashOf(payloadOf(envelopes...))).Payload) {
				t.Errorf("packet of %d: acknowledged as %x", len(envelopes), payload)
			}
		}
	}
}
