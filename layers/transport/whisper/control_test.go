package whisper

import (
	"bytes"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

func TestSetRefusesInTheWordsOfGoEthereum(t *testing.T) {
	tests := []struct {
		name string
		set  transport.Set
		want string
	}{
		{"NaN", transport.Set{MinPoW: new(math.NaN())}, "invalid PoW: NaN"},
		{"infinite", transport.Set{MinPoW: new(math.Inf(1))}, "invalid PoW: +Inf"},
		{"minus infinite", transport.Set{MinPoW: new(math.Inf(-1))}, "invalid PoW: -Inf"},
		{"negative", transport.Set{MinPoW: new(-0.5)}, "invalid PoW: -0.500000"},
		{"too large", transport.Set{MaxMessage: new(10<<20 + 1)}, "message size too large [10485761>10485760]"},
		{"above the links", transport.Set{MaxMessage: new(2 << 20)}, "whisper: message size of 2097152 bytes is above max_message_size_bytes, 1048576, which the links were made for"},
		{"below all use", transport.Set{MaxMessage: new(0)}, "whisper: message size of 0 bytes is below 4096"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := opened(t, nil)
			connect(t, n, t0, alice)
			tt.set.Ref, tt.set.Light = layers.Ref{1}, new(true)
			out := above(t, n, t0, tt.set)
			if got := ups[transport.Refused](out); len(got) != 1 || got[0] != (transport.Refused{Ref: layers.Ref{1}, Reason: tt.want}) {
				t.Errorf("answer %v, want %q", out.Up, tt.want)
			}
			if len(out.Down) != 0 || n.light {
				t.Errorf("something was changed: %v", out.Down)
			}
		})
	}
}

// greeting returns the last status packet that a step sets.
func greeting(t testing.TB, out output) (s Status, found bool) {
	t.Helper()
	for _, c := range out.Down {
		if g, ok := c.(overlay.Greet); ok {
			var err error
			if s, err = decodeStatus(g.Packet.Payload); err != nil {
				t.Fatal(err)
			}
			found = true
		}
	}
	return s, found
}

func TestMinimumOfWorkChangesAtOnceAndTheFormerIsToleratedFor10s(t *testing.T) {
	n := opened(t, nil) // 0.001
	connect(t, n, t0, alice)
	connect(t, n, t0, bob)
	out := above(t, n, t0, transport.Set{Ref: layers.Ref{1}, MinPoW: new(5.0)})
	if len(ups[transport.Done](out)) != 1 {
		t.Fatalf("answer %v", out.Up)
	}
	for _, id := range []overlay.PeerID{alice, bob} {
		if got := sends(out)[id][codePoWRequirement]; !bytes.Equal(got, encodePoW(5).Payload) {
			t.Errorf("%s is told %x", id, got)
		}
	}
	if s, found := greeting(t, out); !found || s.PoW != 5 {
		t.Errorf("greeting %+v", s)
	}
	if out := connect(t, n, t0, carol); sends(out)[carol][codePoWRequirement] == nil {
		t.Error("a link with an older greeting is not told")
	}
	verdictOf := func(at time.Duration, pow float64, data string) verdict {
		now := t0.Add(at)
		before := n.Counts()
		below(t, n, now, arrival(t, alice, exactly(now, pow, data)))
		for v := admitted; v < verdicts; v++ {
			if n.Counts()[v.String()] > before[v.String()] {
				return v
			}
		}
		t.Fatal("no verdict")
		return 0
	}
	for _, tt := range []struct {
		at   time.Duration
		pow  float64
		want verdict
	}{
		{0, 6, admitted}, {0, 0.01, admitted}, {9 * time.Second, 0.01, admitted}, {9 * time.Second, 0.0004, lowPoW},
		{10 * time.Second, 0.01, lowPoW}, {10 * time.Second, 6, admitted},
	} {
		if got := verdictOf(tt.at, tt.pow, fmt.Sprint(tt.at, tt.pow)); got != tt.want {
			t.Errorf("after %v a work of %v: %v, want %v", tt.at, tt.pow, got, tt.want)
		}
	}
}

// exactly makes an envelope whose proof of work is at least pow, and less than
// twice as much.
func exactly(now time.Time, pow float64, data string) []byte {
	for i := 0; ; i++ {
		raw := mined(pow, uint32(now.Unix())+20, 20, chat, fmt.Appendf(make([]byte, 1000), "%s %d", data, i))
		if e, _, _ := parseEnvelope(raw); e.PoW(0) < 2*pow {
			return raw
		}
	}
}

func TestChangesOfTheMinimumInARowTolerateTheLeastOfThem(t *testing.T) {
	g := gate{minPoW: 1}
	g.raise(t0, 2)
	g.raise(t0.Add(5*time.Second), 3)
	for _, tt := range []struct {
		at   time.Duration
		pow  float64
		want bool
	}{
		{5 * time.Second, 1, false}, {5 * time.Second, 0.9, true}, {14 * time.Second, 1, false}, {15 * time.Second, 2, true}, {15 * time.Second, 3, false},
	} {
		if got := g.low(t0.Add(tt.at), tt.pow); got != tt.want {
			t.Errorf("after %v %v is low: %v, want %v", tt.at, tt.pow, got, tt.want)
		}
	}
	g.raise(t0.Add(time.Minute), 4)
	if !g.low(t0.Add(time.Minute), 2) {
		t.Error("a minimum of long ago is tolerated")
	}
}

func TestChosenInterestIsToldAndGrowsWithWhatIsAskedForLater(t *testing.T) {
	for _, interest := range []Interest{Everything, Subscribed} {
		n := opened(t, func(c *Config) { c.Interest = interest })
		connect(t, n, t0, alice)
		above(t, n, t0, transport.Subscribe{Topics: []transport.Topic{other}})
		below(t, n, t0, overlay.Written{Peer: alice})
		var b Bloom
		b.Add(chat)
		now := t0.Add(time.Minute)
		out := above(t, n, now, transport.Set{Bloom: new([BloomSize]byte(b))})
		if got := sends(out)[alice][codeBloomFilter]; !bytes.Equal(got, encodeBloom(b).Payload) {
			t.Errorf("%s: bloom filter %x", interest, got)
		}
		if s, _ := greeting(t, out); s.Bloom != b {
			t.Errorf("%s: greeting %+v", interest, s)
		}
		if got := state(t, n).Bloom; got == nil || Bloom(*got) != b {
			t.Errorf("%s: state %x", interest, got)
		}
		below(t, n, now, overlay.Written{Peer: alice})
		topic := transport.Topic{9, 8, 7, 0}
		b.Add(topic)
		out = above(t, n, now, transport.Subscribe{Topics: []transport.Topic{other, topic}})
		if got := sends(out)[alice][codeBloomFilter]; !bytes.Equal(got, encodeBloom(b).Payload) {
			t.Errorf("%s: bloom filter %x, want it with the new topic", interest, got)
		}
		late := now.Add(changeGrace)
		below(t, n, late, arrival(t, alice, sealed(late, 15, other, "x"), sealed(late, 15, chat, "y")))
		if c := n.Counts(); c[offTopic.String()] != 1 || c[admitted.String()] != 1 {
			t.Errorf("%s: counts %v", interest, c)
		}
	}
}

func TestMaxMessageIsChangedBelowThatOfTheLinks(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	above(t, n, t0, transport.Set{MaxMessage: new(5000)})
	below(t, n, t0, arrival(t, alice, sealed(t0, 15, chat, string(make([]byte, 5001)))))
	if n.Counts()[huge.String()] != 1 || state(t, n).MaxMessage != 5000 {
		t.Errorf("counts %v, state %+v", n.Counts(), state(t, n))
	}
	if out := above(t, n, t0, transport.Publish{Ref: layers.Ref{1}, Data: make([]byte, 5000)}); len(ups[transport.Refused](out)) != 1 {
		t.Errorf("a longer publication: %v", out.Up)
	}
}

func TestLightClientGetsItsEnvelopesAndForwardsOnlyItsOwn(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	connect(t, n, t0, bob, Status{Bloom: FullBloom(), Light: true}) // light, too: it stays
	above(t, n, t0, transport.Subscribe{Topics: []transport.Topic{chat}})
	out := above(t, n, t0, transport.Set{Ref: layers.Ref{1}, Light: new(true)})
	if s, found := greeting(t, out); !found || !s.Light {
		t.Errorf("greeting %+v", s)
	}
	raw := sealed(t0, 60, chat, "others")
	out = below(t, n, t0, arrival(t, alice, raw))
	if got := ups[transport.Received](out); len(got) != 1 {
		t.Errorf("received %v, want the envelope", out.Up)
	}
	if got := hashes(t, out, bob); got != nil {
		t.Errorf("forwarded %v", got)
	}
	out = above(t, n, t0, publish)
	if got := hashes(t, out, bob); len(got) != 1 || got[0] == hashOf(raw) {
		t.Errorf("own envelope: sent %v", out.Down)
	}
	below(t, n, t0, overlay.Written{Peer: bob})
	if out = above(t, n, t0, transport.Set{Light: new(false)}); len(hashes(t, out, bob)) != 1 || hashes(t, out, bob)[0] != hashOf(raw) {
		t.Errorf("light no more: sent %v, want what was held back", out.Down)
	}
	if s, _ := greeting(t, out); s.Light {
		t.Error("still greets as a light client")
	}
}

func TestConfiguredLightClientForwardsNothing(t *testing.T) {
	n := opened(t, func(c *Config) { c.Light = true })
	connect(t, n, t0, alice)
	connect(t, n, t0, bob)
	if got := hashes(t, below(t, n, t0, arrival(t, alice, sealed(t0, 60, chat, "x"))), bob); got != nil {
		t.Errorf("forwarded %v", got)
	}
}
