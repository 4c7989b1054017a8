package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
)

// The corpus of hostile packets is made by corpus() and kept, so that what was
// tried yesterday is tried tomorrow.
var updateCorpus = flag.Bool("update-corpus", false, "write testdata/hostile-packets.jsonl anew")

const corpusFile = "testdata/hostile-packets.jsonl"

// hostileCase is one line of the corpus: a packet as it is sent, or what one is to
// be made of that depends on the time and on the victim's key.
type hostileCase struct {
	Name    string   `json:"name"`
	Code    uint64   `json:"code"`
	Payload hexBytes `json:"payload,omitempty"`

	Envelope *hostileEnvelope `json:"envelope,omitempty"` // instead of Payload
	Request  hexBytes         `json:"request,omitempty"`  // likewise: a request for mail, to be sealed
}

// hostileEnvelope describes an envelope that is right but for what is in it.
type hostileEnvelope struct {
	Topic  string   `json:"topic"`
	Age    int64    `json:"age,omitempty"` // seconds since it was sent
	TTL    uint32   `json:"ttl"`
	Idle   bool     `json:"idle,omitempty"`   // without a proof of work
	Data   hexBytes `json:"data,omitempty"`   // as it is
	Fill   int      `json:"fill,omitempty"`   // or so many bytes
	Secret hexBytes `json:"secret,omitempty"` // or this plaintext, with the key of the public chat
	Sealed hexBytes `json:"sealed,omitempty"` // or this body, of any length, to the victim's identity
}

// hexBytes are bytes that are hex in JSON.
type hexBytes []byte

// MarshalText implements encoding.TextMarshaler.
func (b hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(b)), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *hexBytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}

// readCorpus returns the corpus as it is kept.
func readCorpus(t *testing.T) []hostileCase {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(corpusFile))
	if err != nil {
		t.Fatal(err)
	}
	var all []hostileCase
	for dec := json.NewDecoder(bytes.NewReader(text)); dec.More(); {
		var c hostileCase
		if err := dec.Decode(&c); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

func TestCorpusIsWhatItsGeneratorMakes(t *testing.T) {
	var b bytes.Buffer
	names := map[string]bool{}
	all := corpus()
	for _, c := range all {
		if names[c.Name] {
			t.Errorf("%q is there twice", c.Name)
		}
		names[c.Name] = true
		if err := json.NewEncoder(&b).Encode(c); err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < 500 {
		t.Errorf("%d cases, want at least 500", len(all))
	}
	if *updateCorpus {
		if err := os.WriteFile(filepath.FromSlash(corpusFile), b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	kept, err := os.ReadFile(filepath.FromSlash(corpusFile))
	if err != nil || !bytes.Equal(kept, b.Bytes()) {
		t.Errorf("%s is not what corpus() makes, %v: go test ./cmd/node -run TestCorpusIs -update-corpus", corpusFile, err)
	}
}

// quarry collects cases.
type quarry struct {
	random *rand.Rand
	all    []hostileCase
}

// corpus makes all cases. It draws from a fixed seed, so they are the same each
// time.
func corpus() []hostileCase {
	q := &quarry{random: rand.New(rand.NewPCG(6, 627))}
	q.statuses()
	q.envelopePackets()
	q.envelopesThatComeIn()
	q.poison()
	q.updates()
	q.confirmations()
	q.mailPackets()
	q.requests()
	return q.all
}

func (q *quarry) packet(name string, code uint64, payload []byte) {
	q.all = append(q.all, hostileCase{Name: name, Code: code, Payload: payload})
}

// ruin adds versions of a good packet that are cut short, too long or changed in
// some bytes, and such as claim lengths they do not have.
func (q *quarry) ruin(name string, code uint64, good []byte, cuts, flips int) {
	for i := range cuts {
		n := i * len(good) / cuts
		q.packet(fmt.Sprintf("%s, cut to %d bytes", name, n), code, good[:n:n])
	}
	for i := range flips {
		bad := bytes.Clone(good)
		for range 1 + q.random.IntN(3) {
			bad[q.random.IntN(min(len(bad), 160))] ^= byte(1 + q.random.IntN(255))
		}
		q.packet(fmt.Sprintf("%s, changed %d", name, i+1), code, bad)
	}
	q.packet(name+", bytes after it", code, append(bytes.Clone(good), 0xc0, 1, 2))
	for _, bomb := range bombs {
		q.packet(fmt.Sprintf("%s, a list that claims %x", name, bomb), code, append(bytes.Clone(bomb), good...))
		q.packet(fmt.Sprintf("%s, its first item claims %x", name, bomb), code, within(append(bytes.Clone(bomb), 1, 2, 3)))
	}
}

// bombs are RLP headers of great or impossible lengths.
var bombs = [][]byte{
	{0xfa, 0xff, 0xff, 0xff},
	{0xfb, 0xff, 0xff, 0xff, 0xff},
	{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	{0xbb, 0x7f, 0xff, 0xff, 0xff},
	{0xbf, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	{0xf8, 0x00},
}

// within puts bytes into a list whose header tells the truth.
func within(content []byte) []byte { return encodeRLP(rlp.RawValue(list(content))) }

// list is RLP of a list with that content, whatever it is.
func list(content []byte) []byte {
	if len(content) < 56 {
		return append([]byte{0xc0 + byte(len(content))}, content...)
	}
	size := binary.BigEndian.AppendUint64(nil, uint64(len(content)))
	size = bytes.TrimLeft(size, "\x00")
	return append(append([]byte{0xf7 + byte(len(size))}, size...), content...)
}

func encodeRLP(v any) []byte {
	b, err := rlp.EncodeToBytes(v)
	if err != nil {
		panic(err)
	}
	return b
}

func (q *quarry) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(q.random.Uint32())
	}
	return b
}

// statuses are packets with code 0 in the middle of a link, and again.
func (q *quarry) statuses() {
	good := encodeRLP([]any{uint64(6), math.Float64bits(0.002), make([]byte, 64), false, true, []uint64{0, 0, 0}})
	q.ruin("second status", codeStatus, good, 6, 10)
}

// envelopePackets are packets of envelopes that are no good as packets.
func (q *quarry) envelopePackets() {
	e := whisper.EncodeEnvelope(whisper.Envelope{Expiry: 1577836800, TTL: 50, Topic: transport.Topic{1, 2, 3, 4}, Data: q.bytes(100), Nonce: 77})
	q.ruin("envelopes", codeMessages, list(append(bytes.Clone(e), e...)), 40, 60)
	for _, fields := range [][]any{
		{},
		{uint64(1)},
		{uint64(1), uint64(2)},
		{uint64(1), uint64(2), q.bytes(4)},
		{uint64(1), uint64(2), q.bytes(4), q.bytes(9)},
		{uint64(1), uint64(2), q.bytes(3), q.bytes(9), uint64(1)},
		{uint64(1), uint64(2), q.bytes(5), q.bytes(9), uint64(1)},
		{uint64(1) << 32, uint64(2), q.bytes(4), q.bytes(9), uint64(1)},
		{uint64(1), uint64(1) << 32, q.bytes(4), q.bytes(9), uint64(1)},
		{uint64(1), uint64(2), q.bytes(4), q.bytes(9), q.bytes(9)},
		{uint64(1), uint64(2), q.bytes(4), []any{}, uint64(1)},
		{uint64(1), uint64(2), q.bytes(4), q.bytes(9), uint64(1), uint64(1)},
		{[]any{}, []any{}, []any{}, []any{}, []any{}},
	} {
		q.packet(fmt.Sprintf("an envelope of %d items, %d", len(fields), len(q.all)), codeMessages, encodeRLP([]any{fields}))
	}
	q.packet("many empty lists", codeMessages, list(bytes.Repeat([]byte{0xc0}, 20_000)))
	q.packet("many empty texts", codeMessages, list(bytes.Repeat([]byte{0x80}, 20_000)))
	q.packet("lists in lists", codeMessages, nested(3_000))
	q.packet("nothing but lists", codeMessages, bytes.Repeat([]byte{0xc0}, 1000))
}

// nested is a list in a list and so on.
func nested(depth int) []byte {
	b := []byte{0xc0}
	for range depth {
		b = list(b)
	}
	return b
}

// envelopesThatComeIn are right in form, and wrong in time, length or work.
func (q *quarry) envelopesThatComeIn() {
	add := func(name string, e hostileEnvelope) {
		e.Topic = channel
		if e.Fill == 0 {
			e.Data = q.bytes(60)
		}
		q.all = append(q.all, hostileCase{Name: name, Code: codeMessages, Envelope: &e})
	}
	for _, ttl := range []uint32{0, 1, 10, 3600, 48 * 3600, 48*3600 + 1, math.MaxUint32} {
		for _, age := range []int64{0, -5, -11, -3600, 25, 1 << 31} {
			add(fmt.Sprintf("TTL %d, %d s old", ttl, age), hostileEnvelope{TTL: ttl, Age: age, Idle: ttl > 10})
		}
	}
	for _, n := range []int{1, 27, 28, 29, 112, 113, 114, 65_000, 900_000} {
		add(fmt.Sprintf("data of %d bytes", n), hostileEnvelope{TTL: 10, Fill: n})
	}
}

// poison are envelopes that a client has the keys for.
func (q *quarry) poison() {
	for n := range 20 { // CVE-2026-22862: a valid tag around a body too short for its cipher
		q.all = append(q.all, hostileCase{
			Name: fmt.Sprintf("a body of %d bytes to the victim", n), Code: codeMessages,
			Envelope: &hostileEnvelope{Topic: "contact-discovery", TTL: 60, Sealed: append(hexBytes{}, q.bytes(n)...)},
		})
	}
	secret := func(name string, plaintext []byte) {
		q.all = append(q.all, hostileCase{
			Name: name, Code: codeMessages, Envelope: &hostileEnvelope{Topic: channel, TTL: 60, Secret: plaintext},
		})
	}
	for flags := range 8 {
		for _, size := range [][]byte{nil, {0}, {255}, {255, 255}, {255, 255, 255}, {5, 0, 0}, {1, 2, 3, 4, 5, 6, 7, 8, 9}} {
			secret(fmt.Sprintf("plaintext %02x%x", flags, size), append([]byte{byte(flags)}, size...))
		}
	}
	for n := range 30 { // what is opened goes to the layers above
		p := []byte{1, byte(20 + n*7)}
		secret(fmt.Sprintf("noise %d to the layers above", n+1), append(p, q.bytes(20+n*7)...))
	}
	for i, text := range []string{
		`["~#c4",["text","text/plain","~:public-group-user-message",1,1,["^ ","~:chat-id","x"]]]`,
		strings.Repeat("[", 4000), `["~#c4",` + strings.Repeat(`["^ ",`, 500), "\x12\x04\x0a\x02\x08\x01", "\x0a\xff\xff\xff\xff\x0f",
	} {
		size := binary.LittleEndian.AppendUint16([]byte{2}, uint16(len(text)))
		secret(fmt.Sprintf("payload %d to the layers above", i+1), append(size, text...))
	}
}

// updates are requirements and filters that no peer means.
func (q *quarry) updates() {
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, math.MaxFloat64, math.SmallestNonzeroFloat64, 1e300} {
		q.packet(fmt.Sprintf("a requirement of %v", f), codePoW, encodeRLP(math.Float64bits(f)))
	}
	q.ruin("requirement", codePoW, encodeRLP(math.Float64bits(0.002)), 4, 8)
	for _, n := range []int{0, 1, 63, 65, 512, 10_000} {
		q.packet(fmt.Sprintf("a filter of %d bytes", n), codeBloom, encodeRLP(bytes.Repeat([]byte{0xff}, n)))
	}
	q.ruin("filter", codeBloom, encodeRLP(make([]byte, 64)), 4, 8)
	for _, limits := range [][]any{{}, {uint64(1)}, {uint64(1), uint64(1), uint64(1)}, {q.bytes(40), uint64(1), uint64(1)}} {
		q.packet(fmt.Sprintf("rate limits of %d, %d", len(limits), len(q.all)), 20, encodeRLP(limits))
	}
}

// confirmations are of packets that were never sent.
func (q *quarry) confirmations() {
	q.ruin("acknowledgement", codeConfirmed, encodeRLP(q.bytes(32)), 4, 8)
	refusal := []any{q.bytes(32), uint64(37), "envelope with low PoW received"}
	q.ruin("response", 12, encodeRLP([]any{uint64(1), []any{q.bytes(32), []any{refusal, refusal}}}), 10, 16)
	many := make([]any, 1000)
	for i := range many {
		many[i] = refusal
	}
	q.packet("a response with 1000 entries", 12, encodeRLP([]any{uint64(1), []any{q.bytes(32), many}}))
}
