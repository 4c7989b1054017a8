package whisper

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

func TestPeersAreCountedAtEachChange(t *testing.T) {
	n := opened(t, nil)
	if got := ups[transport.Peers](connect(t, n, t0, alice)); len(got) != 1 || got[0].Count != 1 {
		t.Errorf("after one link %v", got)
	}
	if got := ups[transport.Peers](connect(t, n, t0, alice)); got != nil {
		t.Errorf("after the same link %v", got)
	}
	connect(t, n, t0, bob)
	if got := ups[transport.Peers](below(t, n, t0, overlay.Disconnected{Peer: alice})); len(got) != 1 || got[0].Count != 1 {
		t.Errorf("after one left %v", got)
	}
	out := below(t, n, t0, overlay.Ready{})
	if got := ups[transport.Peers](out); len(got) != 1 || got[0].Count != 0 {
		t.Errorf("after a restart of the overlay %v", got)
	}
	if _, ok := out.Down[0].(overlay.Greet); !ok {
		t.Errorf("after a restart of the overlay: %v, want Greet", out.Down)
	}
}

func TestLateJoinerGetsThePoolInSplitBundles(t *testing.T) {
	n := opened(t, func(c *Config) { c.BundleBytes = 4096 })
	connect(t, n, t0, alice)
	want := map[transport.Hash]bool{}
	for i := range 40 {
		raw := sealed(t0, 60, chat, string(rune('a'+i))+string(make([]byte, 500)))
		want[hashOf(raw)] = true
		below(t, n, t0, arrival(t, alice, raw))
	}
	huge := sealed(t0, 60, chat, string(make([]byte, 9000)))
	want[hashOf(huge)] = true
	below(t, n, t0, arrival(t, alice, huge))
	out := connect(t, n, t0, bob)
	for steps := 0; len(out.Down) > 0; steps++ {
		if steps > 20 {
			t.Fatal("no end")
		}
		payload := sends(out)[bob][codeMessages]
		got := hashes(t, out, bob)
		if len(payload) > 4096 && len(got) > 1 {
			t.Errorf("bundle of %d bytes", len(payload))
		}
		for _, h := range got {
			if !want[h] {
				t.Errorf("%s sent twice", h)
			}
			delete(want, h)
		}
		out = below(t, n, t0, overlay.Written{Peer: bob})
	}
	if len(want) > 0 {
		t.Errorf("%d envelopes were not sent", len(want))
	}
}

func TestPeerIsSentOnlyWhatItWants(t *testing.T) {
	var wanted Bloom
	wanted.Add(chat)
	in, out := sealed(t0, 15, chat, "in"), sealed(t0, 15, other, "out")
	weak := mined(0.001, uint32(t0.Unix())+15, 15, chat, []byte("weak ................................................"))
	for e, _ := DecodeEnvelope(weak); e.PoW(0) >= 0.002; e, _ = DecodeEnvelope(weak) {
		weak = mined(0.001, e.Expiry, e.TTL, chat, append(e.Data, '.'))
	}
	late := sealed(t0.Add(-10*time.Second), 10, chat, "last second")
	tests := []struct {
		name  string
		state []overlay.Packet
		at    time.Duration
		want  [][]byte
	}{
		{"everything", []overlay.Packet{Status{Bloom: FullBloom()}}, 0, [][]byte{in, out, weak, late}},
		{"topic", []overlay.Packet{Status{Bloom: wanted}}, 0, [][]byte{in, weak, late}},
		{"nothing", []overlay.Packet{Status{}}, 0, nil},
		{"strong", []overlay.Packet{Status{PoW: 0.002, Bloom: FullBloom()}}, 0, [][]byte{in, out, late}},
		{"later packets hold", []overlay.Packet{Status{}, BloomFilter{Bloom: wanted}, PoWRequirement{PoW: 0.002}}, 0, [][]byte{in, late}},
		{"not the expired", []overlay.Packet{Status{Bloom: FullBloom()}}, time.Second, [][]byte{in, out, weak}},
		{"not below Inf", []overlay.Packet{Status{PoW: math.MaxFloat64, Bloom: FullBloom()}}, 0, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := opened(t, nil)
			connect(t, n, t0, alice)
			below(t, n, t0, arrival(t, alice, in, out, weak, late))
			got := hashes(t, connect(t, n, t0.Add(tt.at), bob, tt.state...), bob)
			if len(got) != len(tt.want) {
				t.Fatalf("sent %d envelopes, want %d", len(got), len(tt.want))
			}
			for i, raw := range tt.want {
				if got[i] != hashOf(raw) {
					t.Errorf("envelope %d is %s, want %s", i, got[i], hashOf(raw))
				}
			}
		})
	}
}

func TestChangedInterestOfAPeerBringsItThePool(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	raw := sealed(t0, 60, chat, "x")
	below(t, n, t0, arrival(t, alice, raw))
	connect(t, n, t0, bob, Status{})
	var b Bloom
	b.Add(chat)
	if got := hashes(t, below(t, n, t0, incoming(t, bob, codeBloomFilter, encodeBloom(b).Payload)), bob); len(got) != 1 {
		t.Fatalf("sent %v, want the pooled envelope", got)
	}
	below(t, n, t0, overlay.Written{Peer: bob})

	// The next change at once is not worth a second look at the pool at once.
	b.Add(other)
	second := sealed(t0, 60, other, "y")
	connect(t, n, t0, carol)
	below(t, n, t0, arrival(t, carol, second)) // outside bob's interest so far
	out := below(t, n, t0, incoming(t, bob, codeBloomFilter, encodeBloom(b).Payload))
	if got := hashes(t, out, bob); got != nil {
		t.Errorf("sent %v, want nothing yet", got)
	}
	if due := t0.Add(rescanAfter); out.Wake.After(due) || out.Wake.IsZero() {
		t.Errorf("wake at %v, want %v", out.Wake, due)
	}
	if got := hashes(t, n.Wake(t0.Add(rescanAfter)), bob); len(got) != 1 || got[0] != hashOf(second) {
		t.Errorf("sent %v, want the second envelope alone", got)
	}
}

func TestClientTellsItsInterestAndGivesPeersTimeToHearIt(t *testing.T) {
	n := opened(t, func(c *Config) { c.Interest = Subscribed })
	connect(t, n, t0, alice, confirming())
	var b Bloom
	b.Add(chat)
	out := above(t, n, t0, transport.Subscribe{Topics: []transport.Topic{chat}})
	if got := sends(out)[alice][codeBloomFilter]; !bytes.Equal(got, encodeBloom(b).Payload) {
		t.Errorf("bloom filter %x, want %x", got, encodeBloom(b).Payload)
	}
	greet, ok := out.Down[0].(overlay.Greet)
	if !ok || !bytes.Equal(greet.Packet.Payload, Status{PoW: 0.001, Bloom: b, Confirmations: true}.encode().Payload) {
		t.Errorf("greeting %+v", out.Down[0])
	}
	if out := connect(t, n, t0, bob); sends(out)[bob][codeBloomFilter] == nil {
		t.Error("a link that may have had an older greeting is not told")
	}

	now := t0.Add(time.Minute)
	above(t, n, now, transport.Subscribe{Topics: []transport.Topic{other}})
	refused := func(at time.Time, data string) bool {
		before := n.Counts()[offTopic.String()]
		below(t, n, at, arrival(t, alice, sealed(at, 15, chat, data)))
		return n.Counts()[offTopic.String()] > before
	}
	if refused(now.Add(9*time.Second), "a") {
		t.Error("an envelope of the former interest is refused after 9 s")
	}
	if !refused(now.Add(10*time.Second), "b") {
		t.Error("an envelope of the former interest is taken after 10 s")
	}
}

func TestInterestShrinksOnUnsubscribe(t *testing.T) {
	n := opened(t, func(c *Config) { c.Interest = Subscribed })
	above(t, n, t0, transport.Subscribe{Topics: []transport.Topic{chat, other}})
	above(t, n, t0, transport.Subscribe{Topics: []transport.Topic{chat}})
	var want Bloom
	want.Add(chat)
	if n.gate.interest != want {
		t.Errorf("interest %x, want %x", n.gate.interest, want)
	}
}

func TestAllIsAFullBloomFilterForAsLongAsItLasts(t *testing.T) {
	n := opened(t, func(c *Config) { c.Interest = Subscribed })
	connect(t, n, t0, alice, confirming())
	var b Bloom
	b.Add(chat)
	above(t, n, t0, transport.Subscribe{Topics: []transport.Topic{chat}})
	below(t, n, t0, overlay.Written{Peer: alice})

	out := above(t, n, t0, transport.Subscribe{All: true, Topics: []transport.Topic{chat}})
	if got := sends(out)[alice][codeBloomFilter]; !bytes.Equal(got, encodeBloom(FullBloom()).Payload) {
		t.Errorf("on All: bloom filter %x, want a full one", got)
	}
	greet, ok := out.Down[0].(overlay.Greet)
	if !ok || !bytes.Equal(greet.Packet.Payload, Status{PoW: 0.001, Bloom: FullBloom(), Confirmations: true}.encode().Payload) {
		t.Errorf("on All: greeting %+v, want one with a full filter", out.Down[0])
	}
	below(t, n, t0, overlay.Written{Peer: alice})
	if got := ups[transport.Received](below(t, n, t0, arrival(t, alice, sealed(t0, 15, other, "x")))); len(got) != 1 {
		t.Errorf("reported %v, want the envelope of another topic", got)
	}
	below(t, n, t0, overlay.Written{Peer: alice})

	out = above(t, n, t0, transport.Subscribe{Topics: []transport.Topic{chat}})
	if got := sends(out)[alice][codeBloomFilter]; !bytes.Equal(got, encodeBloom(b).Payload) {
		t.Errorf("after All: bloom filter %x, want that of the topic", got)
	}
}

func TestRelayThatReportsAllTellsItsPeersNothingNew(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	if out := above(t, n, t0, transport.Subscribe{All: true}); len(out.Down) != 0 {
		t.Errorf("sent %v, want nothing: the filter was full before", out.Down)
	}
}
