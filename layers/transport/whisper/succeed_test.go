package whisper

import (
	"slices"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

// succeed returns a node that goes on for another one.
func succeed(t *testing.T, before *Node, now time.Time, change func(*Config)) *Node {
	t.Helper()
	n := opened(t, change)
	if out := n.Succeed(now, before); len(sends(out)) > 0 {
		t.Errorf("sent before the links are reported: %v", out.Down)
	}
	return n
}

func TestHeirOffersWhatIsStillOwedAndNothingElse(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	connect(t, n, t0, bob)
	first, second := sealed(t0, 60, chat, "first"), sealed(t0, 60, chat, "second")
	if got := hashes(t, below(t, n, t0, arrival(t, alice, first)), bob); len(got) != 1 {
		t.Fatalf("bob is sent %d envelopes, want the first", len(got))
	}
	below(t, n, t0, arrival(t, alice, second)) // bob's link is busy
	h := succeed(t, n, t0, nil)
	for _, e := range []overlay.Event{ // meant for the one before
		overlay.Written{Peer: bob}, overlay.Connected{Peer: bob, State: []overlay.Packet{confirming()}}, overlay.Written{Peer: alice},
	} {
		if got := sends(below(t, h, t0, e)); len(got) > 0 {
			t.Errorf("%T before the links are reported: sent %v", e, got)
		}
	}
	below(t, h, t0, overlay.Ready{})
	if got := hashes(t, connect(t, h, t0, bob), bob); !slices.Equal(got, []transport.Hash{hashOf(second)}) {
		t.Errorf("bob is sent %v, want the second alone", got)
	}
	if got := hashes(t, connect(t, h, t0, alice), alice); len(got) > 0 {
		t.Errorf("alice is sent %v, of what came from her", got)
	}
	if got := len(hashes(t, connect(t, h, t0, carol), carol)); got != 2 {
		t.Errorf("carol, who is new, is sent %d envelopes, want both", got)
	}
	if out := h.Wake(t0.Add(time.Hour)); h.pool.len() != 0 {
		t.Errorf("what was taken over does not expire: %v", out)
	}
}

func TestHeirOfAnHeirKnowsTheLinksToo(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, bob)
	raw := sealed(t0, 60, chat, "text")
	connect(t, n, t0, alice)
	below(t, n, t0, arrival(t, alice, raw))
	h := succeed(t, succeed(t, n, t0, nil), t0, nil) // before any link was reported
	below(t, h, t0, overlay.Ready{})
	for _, id := range []overlay.PeerID{alice, bob} {
		if got := hashes(t, connect(t, h, t0, id), id); len(got) > 0 {
			t.Errorf("%v is sent %v again", id, got)
		}
	}
}

func TestHeirForgetsALinkThatHasEnded(t *testing.T) {
	for name, end := range map[string]func(*Node){
		"disconnected":      func(h *Node) { below(t, h, t0, overlay.Disconnected{Peer: bob}); below(t, h, t0, overlay.Ready{}) },
		"disconnected late": func(h *Node) { below(t, h, t0, overlay.Ready{}); below(t, h, t0, overlay.Disconnected{Peer: bob}) },
		"overlay restarted": func(h *Node) { below(t, h, t0, overlay.Ready{}); below(t, h, t0, overlay.Ready{}) },
	} {
		t.Run(name, func(t *testing.T) {
			n := opened(t, nil)
			connect(t, n, t0, alice)
			connect(t, n, t0, bob)
			below(t, n, t0, arrival(t, alice, sealed(t0, 60, chat, "text")))
			h := succeed(t, n, t0, nil)
			end(h)
			if got := len(hashes(t, connect(t, h, t0, carol), carol)); got != 1 {
				t.Errorf("carol, who may have got the slot, is sent %d envelopes", got)
			}
			if got := len(hashes(t, connect(t, h, t0, bob), bob)); got != 1 {
				t.Errorf("bob, who is back, is sent %d envelopes", got)
			}
			if len(h.heir.slots) > 1 || len(h.slots) > 3 {
				t.Errorf("%d links are still expected, %d slots", len(h.heir.slots), len(h.slots))
			}
		})
	}
}

func TestHeirAnswersForThePublicationsOfTheOneBefore(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, bob)
	p := transport.Publish{Ref: layers.Ref{1}, Topic: chat, Data: []byte("own"), TTL: time.Minute}
	out := above(t, n, t0, p)
	for len(n.mining) > 0 {
		out.Add(n.Wake(t0))
	}
	sent := hashes(t, out, bob)
	if len(sent) != 1 {
		t.Fatalf("bob is sent %d envelopes, want one", len(sent))
	}
	h := succeed(t, n, t0, nil)
	out = above(t, h, t0, p) // as it is unanswered
	for len(h.mining) > 0 {
		out.Add(h.Wake(t0))
	}
	if h.pool.len() != 1 {
		t.Errorf("%d envelopes are pooled, want the one that was made first", h.pool.len())
	}
	below(t, h, t0, overlay.Ready{})
	out = connect(t, h, t0, bob)
	if got := hashes(t, out, bob); !slices.Equal(got, sent) {
		t.Errorf("bob is sent %v, want %v again, because nobody knows what he was asked to confirm", got, sent)
	}
	ack := encodeAcknowledged(layers.Keccak256(sends(out)[bob][codeMessages]))
	out = below(t, h, t0, incoming(t, bob, ack.Code, ack.Payload))
	if got := ups[transport.Relayed](out); len(got) != 1 || got[0].Ref != p.Ref {
		t.Errorf("answered by %v, want one Relayed", got)
	}
}

func TestHeirReportsOnlyWhatWasNotReported(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	above(t, n, t0, transport.Subscribe{Topics: []transport.Topic{chat}})
	below(t, n, t0, arrival(t, alice, sealed(t0, 60, chat, "reported"), sealed(t0, 60, other, "pooled")))
	h := succeed(t, n, t0, nil)
	if got := ups[transport.Received](above(t, h, t0, transport.Subscribe{Topics: []transport.Topic{chat}})); len(got) > 0 {
		t.Errorf("reported again: %v", got)
	}
	got := ups[transport.Received](above(t, h, t0, transport.Subscribe{Topics: []transport.Topic{chat, other}}))
	if len(got) != 1 || len(got[0].Envelopes) != 1 || string(got[0].Envelopes[0].Data) != "pooled" {
		t.Errorf("reported %v, want what is of the new topic", got)
	}
}

func TestHeirTellsThePeersWhatItWantsIfThatIsSomethingElse(t *testing.T) {
	client := func(c *Config) { c.Interest = Subscribed }
	dear := func(c *Config) { c.MinPoW = 0.002 }
	for _, tt := range []struct {
		name          string
		before, after func(*Config)
		bloom, price  bool
	}{
		{"the same", nil, nil, false, false},
		{"a relay that was a client", client, nil, true, false},
		{"another price", nil, dear, false, true},
	} {
		n := opened(t, tt.before)
		connect(t, n, t0, alice)
		h := succeed(t, n, t0, tt.after)
		below(t, h, t0, overlay.Ready{})
		packets := sends(connect(t, h, t0, alice))[alice]
		_, bloom := packets[codeBloomFilter]
		_, price := packets[codePoWRequirement]
		if bloom != tt.bloom || price != tt.price {
			t.Errorf("%s: told the interest %t, the price %t", tt.name, bloom, price)
		}
	}
}

func TestSmallerPoolOfAnHeirHoldsItsLimitInTheEnd(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	for i := range 40 {
		below(t, n, t0, arrival(t, alice, sealed(t0, 60, chat, string(make([]byte, 4<<10+i)))))
	}
	h := succeed(t, n, t0, func(c *Config) { c.PoolBytes = 3 << 20 })
	if h.pool.limit != 3<<20 {
		t.Errorf("the limit is %d, not that of the configuration", h.pool.limit)
	}
	h.pool.limit = 64 << 10
	below(t, h, t0, overlay.Ready{})
	connect(t, h, t0, alice)
	below(t, h, t0, arrival(t, alice, sealed(t0, 60, chat, "one more")))
	if h.pool.bytes > h.pool.limit {
		t.Errorf("the pool has %d bytes, its limit is %d", h.pool.bytes, h.pool.limit)
	}
}
