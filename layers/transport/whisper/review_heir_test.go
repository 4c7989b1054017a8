package whisper

import (
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/mail"
)

// What an archive says of a node that is gone must not confirm what the one in
// its place has, and that has been asked for nothing yet, whatever the clock says.
func TestHeirDoesNotTakeTheWordOfAKeeperForTheOneBefore(t *testing.T) {
	for name, later := range map[string]time.Duration{"the clock goes on": time.Second, "the clock was set back": -time.Hour} {
		n := opened(t, nil)
		connect(t, n, t0, alice)
		above(t, n, t0, transport.Watch{Keeps: true})
		marked := ups[transport.Admitted](below(t, n, t0, arrival(t, alice, sealed(t0, 60, chat, "a"))))[0].Mark

		h := New(DefaultConfig())
		now := t0.Add(later)
		h.Wake(now)
		h.Succeed(now, n)
		below(t, h, now, overlay.Ready{})
		connect(t, h, now, alice)
		raw := sealed(now, 60, chat, "b")
		if acks(below(t, h, now, arrival(t, alice, raw)), alice) != 0 {
			t.Errorf("%s: confirmed though nobody has kept it", name)
		}
		if acks(above(t, h, now, transport.Kept{Mark: marked}), alice) != 0 {
			t.Errorf("%s: confirmed at the word for another", name)
		}
		again := ups[transport.Admitted](above(t, h, now, transport.Watch{Keeps: true}))
		if len(again) != 1 || len(again[0].Envelopes) != 2 || again[0].Mark <= marked {
			t.Fatalf("%s: reported %v, want both with a mark above %d", name, again, marked)
		}
		if acks(above(t, h, now, transport.Kept{Mark: marked}), alice) != 0 {
			t.Errorf("%s: confirmed at the old word", name)
		}
		if acks(above(t, h, now, transport.Kept{Mark: again[0].Mark}), alice) != 1 {
			t.Errorf("%s: not confirmed when it is kept", name)
		}
	}
}

func TestPoolOfAnHeirIsNotAboveItsLimit(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	var dear, cheap []byte
	for i := range 700 {
		data := make([]byte, 8<<10)
		data[0], data[1] = byte(i), byte(i>>8)
		e := decoded(t, EncodeEnvelope(Envelope{Expiry: uint32(t0.Unix()) + 60, TTL: 60, Topic: chat, Data: data}))
		if _, ok := n.pool.add(&e, float64(i), t0, i == 0); !ok {
			t.Fatal("not pooled")
		}
		switch i {
		case 1:
			cheap = e.raw
		case 699:
			dear = e.raw
		}
	}
	h := succeed(t, n, t0, func(c *Config) { c.PoolBytes = 3 << 20 })
	if h.pool.bytes > 3<<20 || h.pool.bytes < 3<<20-10<<10 {
		t.Errorf("the pool has %d bytes, its limit is %d", h.pool.bytes, 3<<20)
	}
	if h.pool.byHash(hashOf(dear)) == nil || h.pool.byHash(hashOf(cheap)) != nil || h.pool.log[0].dead() {
		t.Error("others have left than those that are worth least, or an own one has")
	}
	if got := facts(t, h, t0, hashOf(cheap)); got[len(got)-1] != "0s evicted" {
		t.Errorf("the facts are %v", got)
	}
}

func TestHeirTellsNothingOfLinksThatAreNotReported(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice) // has slot 0
	connect(t, n, t0, bob)
	raw := sealed(t0, 60, chat, "text")
	below(t, n, t0, arrival(t, alice, raw))
	h := succeed(t, n, t0, nil)
	for _, f := range ups[transport.Explained](above(t, h, t0, transport.Explain{Hash: hashOf(raw)}))[0].Facts {
		if f.Deed == transport.Forwarded && f.Peer == "" {
			t.Errorf("forwarded to nobody: %+v", f)
		}
	}
}

// A link that has ended owes nothing, also if the heir has never heard of it.
func TestLinkThatIsMadeAnewOwesAnHeirNothing(t *testing.T) {
	url, id := node(t, 7)
	for name, end := range map[string]func(*Node){
		"before the first Ready": func(h *Node) {
			below(t, h, t0, overlay.Disconnected{Peer: id})
			below(t, h, t0, overlay.Ready{})
		},
		"after it": func(h *Node) {
			below(t, h, t0, overlay.Ready{})
			below(t, h, t0, overlay.Disconnected{Peer: id})
		},
		"with all others": func(h *Node) {
			below(t, h, t0, overlay.Ready{})
			below(t, h, t0, overlay.Ready{})
		},
		"not at all": nil,
	} {
		tools := Tools{Random: zeros{}}
		n := NewWith(DefaultConfig(), tools)
		n.Wake(t0)
		connect(t, n, t0, id)
		above(t, n, t0, transport.Query{Ref: layers.Ref{1}, From: t0.Add(-time.Hour), Server: url, Sync: true})
		h := NewWith(DefaultConfig(), tools)
		h.Wake(t0)
		h.Succeed(t0, n)
		if end != nil {
			end(h)
		} else {
			below(t, h, t0, overlay.Ready{})
		}
		connect(t, h, t0, id)
		out := above(t, h, t0, transport.Query{Ref: layers.Ref{2}, From: t0.Add(-time.Hour), Server: url, Sync: true})
		if asked := sends(out)[id][mail.CodeSyncRequest] != nil; asked != (end != nil) {
			t.Errorf("%s: asked at once: %t", name, asked)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// Who publishes what peers have sent makes it an own envelope, which is not
// evicted. That must not fill the pool.
func TestEnvelopesOfPeersThatArePublishedGetNoMoreThanHalfThePool(t *testing.T) {
	n := opened(t, func(c *Config) { c.PoolBytes = 2 << 20; c.MinPoW = 0 })
	connect(t, n, t0, alice)
	refused := 0
	for i := range 50 {
		data := make([]byte, 32<<10)
		data[0] = byte(i)
		raw := EncodeEnvelope(Envelope{Expiry: uint32(t0.Unix()) + 60, TTL: 60, Topic: chat, Data: data})
		below(t, n, t0, arrival(t, alice, raw))
		ref := layers.Ref{1, byte(i)}
		out := above(t, n, t0, transport.Publish{Ref: ref, Raw: raw})
		switch got := finals(out, ref); {
		case len(got) != 1:
			t.Fatalf("answered by %v, want one answer", got)
		default:
			if _, no := got[0].(transport.Refused); no {
				refused++
			}
		}
	}
	if n.pool.owned > n.pool.limit/2 || refused == 0 || refused > 25 {
		t.Errorf("%d bytes of %d are own, %d of 50 were refused", n.pool.owned, n.pool.limit, refused)
	}
	better := sealed(t0, 60, chat, "better")
	below(t, n, t0, arrival(t, alice, better))
	if n.pool.byHash(hashOf(better)) == nil {
		t.Error("there is no room for others")
	}
}

func TestHeirDoesNotOfferAgainWhatIsAnswered(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, bob)
	out := above(t, n, t0, publish)
	for len(n.mining) > 0 {
		out.Add(n.Wake(t0))
	}
	ack := encodeAcknowledged(layers.Keccak256(sends(out)[bob][codeMessages]))
	if got := ups[transport.Relayed](below(t, n, t0, incoming(t, bob, ack.Code, ack.Payload))); len(got) != 1 {
		t.Fatalf("answered by %v", got)
	}
	h := succeed(t, n, t0, nil)
	if got := ups[transport.Relayed](above(t, h, t0, publish)); len(got) != 1 {
		t.Errorf("published again: answered by %v, want what is known already", got)
	}
	below(t, h, t0, overlay.Ready{})
	if got := hashes(t, connect(t, h, t0, bob), bob); len(got) != 0 {
		t.Errorf("bob is sent %v again", got)
	}
}

func TestOldestOfEquallyWorthLeavesAFullPoolFirst(t *testing.T) {
	p := newPool(1 << 20)
	var kept []transport.Hash
	for i := range 300 {
		e := sized(i, 8000-i, uint32(t0.Unix())+60)
		if _, ok := p.add(&e, 1, t0, false); !ok {
			t.Fatalf("envelope %d found no room", i)
		}
		kept = append(kept, e.Hash)
		for _, x := range p.out {
			if x.hash != kept[0] {
				t.Fatalf("envelope %d drove out another one than the oldest", i)
			}
			kept = kept[1:]
		}
		p.out = nil
	}
	if len(kept) == 300 {
		t.Error("the pool was never full")
	}
}

func TestPoolThatWasFullGivesUpTheOrderOfWorth(t *testing.T) {
	p := newPool(1 << 20)
	for i := range 300 {
		e := sized(i, 8000, uint32(t0.Unix())+uint32(i))
		p.add(&e, 1, t0, false)
	}
	if !p.full || len(p.worth) == 0 {
		t.Fatal("the pool was never full")
	}
	for p.expired(uint32(t0.Unix())+280) != nil {
	}
	if p.full || cap(p.worth) > 0 {
		t.Errorf("%d envelopes are left, and places for %d in the order of what they are worth", p.len(), cap(p.worth))
	}
}
