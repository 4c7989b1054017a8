package libp2p

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/stratanode/strata/plugins/transport"
)

type vector struct {
	Name   string
	Sent   int64
	TTL    int64
	Topic  string
	Data   string
	Wire   string
	ID     string
	Shard8 int
	Waku   string
}

func vectors(t testing.TB) []vector {
	t.Helper()
	raw, err := os.ReadFile("testdata/envelopes.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []vector
	if err := json.Unmarshal(raw, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func (v vector) envelope(t testing.TB) transport.Envelope {
	return transport.Envelope{
		Topic: transport.Topic(unhex(t, v.Topic)), Data: unhex(t, v.Data),
		Sent: time.Unix(v.Sent, 0).UTC(), TTL: time.Duration(v.TTL) * time.Second,
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func equal(a, b transport.Envelope) bool {
	return a.Topic == b.Topic && bytes.Equal(a.Data, b.Data) && a.Sent.Equal(b.Sent) && a.TTL == b.TTL
}

func TestGoldenEnvelopes(t *testing.T) {
	for _, v := range vectors(t) {
		e := v.envelope(t)
		wire := plain{}.encode(e)
		if got := hex.EncodeToString(wire); got != v.Wire {
			t.Errorf("%s: encoded %s, want %s", v.Name, got, v.Wire)
		}
		if got, err := (plain{}).decode(unhex(t, v.Wire)); err != nil || !equal(got, e) {
			t.Errorf("%s: decoded %+v, %v, want %+v", v.Name, got, err, e)
		}
		if id := idOf(wire); hex.EncodeToString(id[:]) != v.ID {
			t.Errorf("%s: id %x, want %s", v.Name, id, v.ID)
		}
		if got := shardOf(e.Topic, 8); got != v.Shard8 {
			t.Errorf("%s: shard %d, want %d", v.Name, got, v.Shard8)
		}
	}
}

func TestGoldenWakuMessages(t *testing.T) {
	w := waku{ttl: time.Hour}
	for _, v := range vectors(t) {
		if v.Waku == "" {
			continue
		}
		e := v.envelope(t)
		if got := hex.EncodeToString(w.encode(e)); got != v.Waku {
			t.Errorf("%s: encoded %s, want %s", v.Name, got, v.Waku)
		}
		e.TTL = time.Hour // the wire form has none
		if got, err := w.decode(unhex(t, v.Waku)); err != nil || !equal(got, e) {
			t.Errorf("%s: decoded %+v, %v, want %+v", v.Name, got, err, e)
		}
	}
}

func TestMalformedEnvelopesAreRefused(t *testing.T) {
	good := unhex(t, vectors(t)[1].Wire)
	for name, f := range map[string]func([]byte) []byte{
		"empty":               func([]byte) []byte { return nil },
		"only the header":     func(b []byte) []byte { return b[:headerSize] },
		"another version":     func(b []byte) []byte { b[0] = 2; return b },
		"sent in a far age":   func(b []byte) []byte { b[1] = 0xff; return b },
		"no time to live":     func(b []byte) []byte { copy(b[9:], []byte{0, 0, 0, 0}); return b },
		"more than a day":     func(b []byte) []byte { copy(b[9:], []byte{0, 1, 0x51, 0x81}); return b },
		"longer than MaxData": func(b []byte) []byte { return append(b, make([]byte, transport.MaxEnvelope)...) },
	} {
		if _, err := (plain{}).decode(f(slices.Clone(good))); !errors.Is(err, errMalformed) {
			t.Errorf("%s: got %v, want errMalformed", name, err)
		}
	}
}

func TestForeignWakuMessagesAreNotOurs(t *testing.T) {
	message := func(content string, version uint64, stamp int64) []byte {
		b := protowire.AppendBytes(protowire.AppendTag(nil, wakuPayload, protowire.BytesType), []byte("x"))
		b = protowire.AppendString(protowire.AppendTag(b, wakuContent, protowire.BytesType), content)
		b = protowire.AppendVarint(protowire.AppendTag(b, wakuVersion, protowire.VarintType), version)
		return protowire.AppendVarint(protowire.AppendTag(b, wakuTimestamp, protowire.VarintType), protowire.EncodeZigZag(stamp))
	}
	const ours = "/waku/1/0x01020304/rfc26"
	if _, err := (waku{time.Hour}).decode(message(ours, 1, 1e9)); err != nil {
		t.Errorf("ours: %v", err)
	}
	for name, wire := range map[string][]byte{
		"another application": message("/toy-chat/2/huilong/proto", 1, 1e9),
		"three bytes":         message("/waku/1/0x010203/rfc26", 1, 1e9),
		"no hex":              message("/waku/1/0x0102030g/rfc26", 1, 1e9),
		"another encoding":    message("/waku/1/0x01020304/proto", 1, 1e9),
		"not encrypted":       message(ours, 0, 1e9),
		"no time":             message(ours, 1, 0),
	} {
		if _, err := (waku{time.Hour}).decode(wire); !errors.Is(err, errForeign) {
			t.Errorf("%s: got %v, want errForeign", name, err)
		}
	}
	for name, wire := range map[string][]byte{
		"nothing":  nil,
		"cut":      message(ours, 1, 1e9)[:9],
		"no topic": {0x0a, 1, 'x'},
		"garbage":  {0xff, 0xff, 0xff},
		"claims":   {0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 'x'},
	} {
		if _, err := (waku{time.Hour}).decode(wire); !errors.Is(err, errMalformed) {
			t.Errorf("%s: got %v, want errMalformed", name, err)
		}
	}
}

func TestTopicsSpreadOverShards(t *testing.T) {
	count := make([]int, 8)
	for i := range 8000 {
		count[shardOf(transport.Topic{byte(i >> 8), byte(i)}, 8)]++
	}
	for i, n := range count {
		if n < 800 || n > 1200 {
			t.Errorf("shard %d has %d of 8000 topics", i, n)
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(unhex(f, v.Wire))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		e, err := plain{}.decode(wire)
		if err != nil {
			return
		}
		if got := (plain{}).encode(e); !bytes.Equal(got, wire) {
			t.Errorf("encoded again: %x, want %x", got, wire)
		}
	})
}

func FuzzWakuMessage(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(unhex(f, v.Waku))
	}
	w := waku{time.Hour}
	f.Fuzz(func(t *testing.T, wire []byte) {
		e, err := w.decode(wire)
		if err != nil {
			return
		}
		again, err := w.decode(w.encode(e))
		if err != nil || !equal(again, e) {
			t.Errorf("decoded again: %+v, %v, want %+v", again, err, e)
		}
	})
}

func FuzzRequest(f *testing.F) {
	f.Add(request{kindAsk, [scopeSize]byte{1}, time.Minute, []bool{true, false, true, false, false, false, false, false, true}}.encode())
	f.Fuzz(func(t *testing.T, raw []byte) {
		q, err := decodeRequest(raw, 9)
		if err != nil {
			return
		}
		if got := q.encode(); !bytes.Equal(got, raw) {
			t.Errorf("encoded again: %x, want %x", got, raw)
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte{3, 'a', 'b', 'c'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		frame, err := readFrame(bufio.NewReader(bytes.NewReader(raw)), 1<<20)
		if err == nil && len(frame) >= len(raw) {
			t.Errorf("a frame of %d bytes came out of %d", len(frame), len(raw))
		}
	})
}

func TestFrameUsesNoMemoryThatIsOnlyClaimed(t *testing.T) {
	claim := []byte{0x80, 0x80, 0x80, 0x08} // 16 MiB
	const times = 64
	before := allocated()
	for range times {
		if _, err := readFrame(bufio.NewReaderSize(bytes.NewReader(claim), 16), 32<<20); err == nil {
			t.Fatal("a frame without content was read")
		}
	}
	if used := (allocated() - before) / times; used > 1<<20 {
		t.Errorf("a claim of 16 MiB took %d bytes", used)
	}
	if _, err := readFrame(bufio.NewReader(bytes.NewReader(claim)), 1<<20); !errors.Is(err, errRecent) {
		t.Errorf("beyond the limit: got %v, want errRecent", err)
	}
}

// allocated returns the bytes allocated in the life of the process.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}
