package whisper

import (
	"fmt"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/internal/rlpwrite"
)

// The requirement is per byte of the RLP without nonce, which can be longer than
// the size that the deployed nodes mine for.
func TestMinedEnvelopeIsNeverJustBelowTheRequirement(t *testing.T) {
	n := opened(t, nil)
	traps := 0
	// With data above 64 KiB and a TTL above 65535 s the headers are at their
	// longest; 119837 bytes for 70000 s at 0.002 are worth just 24 bits.
	for size := 119_800; size < 119_830; size++ {
		for _, ttl := range []uint32{10, 300, 70_000} {
			p := transport.Publish{Topic: chat, Data: make([]byte, size), TTL: time.Duration(ttl) * time.Second}
			w := n.newWork(t0, p)
			short := len(rlpwrite.List(nil, w.fields))
			if zerosFor(0.002, nominalHeader+size, ttl) < w.zeros {
				traps++
			}
			var worst [32]byte
			worst[w.zeros/8] = 0x80 >> (w.zeros % 8)
			if got := powOf(worst, short, ttl); got < 0.002 {
				t.Fatalf("data %d, ttl %d: mined for a PoW of %v", size, ttl, got)
			}
		}
	}
	if traps == 0 {
		t.Error("no size was tried at which the two differ")
	}
	for i, size := range []int{0, 1, 55, 56, 235, 255, 256, 492, 1004, 4076, 8172} {
		p := publishAs(byte(i))
		p.Data = make([]byte, size)
		hash := ups[transport.Accepted](above(t, n, t0, p))[0].Hash
		e, err := DecodeEnvelope(n.pool.raw(n.pool.byHash(hash)))
		if err != nil || e.PoW(0) < 0.002 {
			t.Errorf("data %d: PoW %v, %v", size, e.PoW(0), err)
		}
	}
}

func TestTopicMatchesAsTheDeployedNodesHaveIt(t *testing.T) {
	topic := transport.Topic{1, 2, 3, 4} // the bits of 1 and 2 share a byte
	assigned := TopicBloom(topic)
	var plain Bloom
	plain.Add(topic)
	if assigned == plain {
		t.Fatal("the topic does not show the difference")
	}
	raw := sealed(t0, 15, topic, "x")
	for _, b := range []Bloom{assigned, plain} {
		n := opened(t, nil)
		connect(t, n, t0, alice)
		below(t, n, t0, arrival(t, alice, raw))
		if got := hashes(t, connect(t, n, t0, bob, Status{Bloom: b}), bob); len(got) != 1 {
			t.Errorf("a peer with the bloom %x is sent %v", b, got)
		}
	}
	for i := range assigned {
		if b := assigned; b[i] != 0 {
			b[i] = 0
			if b.Match(topic) {
				t.Errorf("%x matches without byte %d", b, i)
			}
		}
	}
}

func TestFirstInterestLetsNothingElseIn(t *testing.T) {
	n := opened(t, func(c *Config) { c.Interest = Subscribed })
	now := t0.Add(time.Minute)
	connect(t, n, now, alice)
	above(t, n, now, transport.Subscribe{Topics: []transport.Topic{chat}})
	below(t, n, now, arrival(t, alice, sealed(now, 15, other, "x"), sealed(now, 15, chat, "y")))
	if c := n.Counts(); c[offTopic.String()] != 1 || c[admitted.String()] != 1 {
		t.Errorf("counts %v, want one refused and one admitted", c)
	}
}

func TestCodecMayBeUsedByManyAtOnce(t *testing.T) {
	codec := NewCodec(DefaultConfig())
	done := make(chan error)
	for i := range 4 {
		payload := payloadOf(sealed(t0, 15, chat, fmt.Sprint(i)), sealed(t0, 15, chat, "x"), sealed(t0, 15, other, "y"))
		go func() {
			for range 50 {
				p, err := codec.Decode(t0, codeMessages, payload)
				if err != nil || p.(Messages).Batch() != hashOf(payload) {
					done <- fmt.Errorf("decoded %v, %v", p, err)
					return
				}
			}
			done <- nil
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
