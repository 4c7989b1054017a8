package whisper

import (
	"testing"
	"time"

	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

func TestStateCountsWhatPeersSend(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	now := uint32(t0.Unix())
	raw := sealed(t0, 15, chat, "a")
	below(t, n, t0, arrival(t, alice, raw, sealed(t0, 15, chat, "b"), mined(0.002, now+60, 10, chat, nil), mined(0.002, now-60, 10, chat, nil)))
	below(t, n, t0, arrival(t, alice, raw))
	for range 3 {
		below(t, n, t0, incoming(t, alice, codeBloomFilter, encodeBloom(Bloom{1}).Payload))
	}
	s := state(t, n)
	if s.MinPoW != 0.001 || s.Bloom != nil || s.MaxMessage != 1<<20 || s.Light || s.PoolLimit != 64<<20 {
		t.Errorf("settings %+v", s)
	}
	if s.Pooled != 2 || s.PooledBytes != n.pool.bytes || s.Admitted != 2 || s.Duplicates != 1 {
		t.Errorf("pool %+v", s)
	}
	if s.Refused["envelope from future"] != 1 || s.Refused["very old envelope"] != 1 || s.Refused["envelope with low PoW received"] != 0 {
		t.Errorf("refused %v", s.Refused)
	}
	if s.Limited["updates"] != 2 {
		t.Errorf("limited %v, want the second and third update", s.Limited)
	}
}

func TestPacketsThatDoNotWaitForTheirLinkAreCounted(t *testing.T) {
	n := opened(t, nil)
	for range 50 {
		below(t, n, t0, arrival(t, alice, sealed(t0, 60, chat, string(make([]byte, 100_000)))))
	}
	if got := state(t, n).Limited["early packets"]; got == 0 {
		t.Error("nothing is counted")
	}
}

func TestSkewIsTheMedianOfWhatPeersSay(t *testing.T) {
	tests := []struct {
		name  string
		ahead []int // seconds, one peer each with three envelopes
		want  time.Duration
		count int
	}{
		{"nobody", nil, 0, 0},
		{"in time", []int{0, 0, 0}, 0, 9},
		{"we are behind", []int{60, 60, 58}, 60 * time.Second, 9},
		{"we are ahead", []int{-120, -120, -120}, -120 * time.Second, 9},
		{"one is wrong", []int{0, 1, 100_000}, time.Second, 9},
		{"two disagree", []int{0, 3}, 1500 * time.Millisecond, 6},
	}
	for _, tt := range tests {
		n := opened(t, nil)
		now := t0.Add(10 * time.Minute) // the links are old
		for i, ahead := range tt.ahead {
			id := overlay.PeerID{byte(i + 1)}
			connect(t, n, t0, id)
			for j := range 3 {
				sent := now.Add(time.Duration(ahead) * time.Second)
				below(t, n, now, arrival(t, id, sealed(sent, 60, chat, string(rune('a'+3*i+j)))))
			}
		}
		if s := state(t, n); s.Skew != tt.want || s.Samples != tt.count {
			t.Errorf("%s: %v of %d, want %v of %d", tt.name, s.Skew, s.Samples, tt.want, tt.count)
		}
	}
}

func TestBacklogOfANewLinkSaysNothingAboutTheClock(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	below(t, n, t0, arrival(t, alice, sealed(t0.Add(-5*time.Minute), 600, chat, "pooled elsewhere")))
	if s := state(t, n); s.Samples != 0 || s.Admitted != 1 {
		t.Errorf("%d samples", s.Samples)
	}
}

func TestNoPeerHasMoreWeightInTheSkewThanOthers(t *testing.T) {
	n := opened(t, func(c *Config) { c.MinPoW, c.PoW = 0, 0 })
	send := func(id overlay.PeerID, ahead uint32, count int) {
		connect(t, n, t0, id)
		for i := range count {
			now := uint32(t0.Unix())
			e := Envelope{Expiry: now + ahead + 10, TTL: 10, Topic: transport.Topic{id[0]}, Nonce: uint64(i)}
			below(t, n, t0, arrival(t, id, EncodeEnvelope(e)))
		}
	}
	send(alice, 9, 1000)
	send(bob, 0, skewSamples)
	send(carol, 0, skewSamples)
	if s := state(t, n); s.Skew != 0 || s.Samples != 3*skewSamples {
		t.Errorf("skew %v of %d, want that of the majority", s.Skew, s.Samples)
	}
}
