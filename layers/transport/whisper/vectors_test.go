package whisper

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/layertest"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/internal/rlpwrite"
)

// hexBytes is a byte string as the vectors write it.
type hexBytes []byte

func (h *hexBytes) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err != nil || s == nil {
		return err
	}
	raw, err := hex.DecodeString(strings.TrimPrefix(*s, "0x"))
	*h = append(hexBytes{}, raw...)
	return err
}

// number is a number that may be written as a decimal string.
type number uint64

func (n *number) UnmarshalJSON(b []byte) error {
	x, err := strconv.ParseUint(strings.Trim(string(b), `"`), 10, 64)
	*n = number(x)
	return err
}

func TestVectors(t *testing.T) {
	layertest.RunVectors(t, "whisper", map[string]func(*testing.T, layertest.Vector){
		"pow":                  checkPoW,
		"packets":              checkPacket,
		"invalid":              checkInvalid,
		"topics-and-keys":      checkTopics,
		"envelopes-symmetric":  layertest.Elsewhere("layers/envelope/whisper"),
		"envelopes-asymmetric": layertest.Elsewhere("layers/envelope/whisper"),
		"mailserver":           layertest.Elsewhere("the mail package"),
	})
}

func checkPoW(t *testing.T, v layertest.Vector) {
	var in struct {
		Data        hexBytes
		Topic       hexBytes
		Expiry, TTL uint32
		TTLIncrease uint32 `json:"ttl_increase"`
		Nonce       *number
		MineTarget  *float64 `json:"mine_target"`
	}
	var want struct {
		EnvelopeRLP hexBytes `json:"envelope_rlp"`
		Hash        hexBytes
		HeaderSize  int      `json:"header_size"`
		Zeros       int      `json:"leading_zero_bits"`
		Nonce       number   `json:"nonce"`
		PoW         string   `json:"pow"`
		PoWHash     hexBytes `json:"pow_hash"`
		ShortLen    int      `json:"rlp_without_nonce_len"`
		TargetBits  int      `json:"target_bits"`
	}
	layertest.Decode(t, v.In, &in)
	layertest.Decode(t, v.Out, &want)
	e := Envelope{Expiry: in.Expiry, TTL: in.TTL, Topic: transport.Topic(in.Topic), Data: in.Data}
	if in.Nonce != nil {
		e.Nonce = uint64(*in.Nonce)
	} else {
		short := rlpwrite.List(nil, appendFields(nil, e.Expiry, e.TTL, e.Topic, e.Data))
		for _, wide := range []bool{false, fourWay} {
			nonce, found := newMiner(short, wide).search(want.TargetBits, 1<<24)
			if !found || nonce != uint64(want.Nonce) {
				t.Errorf("four-way %v: mined nonce %d (%v), want %d", wide, nonce, found, want.Nonce)
			}
		}
		e.Nonce = uint64(want.Nonce)
	}
	raw := EncodeEnvelope(e)
	if !bytes.Equal(raw, want.EnvelopeRLP) {
		t.Errorf("RLP %x, want %x", raw, []byte(want.EnvelopeRLP))
	}
	d, err := DecodeEnvelope(raw)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(d.Hash[:], want.Hash) {
		t.Errorf("hash %s, want %x", d.Hash, []byte(want.Hash))
	}
	if d.Size() != want.HeaderSize {
		t.Errorf("size %d, want %d", d.Size(), want.HeaderSize)
	}
	input, size := d.appendWork(nil)
	if size != want.ShortLen {
		t.Errorf("length without nonce %d, want %d", size, want.ShortLen)
	}
	h := layers.Keccak256(input)
	if !bytes.Equal(h[:], want.PoWHash) || leadingZeros(h) != want.Zeros {
		t.Errorf("PoW hash %x with %d zeros, want %x with %d", h, leadingZeros(h), []byte(want.PoWHash), want.Zeros)
	}
	for _, e := range []Envelope{e, d} {
		if got := powText(e.PoW(in.TTLIncrease)); got != want.PoW {
			t.Errorf("PoW %s, want %s", got, want.PoW)
		}
	}
}

func powText(p float64) string {
	if math.IsInf(p, 1) {
		return "+Inf"
	}
	return fmt.Sprintf("%.5e", p)
}

func checkTopics(t *testing.T, v layertest.Vector) {
	var in struct {
		Topic    hexBytes
		Topics   []hexBytes
		Chat     *string
		Password *string
	}
	var want struct {
		Bloom hexBytes
		Or    hexBytes `json:"or_bloom"`
		Bits  []int    `json:"bit_indexes"`
		Topic hexBytes
	}
	layertest.Decode(t, v.In, &in)
	layertest.Decode(t, v.Out, &want)
	var got, or Bloom
	add := func(topic transport.Topic) {
		got.Merge(TopicBloom(topic))
		or.Add(topic)
		if !or.Match(topic) {
			t.Errorf("the plain OR of %s does not match it", topic)
		}
		if f := TopicBloom(topic); !f.Match(topic) {
			t.Errorf("TopicBloom of %s does not match it", topic)
		}
	}
	switch {
	case in.Topic != nil:
		add(transport.Topic(in.Topic))
		if bits := topicBits(transport.Topic(in.Topic)); fmt.Sprint(bits) != fmt.Sprint(want.Bits) {
			t.Errorf("bits %v, want %v", bits, want.Bits)
		}
		if !bytes.Equal(or[:], want.Or) {
			t.Errorf("plain OR %x, want %x", or, []byte(want.Or))
		}
	case in.Topics != nil:
		for _, topic := range in.Topics {
			add(transport.Topic(topic))
		}
	case in.Chat != nil:
		topic := transport.TopicOf(*in.Chat)
		if !bytes.Equal(topic[:], want.Topic) {
			t.Errorf("topic %s, want %x", topic, []byte(want.Topic))
		}
		add(topic)
	default:
		return // keys and key ids: layers/envelope/whisper
	}
	if !bytes.Equal(got[:], want.Bloom) {
		t.Errorf("bloom %x, want %x", got, []byte(want.Bloom))
	}
}

func checkInvalid(t *testing.T, v layertest.Vector) {
	var in struct {
		EnvelopeRLP hexBytes `json:"envelope_rlp"`
		Packet      hexBytes `json:"packet1_payload"`
		Now         int64
		MinPoW      *float64 `json:"min_pow"`
		MaxSize     int      `json:"max_message_size"`
		LocalBloom  hexBytes `json:"local_bloom"`
	}
	var want struct {
		Result string
		Reason string
		PoW    string `json:"pow_used"`
	}
	layertest.Decode(t, v.In, &in)
	layertest.Decode(t, v.Out, &want)
	if in.MaxSize == 0 {
		in.MaxSize = 1 << 20
	}
	codec := Codec{limit: in.MaxSize}
	switch {
	case in.Packet != nil:
		if in.EnvelopeRLP != nil {
			if _, err := DecodeEnvelope(in.EnvelopeRLP); err == nil {
				t.Errorf("the envelope is taken, want %s", want.Reason)
			}
		}
		_, err := codec.Decode(time.Unix(in.Now, 0), codeMessages, in.Packet)
		if got := err != nil; got != (want.Result == "disconnect") {
			t.Errorf("packet dropped: %v (%v), want %s", got, err, want.Result)
		}
	case in.MinPoW != nil:
		n := New(DefaultConfig())
		n.Wake(time.Unix(in.Now, 0))
		n.gate.minPoW, n.gate.maxMessage = *in.MinPoW, in.MaxSize
		if in.LocalBloom != nil {
			n.gate.interest = Bloom(in.LocalBloom)
		}
		checkAdmission(t, n, time.Unix(in.Now, 0), in.EnvelopeRLP, want.Result, want.PoW)
	default:
		// To be opened: layers/envelope/whisper. It is an envelope all the same.
		if _, err := DecodeEnvelope(in.EnvelopeRLP); err != nil {
			t.Error(err)
		}
	}
}

func checkAdmission(t *testing.T, n *Node, now time.Time, raw []byte, want, pow string) {
	t.Helper()
	e, err := DecodeEnvelope(raw)
	if err != nil {
		t.Fatal(err)
	}
	connect(t, n, now, overlay.PeerID{1})
	out, err := n.FromBelow(now, arrival(t, overlay.PeerID{1}, raw))
	if err != nil {
		t.Fatal(err)
	}
	sent := sends(out)[overlay.PeerID{1}]
	refused := sent[codeResponse] != nil
	pooled := n.pool.byHash(e.Hash)
	got := "drop_silently"
	switch {
	case pooled != nil && !refused:
		got = "accept"
		if powText(pooled.pow) != pow {
			t.Errorf("PoW %s, want %s", powText(pooled.pow), pow)
		}
	case pooled == nil && refused:
		got = "reject"
	}
	if got != want {
		t.Errorf("envelope: %s, want %s", got, want)
	}
	if sent[codeAcknowledged] == nil {
		t.Error("the packet is not acknowledged")
	}
}
