package whisper

import (
	"bytes"
	"encoding/hex"
	"math"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/layers/transport/whisper/internal/rlpwrite"
)

// The greetings of the deployed nodes, as their libraries write them by default.
func TestGreetingsOfTheDeployedNodesAreUnderstood(t *testing.T) {
	for name, tt := range map[string]struct {
		payload  string
		confirms bool
	}{
		"go-ethereum 1.9.20": {"cc06883fc999999999999a8080", false},
		"status-im 1.6.2":    {"cd06883fc999999999999a808001", true},
		"statusd 0.40":       {"d106883fc999999999999a808001c3808080", true},
	} {
		payload, err := hex.DecodeString(tt.payload)
		if err != nil {
			t.Fatal(err)
		}
		s, err := decodeStatus(payload)
		want := Status{PoW: 0.2, Bloom: FullBloom(), Confirmations: tt.confirms, size: len(payload)}
		if err != nil || s != want {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
		if name == "statusd 0.40" {
			if got := want.encode(); got.Code != codeStatus || !bytes.Equal(got.Payload, payload) {
				t.Errorf("written as %x", got.Payload)
			}
		}
	}
}

// list is an RLP list.
type list []any

// Every field after the version is optional. One that cannot be read is left
// where it is, and so the next is tried at the same place.
func TestGreetingIsReadAsTheDeployedNodesDo(t *testing.T) {
	pow := math.Float64bits
	full, none := FullBloom(), Bloom{}
	some := Bloom{1, 2, 3}
	for _, tt := range []struct {
		name  string
		items list
		want  Status
		err   string // empty: none
	}{
		{"nothing but the version", list{6}, Status{Bloom: full}, ""},
		{"no version", list{}, Status{}, "version"},
		{"older version", list{5, pow(0)}, Status{}, "5, want 6"},
		{"newer version", list{7}, Status{}, "7, want 6"},
		{"version is a text", list{"six"}, Status{}, "version"},
		{"version is a list", list{list{6}}, Status{}, "version"},
		{"proof of work", list{6, pow(0.5)}, Status{PoW: 0.5, Bloom: full}, ""},
		{"proof of work 0", list{6, pow(0)}, Status{Bloom: full}, ""},
		{"NaN", list{6, pow(math.NaN())}, Status{}, "pow"},
		{"infinite", list{6, pow(math.Inf(1))}, Status{}, "pow"},
		{"minus infinite", list{6, pow(math.Inf(-1))}, Status{}, "pow"},
		{"negative", list{6, pow(-0.1)}, Status{}, "pow"},
		{"unreadable proof of work, and the filter is not read", list{6, list{}, "short"}, Status{Bloom: full}, ""},
		{"nine bytes of proof of work", list{6, "123456789", "short"}, Status{Bloom: full}, ""},
		{"filter", list{6, pow(1), some[:]}, Status{PoW: 1, Bloom: some}, ""},
		{"empty filter", list{6, pow(1), ""}, Status{PoW: 1, Bloom: full}, ""},
		{"filter of ones", list{6, pow(1), full[:]}, Status{PoW: 1, Bloom: full}, ""},
		{"filter of zeros", list{6, pow(1), none[:]}, Status{PoW: 1, Bloom: none}, ""},
		{"filter of 1", list{6, pow(1), "\x81"}, Status{}, "bloom"},
		{"filter of 63", list{6, pow(1), some[:63]}, Status{}, "bloom"},
		{"filter of 65", list{6, pow(1), append(bytes.Clone(some[:]), 0)}, Status{}, "bloom"},
		{"filter is a list", list{6, pow(1), list{}, 1}, Status{PoW: 1, Bloom: full}, ""},
		{"light", list{6, pow(1), "", true}, Status{PoW: 1, Bloom: full, Light: true}, ""},
		{"light is 2", list{6, pow(1), "", 2, true}, Status{PoW: 1, Bloom: full, Confirmations: true}, ""}, // it was read, if in vain
		{"light is a list", list{6, pow(1), "", list{}, true}, Status{PoW: 1, Bloom: full}, ""},
		{"confirms", list{6, pow(1), "", false, true}, Status{PoW: 1, Bloom: full, Confirmations: true}, ""},
		{"confirms is a list", list{6, pow(1), "", true, list{1, 2, 3}}, Status{PoW: 1, Bloom: full, Light: true, RateLimits: [3]uint64{1, 2, 3}}, ""},
		{"rate limits", list{6, pow(1), "", false, true, list{10, 5, 0}}, Status{PoW: 1, Bloom: full, Confirmations: true, RateLimits: [3]uint64{10, 5, 0}}, ""},
		{"two rate limits", list{6, pow(1), "", false, true, list{10, 5}}, Status{PoW: 1, Bloom: full, Confirmations: true}, ""},
		{"rate limits are a text", list{6, pow(1), "", false, true, "x"}, Status{PoW: 1, Bloom: full, Confirmations: true}, ""},
		{"more than is known", list{6, pow(1), "", true, true, list{1, 2, 3}, "new", list{list{}}}, Status{PoW: 1, Bloom: full, Light: true, Confirmations: true, RateLimits: [3]uint64{1, 2, 3}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			payload := encoded(t, tt.items)
			s, err := decodeStatus(payload)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got error %v, want one about %q", err, tt.err)
				}
				return
			}
			tt.want.size = len(payload)
			if err != nil || s != tt.want {
				t.Errorf("got %+v, %v, want %+v", s, err, tt.want)
			}
		})
	}
	for _, payload := range [][]byte{nil, {0x80}, {0x06}, {0xc2, 6}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}} {
		if _, err := decodeStatus(payload); err == nil {
			t.Errorf("%x is taken for a greeting", payload)
		}
	}
}

// encoded is the RLP of numbers, flags, byte strings and lists of them.
func encoded(t *testing.T, items list) []byte {
	t.Helper()
	var body []byte
	for _, item := range items {
		switch x := item.(type) {
		case list:
			body = append(body, encoded(t, x)...)
		case int:
			body = rlp.AppendUint64(body, uint64(x))
		default:
			b, err := rlp.EncodeToBytes(x)
			if err != nil {
				t.Fatal(err)
			}
			body = append(body, b...)
		}
	}
	return rlpwrite.List(nil, body)
}
