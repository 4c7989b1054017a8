package whisper

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

func TestWholeEnvelopeIsAdmittedAsThoseOfPeersAre(t *testing.T) {
	now := uint32(t0.Unix())
	raw := func(expiry, ttl uint32, data string) []byte { return mined(0.002, expiry, ttl, chat, []byte(data)) }
	weak := func(size int) []byte {
		e := Envelope{Expiry: now + 15, TTL: 15, Topic: chat, Data: make([]byte, size)}
		for e.PoW(0) >= 0.001 {
			e.Nonce++
		}
		return EncodeEnvelope(e)
	}
	good := raw(now+15, 15, "x")
	tests := []struct {
		name string
		raw  []byte
		want string // empty: accepted
	}{
		{"good", good, ""},
		{"10 s early", raw(now+20, 10, "x"), ""},
		{"last second", raw(now, 10, "x"), ""},
		{"empty", []byte{}, "whisper: envelope: "},
		{"bytes after it", append(bytes.Clone(good), 0), "whisper: envelope: 1 bytes follow"},
		{"four items", []byte{0xc8, 0x80, 0x80, 0x84, 1, 2, 3, 4, 0x80}, "whisper: envelope nonce: "},
		{"from the future", raw(now+11+10, 10, "x"), "envelope from future"},
		{"expired long ago", raw(now-21, 10, "x"), "very old envelope"},
		{"just expired", raw(now-1, 10, "x"), "failed to add envelope"},
		{"TTL 0", raw(now, 0, "x"), "envelope with ttl 0"},
		{"TTL above max_ttl", raw(now+50*3600, 50*3600, "x"), "envelope with too long ttl"},
		{"huge", weak(1 << 20), "huge messages are not allowed"},
		{"low PoW", weak(1000), "envelope with low PoW received"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := opened(t, nil)
			connect(t, n, t0, alice)
			p := transport.Publish{Ref: layers.Ref{1}, Raw: tt.raw}
			out := above(t, n, t0, p)
			if tt.want == "" {
				got := ups[transport.Accepted](out)
				if len(got) != 1 || got[0].Hash != hashOf(tt.raw) || !bytes.Equal(sends(out)[alice][codeMessages], payloadOf(tt.raw)) {
					t.Errorf("answer %v, sent %v: want it as it is", out.Up, out.Down)
				}
				return
			}
			got := ups[transport.Refused](out)
			if len(got) != 1 || got[0].Ref != p.Ref || !strings.HasPrefix(got[0].Reason, tt.want) || len(out.Down) != 0 {
				t.Errorf("answer %v, want %q", out.Up, tt.want)
			}
			if len(n.refs) != 0 {
				t.Error("the publication is remembered")
			}
		})
	}
}

func TestWholeEnvelopeIsAnsweredLikeAnyOther(t *testing.T) {
	raw := sealed(t0, 15, chat, "x")
	p := transport.Publish{Ref: layers.Ref{1}, Raw: raw}
	tests := []struct {
		name string
		peer Status
		want transport.Event
	}{
		{"relayed", Status{Bloom: FullBloom()}, transport.Relayed{Ref: p.Ref, Hash: hashOf(raw)}},
		{"expired", confirming(), transport.Expired{Ref: p.Ref}},
	}
	for _, tt := range tests {
		n := opened(t, nil)
		connect(t, n, t0, alice, tt.peer)
		above(t, n, t0, p)
		if out := above(t, n, t0, p); len(out.Up)+len(out.Down) != 0 {
			t.Errorf("%s: the same command again: %+v", tt.name, out)
		}
		out := below(t, n, t0, overlay.Written{Peer: alice})
		out.Add(n.Wake(t0.Add(time.Minute)))
		if got := finals(out, p.Ref); len(got) != 1 || got[0] != tt.want {
			t.Errorf("%s: final events %v", tt.name, got)
		}
	}
}

func TestWholeEnvelopeOfAnyTopicIsTakenWhateverTheInterest(t *testing.T) {
	n := opened(t, func(c *Config) { c.Interest = Subscribed })
	now := t0.Add(time.Minute)
	if out := above(t, n, now, transport.Publish{Ref: layers.Ref{1}, Raw: sealed(now, 15, chat, "x")}); len(ups[transport.Accepted](out)) != 1 {
		t.Errorf("answer %v", out.Up)
	}
}

func TestWholeEnvelopeBelowARaisedMinimumIsRefused(t *testing.T) {
	n := opened(t, nil)
	above(t, n, t0, transport.Set{MinPoW: new(math.MaxFloat64)})
	for _, tt := range []struct {
		at   time.Duration
		want int
	}{{9 * time.Second, 1}, {10 * time.Second, 0}} {
		now := t0.Add(tt.at)
		out := above(t, n, now, transport.Publish{Ref: layers.Ref{byte(tt.at)}, Raw: sealed(now, 15, chat, "x")})
		if got := len(ups[transport.Accepted](out)); got != tt.want {
			t.Errorf("after %v: %v, want %d accepted", tt.at, out.Up, tt.want)
		}
	}
}
