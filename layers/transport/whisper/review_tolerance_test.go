package whisper

import (
	"bytes"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/internal/rlpwrite"
	"github.com/stratanode/strata/layers/transport/whisper/mail"
)

// The last second that is tolerated, and the first that is not, of every window.
func TestWindowsOfTimeEndWhereTheyShould(t *testing.T) {
	const hour = 3600
	now := uint32(t0.Unix())
	for _, tt := range []struct {
		name        string
		expiry, ttl uint32
		want        verdict
	}{
		{"sent 10 s ahead", now + 10 + 20, 20, admitted},
		{"sent 11 s ahead", now + 11 + 20, 20, fromFuture},
		{"expires now", now, 20, admitted},
		{"expired 1 s ago", now - 1, 20, late},
		{"expired 20 s ago", now - 20, 20, late},
		{"expired 21 s ago", now - 21, 20, veryOld},
		{"lives for 48 h", now + 48*hour, 48 * hour, admitted},
		{"lives for a second more", now + 48*hour, 48*hour + 1, tooLong},
		{"lives for 1 s", now + 1, 1, admitted},
		{"lives not at all", now, 0, endless},
		{"sent before there was time", 5, 10, fromFuture}, // wraps
		{"never ends", math.MaxUint32, math.MaxUint32 - now, tooLong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := gate{maxTTL: 48 * hour, maxMessage: 1 << 20, interest: FullBloom()}
			e, _, err := parseEnvelope(EncodeEnvelope(Envelope{Expiry: tt.expiry, TTL: tt.ttl, Topic: chat, Data: []byte("x")}))
			if err != nil {
				t.Fatal(err)
			}
			if _, got := g.first(t0.Unix(), &e); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Who sends too early has to work for the longer time the envelope lives here.
func TestEarlyEnvelopeNeedsTheWorkOfItsWholeLife(t *testing.T) {
	n := opened(t, nil) // 0.001
	connect(t, n, t0, alice)
	now := uint32(t0.Unix())
	for i := 0; ; i++ {
		raw := mined(0.001, now+10+10, 10, chat, fmt.Appendf(make([]byte, 1000), "%d", i))
		e, _, err := parseEnvelope(raw)
		if err != nil {
			t.Fatal(err)
		}
		if e.PoW(11) >= 0.001 {
			continue // by chance it has more than it was to have
		}
		below(t, n, t0, arrival(t, alice, raw))
		if got := n.Counts()[lowPoW.String()]; got != 1 {
			t.Errorf("counts %v, want one of low work: it has %v, and %v by its time here", n.Counts(), e.PoW(0), e.PoW(11))
		}
		return
	}
}

func TestFormerInterestIsToleratedForTenSeconds(t *testing.T) {
	g := gate{interest: TopicBloom(chat)}
	g.change(t0, TopicBloom(other))
	for _, tt := range []struct {
		after time.Duration
		topic transport.Topic
		want  verdict
	}{
		{0, chat, admitted}, {0, other, admitted}, {changeGrace - 1, chat, admitted},
		{changeGrace, chat, offTopic}, {changeGrace, other, admitted}, {0, transport.Topic{9, 8, 7}, offTopic},
	} {
		if got := g.second(t0.Add(tt.after), tt.topic, 1); got != tt.want {
			t.Errorf("after %v, topic %s: %q, want %q", tt.after, tt.topic, got, tt.want)
		}
	}
}

// Packets that a link survives or does not, beside those of the other tests.
func TestUpdatesAreReadAsTheDeployedNodesDo(t *testing.T) {
	codec := NewCodec(DefaultConfig())
	hash := rlpwrite.String(nil, make([]byte, 32))
	for _, tt := range []struct {
		name    string
		code    uint64
		payload []byte
		dropped bool
	}{
		{"no envelopes", codeMessages, []byte{0xc0}, false},
		{"work in a list", codePoWRequirement, rlpwrite.List(nil, encodePoW(1).Payload), true},
		{"work of no bytes at all", codePoWRequirement, nil, true},
		{"work with leading zeros", codePoWRequirement, []byte{0x82, 0, 1}, true},
		{"work 0", codePoWRequirement, []byte{0x80}, false},
		{"empty filter", codeBloomFilter, []byte{0x80}, true},
		{"filter in a list", codeBloomFilter, rlpwrite.List(nil, encodeBloom(Bloom{1}).Payload), true},
		{"filter of 63", codeBloomFilter, rlpwrite.String(nil, make([]byte, 63)), true},
		{"filter of zeros", codeBloomFilter, encodeBloom(Bloom{}).Payload, false},
		{"acknowledged", codeAcknowledged, hash, false},
		{"response of version 2", codeResponse, rlpwrite.List(nil, []byte{2, 0xc0}), false},
		{"response that is no list", codeResponse, hash, true},
		{"second status that is none", codeStatus, []byte{1, 2, 3}, false},
		{"two rate limits", codeRateLimits, []byte{0xc2, 1, 2}, false},
		{"rate limits that are no list", codeRateLimits, []byte{0x80}, false},
		{"unknown and no RLP", 99, []byte{0xff}, false},
		{"last code", 127 - 5, []byte{0xf8}, false},
	} {
		p, err := codec.Decode(t0, tt.code, tt.payload)
		if (err != nil) != tt.dropped || err != nil && p != nil {
			t.Errorf("%s: %v, %v, dropped should be %v", tt.name, p, err, tt.dropped)
		}
	}
}

// Every packet that is written is one that the strictest of the deployed nodes,
// go-ethereum, takes: none beyond its limit, and no form that it does not know.
func TestPacketsToGoEthereumAreOnesItKnows(t *testing.T) {
	n := opened(t, nil)
	out := connect(t, n, t0, alice, Status{PoW: 0.002, Bloom: TopicBloom(chat)}) // does not confirm
	check := func(out output) {
		t.Helper()
		for _, c := range out.Down {
			s, ok := c.(overlay.Send)
			if !ok || s.Peer != alice {
				continue
			}
			for _, p := range s.Packets {
				switch p.Code {
				case codeMessages, codePoWRequirement, codeBloomFilter, mail.CodeDelivery:
				default:
					t.Errorf("packet %d to a node that does not know it", p.Code)
				}
				if len(p.Payload) > maxBundle {
					t.Errorf("packet %d of %d bytes", p.Code, len(p.Payload))
				}
			}
		}
	}
	check(out)
	connect(t, n, t0, bob)
	weak := mined(0.001, uint32(t0.Unix())+20, 20, chat, bytes.Repeat([]byte{1}, 900))
	for i, raw := range [][]byte{sealed(t0, 20, chat, "in"), sealed(t0, 20, other, "out"), weak, sealed(t0, 0, chat, "endless")} {
		out := below(t, n, t0, arrival(t, bob, raw))
		check(out)
		e, _, _ := parseEnvelope(raw)
		if got, want := len(hashes(t, out, alice)), i == 0 || i == 2 && e.PoW(0) >= 0.002; (got == 1) != want {
			t.Errorf("envelope %d: %d go to it", i, got)
		}
	}
	check(below(t, n, t0, arrival(t, alice, sealed(t0, 20, chat, "of its own"))))
}

// A packet of one envelope a thousand times is worth one envelope.
func TestEnvelopeManyTimesInOnePacketCountsOnce(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	connect(t, n, t0, bob)
	above(t, n, t0, transport.Subscribe{Topics: []transport.Topic{chat}})
	raw := sealed(t0, 20, chat, "again and again")
	many := make([][]byte, 1000)
	for i := range many {
		many[i] = raw
	}
	out := below(t, n, t0, arrival(t, alice, many...))
	if got := ups[transport.Received](out); len(got) != 1 || len(got[0].Envelopes) != 1 {
		t.Errorf("reported %v", got)
	}
	if got := hashes(t, out, bob); len(got) != 1 {
		t.Errorf("forwarded %d times", len(got))
	}
	if got := n.pool.len(); got != 1 || n.Counts()[admitted.String()] != 1 {
		t.Errorf("%d in the pool, counts %v", got, n.Counts())
	}
	if got := sends(out)[alice][codeResponse]; got != nil {
		t.Errorf("refused: %x", got)
	}
}
