package whisper_test

import (
	"bytes"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/envelope/whisper"
	"github.com/stratanode/strata/layers/transport"
)

func TestSealPublishesPaddedAndSignedCiphertext(t *testing.T) {
	to := other.Public()
	for _, tt := range []struct {
		name string
		key  envelope.Key
		size int
		open func([]byte) ([]byte, error)
	}{
		{"symmetric", keyA, 256 + 28, func(b []byte) ([]byte, error) { return whisper.OpenSymmetric(keyA, b) }},
		{"asymmetric", envelope.Identity{Key: to}, 256 + 113, func(b []byte) ([]byte, error) { return whisper.OpenAsymmetric(other, b) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := opened(t)
			p := only[transport.Publish](t, s.above(seal(1, tt.key, "hello")).Down)
			if p.Ref != ref(1) || p.Topic != topicA || p.TTL != 15*time.Second || len(p.Data) != tt.size {
				t.Errorf("publish: got %v, %v, %v and %d bytes", p.Ref, p.Topic, p.TTL, len(p.Data))
			}
			raw, err := tt.open(p.Data)
			if err != nil {
				t.Fatal(err)
			}
			m, err := whisper.ParsePlaintext(raw)
			if err != nil || string(m.Payload) != "hello" || m.Signer != self.Public() {
				t.Errorf("got %q of %v, error %v", m.Payload, m.Signer, err)
			}
			again := only[transport.Publish](t, s.above(seal(2, tt.key, "hello")).Down)
			if bytes.Equal(p.Data, again.Data) {
				t.Errorf("the same bytes twice: a salt was used again")
			}
		})
	}
}

func TestRepeatedUnansweredSealChangesNothing(t *testing.T) {
	s := opened(t)
	s.above(seal(1, keyA, "x"))
	if out := s.above(seal(1, keyA, "x")); len(out.Down)+len(out.Up) != 0 {
		t.Errorf("got %v, want nothing", out)
	}
	s.below(transport.Expired{Ref: ref(1)})
	only[transport.Publish](t, s.above(seal(1, keyA, "x")).Down)
}

func TestReadyRepeatsTheSameSealedBytesInTheirOrder(t *testing.T) {
	s := steps{t, newNode(t)}
	s.n.Wake(t0)
	for i := range 50 {
		if out := s.above(seal(50-i, keyA, "x")); len(out.Down)+len(out.Up) != 0 {
			t.Fatalf("before the transport is ready: got %v, want nothing", out)
		}
	}
	s.above(envelope.Listen{Filters: []envelope.Filter{filter("f", topicA, keyA)}})
	first := s.below(transport.Ready{Info: info}).Down
	if _, ok := first[0].(transport.Subscribe); !ok || len(first) != 51 {
		t.Fatalf("got %d commands, want a Subscribe and 50 Publish", len(first))
	}
	for i, c := range first[1:] {
		if got := c.(transport.Publish).Ref; got != ref(50-i) {
			t.Fatalf("publish %d: got %v, want %v", i, got, ref(50-i))
		}
	}
	s.below(transport.Relayed{Ref: ref(50)})
	second := s.below(transport.Ready{Info: info}).Down
	if len(second) != 50 {
		t.Fatalf("got %d commands, want a Subscribe and 49 Publish", len(second))
	}
	for i, c := range second[1:] {
		a, b := c.(transport.Publish), first[i+2].(transport.Publish)
		if a.Ref != b.Ref || !bytes.Equal(a.Data, b.Data) {
			t.Errorf("publish %d was sealed anew", i)
		}
	}
}

func TestAnswersArePassedUpOnce(t *testing.T) {
	hash := transport.Hash{7}
	for _, tt := range []struct {
		name  string
		event transport.Event
		want  envelope.Event
	}{
		{"relayed", transport.Relayed{Ref: ref(1), Hash: hash}, envelope.Relayed{Ref: ref(1), Hash: hash}},
		{"expired", transport.Expired{Ref: ref(1)}, envelope.Expired{Ref: ref(1)}},
		{"refused", transport.Refused{Ref: ref(1), Reason: "no"}, envelope.Refused{Ref: ref(1), Reason: "no"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := opened(t)
			if out := s.below(tt.event); len(out.Up) != 0 {
				t.Errorf("unknown Ref: got %v, want nothing", out.Up)
			}
			s.above(seal(1, keyA, "x"))
			accepted := transport.Accepted{Ref: ref(1), Hash: hash}
			only[envelope.Accepted](t, s.below(accepted).Up)
			if out := s.below(accepted); len(out.Up) != 0 {
				t.Errorf("repeated Accepted: got %v, want nothing", out.Up)
			}
			if out := s.below(tt.event); len(out.Up) != 1 || out.Up[0] != tt.want {
				t.Errorf("got %v, want %v", out.Up, tt.want)
			}
			for _, late := range []transport.Event{tt.event, accepted} {
				if out := s.below(late); len(out.Up) != 0 {
					t.Errorf("after the answer: got %v, want nothing", out.Up)
				}
			}
		})
	}
}

func TestWhatCannotBeSealedIsRefusedWithTheReason(t *testing.T) {
	offCurve := self.Public()
	offCurve[64] ^= 1
	for _, tt := range []struct {
		name   string
		seal   envelope.Seal
		reason string
	}{
		{"zero symmetric key", seal(1, envelope.SymKey{}, "x"), "all zero"},
		{"nobody", seal(1, envelope.Identity{}, "x"), "recipient"},
		{"no point", seal(1, envelope.Identity{Key: offCurve}, "x"), "recipient"},
		{"no key", seal(1, nil, "x"), "key: none"},
		{"too long", seal(1, keyA, strings.Repeat("x", 1<<20)), "the limit is 1048250"},
		{"negative time to live", envelope.Seal{Ref: ref(1), Key: keyA, TTL: -1}, "negative"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := opened(t)
			out := s.above(tt.seal)
			r := only[envelope.Refused](t, out.Up)
			if r.Ref != ref(1) || !strings.Contains(r.Reason, tt.reason) || len(out.Down) != 0 {
				t.Errorf("got %v and %v, want a Refused with %q", r, out.Down, tt.reason)
			}
			only[transport.Publish](t, s.above(seal(1, keyA, "good")).Down)
		})
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestBrokenRandomSourceSealsNothing(t *testing.T) {
	for _, tt := range []struct {
		name   string
		random io.Reader
		key    envelope.Key
	}{
		{"zeros, symmetric", zeros{}, keyA},
		{"dry at once", bytes.NewReader(nil), keyA},
		{"dry at the salt", io.LimitReader(entropy(1), int64(whisper.PaddingLen(1, true)+11)), keyA},
		{"dry at the ephemeral key", io.LimitReader(entropy(1), int64(whisper.PaddingLen(1, true)+31)), envelope.Identity{Key: other.Public()}},
		{"dry at the iv", io.LimitReader(entropy(1), int64(whisper.PaddingLen(1, true)+32)), envelope.Identity{Key: other.Public()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := steps{t, whisper.New(whisper.DefaultConfig(), self, tt.random)}
			r := only[envelope.Refused](t, s.above(seal(1, tt.key, "x")).Up)
			if !strings.Contains(r.Reason, "random source") {
				t.Errorf("reason: got %q", r.Reason)
			}
		})
	}
}

func TestUnansweredMessagesAreBounded(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*whisper.Config)
		fit    int
		reason string
	}{
		{"count", func(c *whisper.Config) { c.MaxUnanswered = 3 }, 3, "max_unanswered"},
		// A sealed message has 284 bytes, but the larger form of 369 must fit.
		{"bytes", func(c *whisper.Config) { c.MaxUnansweredBytes = 2*284 + 369 + 283 }, 3, "max_unanswered_bytes"},
	} {
		for _, ready := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				s := steps{t, newNode(t, tt.change)}
				s.n.Wake(t0)
				if ready {
					s.below(transport.Ready{Info: info})
				}
				for i := range tt.fit {
					if out := s.above(seal(i, keyA, "x")); len(out.Up) != 0 {
						t.Fatalf("message %d: got %v", i, out.Up)
					}
				}
				r := only[envelope.Refused](t, s.above(seal(99, keyA, "x")).Up)
				if r.Ref != ref(99) || !strings.Contains(r.Reason, tt.reason) {
					t.Errorf("got %v, want a reason with %s", r, tt.reason)
				}
				s.below(transport.Relayed{Ref: ref(0)})
				if out := s.above(seal(99, keyA, "x")); len(out.Up) != 0 {
					t.Errorf("after an answer: got %v, want it taken", out.Up)
				}
			})
		}
	}
}

// sealedSize is the size of a signed and padded message in its larger form,
// counted by hand.
func sealedSize(payload int) int {
	n := 1
	for payload>>(8*n) > 0 {
		n++
	}
	raw := 1 + n + payload + 65
	return raw + 256 - raw%256 + 65 + 16 + 32
}

func TestMaxPayloadIsTheLongestThatFits(t *testing.T) {
	sizes := []int{1 << 14, 1 << 20, 10 << 20, 16 << 20, 17 << 20, math.MaxInt}
	for d := 0; d < 1500; d++ {
		sizes = append(sizes, d)
	}
	for d := 65400; d < 66400; d++ {
		sizes = append(sizes, d)
	}
	n := newNode(t, func(c *whisper.Config) { c.MaxUnansweredBytes = 32 << 20 })
	for _, d := range sizes {
		out, err := n.FromBelow(t0, transport.Ready{Info: transport.Info{MaxData: d}})
		if err != nil {
			t.Fatal(err)
		}
		got := only[envelope.Ready](t, out.Up).Info.MaxPayload
		switch {
		case d < sealedSize(0) && got != 0:
			t.Errorf("%d bytes of data: got %d, want 0", d, got)
		case d >= sealedSize(0) && sealedSize(got) > d:
			t.Errorf("%d bytes of data: %d do not fit", d, got)
		case sealedSize(got+1) <= d && got != whisper.MaxPayload:
			t.Errorf("%d bytes of data: %d is not the longest", d, got)
		}
	}
}

func TestLongestPayloadIsSealedAndOneMoreIsNot(t *testing.T) {
	for _, key := range []envelope.Key{keyA, envelope.Identity{Key: other.Public()}} {
		s := opened(t)
		most := only[envelope.Ready](t, s.above(envelope.Attach{}).Up).Info.MaxPayload
		p := only[transport.Publish](t, s.above(seal(1, key, strings.Repeat("x", most))).Down)
		if len(p.Data) > info.MaxData {
			t.Errorf("data: %d bytes, the transport takes %d", len(p.Data), info.MaxData)
		}
		only[envelope.Refused](t, s.above(seal(2, key, strings.Repeat("x", most+1))).Up)
	}
}

func TestTransportOfLessRoomRefusesWhatNoLongerFits(t *testing.T) {
	s := steps{t, newNode(t)}
	s.n.Wake(t0)
	s.above(seal(1, keyA, strings.Repeat("x", 2000)))
	s.above(seal(2, keyA, "short"))
	small := info
	small.MaxData = 500
	out := s.below(transport.Ready{Info: small})
	if p := only[transport.Publish](t, out.Down); p.Ref != ref(2) {
		t.Errorf("published %v, want %v", p.Ref, ref(2))
	}
	r := only[envelope.Refused](t, out.Up[:1])
	if r.Ref != ref(1) || !strings.Contains(r.Reason, "2000 bytes, the limit is 188") {
		t.Errorf("got %v, want 2000 bytes refused at 188", r)
	}
	if ready := only[envelope.Ready](t, out.Up[1:]); ready.Info.MaxPayload != 188 {
		t.Errorf("MaxPayload: got %d, want 188", ready.Info.MaxPayload)
	}
}

func TestTransportTooSmallForAnyMessageRefusesAll(t *testing.T) {
	for _, maxData := range []int{-1, 0, 368} {
		s := steps{t, newNode(t)}
		s.n.Wake(t0)
		out := s.below(transport.Ready{Info: transport.Info{MaxData: maxData, Latency: -1, MaxTTL: -1}})
		if got := only[envelope.Ready](t, out.Up).Info; got != (envelope.Info{}) {
			t.Errorf("info: got %+v, want zeros", got)
		}
		r := only[envelope.Refused](t, s.above(seal(1, keyA, "")).Up)
		if !strings.Contains(r.Reason, "the smallest message has 369") {
			t.Errorf("reason: got %q", r.Reason)
		}
	}
}

func TestEmptyPayloadTravels(t *testing.T) {
	s := opened(t)
	s.above(envelope.Listen{Filters: []envelope.Filter{filter("f", topicA, keyA)}})
	e := carried(t, topicA, keyA, "")
	o := only[envelope.Opened](t, s.below(transport.Received{Envelopes: []transport.Envelope{e}}).Up)
	if len(o.Payload) != 0 || o.Signer != other.Public() {
		t.Errorf("got %v", o)
	}
}

// What is pending must not change when the layer above reuses its memory.
func TestSealKeepsACopyOfThePayload(t *testing.T) {
	s := opened(t)
	payload := []byte("before")
	p := only[transport.Publish](t, s.above(envelope.Seal{Ref: layers.Ref{1}, Topic: topicA, Key: keyA, Payload: payload}).Down)
	copy(payload, "after!")
	raw, err := whisper.OpenSymmetric(keyA, p.Data)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := whisper.ParsePlaintext(raw); err != nil || string(m.Payload) != "before" {
		t.Errorf("got %q, error %v", m.Payload, err)
	}
}
