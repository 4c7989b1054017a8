package whisper

import (
	"bytes"
	"math"
	"reflect"
	"testing"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

// reference is an envelope as the deployed nodes declare it for go-ethereum's
// reflecting decoder.
type reference struct {
	Expiry uint32
	TTL    uint32
	Topic  [4]byte
	Data   []byte
	Nonce  uint64
}

func FuzzDecodeEnvelope(f *testing.F) {
	f.Add(sealed(t0, 15, chat, "seed"))
	f.Add([]byte{0xc9, 0x80, 0x80, 0x84, 1, 2, 3, 4, 0x80, 0x80})
	f.Add([]byte{0xca, 0x81, 0x80, 0x80, 0x84, 1, 2, 3, 4, 0x80, 0x80})
	f.Add(EncodeEnvelope(Envelope{Expiry: 1, TTL: math.MaxUint32, Data: []byte{0x7f}, Nonce: math.MaxUint64}))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEnvelope(b)
		var want reference
		if wantErr := rlp.DecodeBytes(b, &want); (err == nil) != (wantErr == nil) {
			t.Fatalf("error %v, go-ethereum has %v", err, wantErr)
		}
		if err != nil {
			return
		}
		if got := (reference{e.Expiry, e.TTL, e.Topic, e.Data, e.Nonce}); got.Expiry != want.Expiry || got.TTL != want.TTL ||
			got.Topic != want.Topic || got.Nonce != want.Nonce || !bytes.Equal(got.Data, want.Data) {
			t.Errorf("decoded %+v, go-ethereum has %+v", got, want)
		}
		if again := EncodeEnvelope(e); !bytes.Equal(again, b) || hashOf(b) != e.Hash {
			t.Errorf("%x encodes to %x", b, again)
		}
		bare := Envelope{Expiry: e.Expiry, TTL: e.TTL, Topic: e.Topic, Data: e.Data, Nonce: e.Nonce}
		if got, want := e.PoW(1), bare.PoW(1); got != want {
			t.Errorf("PoW %v as decoded, %v as made", got, want)
		}
	})
}

func FuzzDecodeMessages(f *testing.F) {
	f.Add(payloadOf())
	f.Add(payloadOf(sealed(t0, 15, chat, "a"), sealed(t0, 15, chat, "b")))
	f.Add(payloadOf(sealed(t0, 15, chat, "a"), []byte{0x80}))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := NewCodec(DefaultConfig()).Decode(t0, codeMessages, b)
		var want []reference
		if wantErr := rlp.DecodeBytes(b, &want); (err == nil) != (wantErr == nil) {
			t.Fatalf("error %v, go-ethereum has %v", err, wantErr)
		}
		if err != nil {
			return
		}
		m := p.(Messages)
		if len(m.Envelopes) != len(want) || m.Batch() != hashOf(b) || m.Size() != len(b) {
			t.Errorf("%d envelopes in %s, want %d in %s", len(m.Envelopes), m.Batch(), len(want), hashOf(b))
		}
		var again [][]byte
		for _, e := range m.Envelopes {
			if got := e.hashed(); got != hashOf(e.raw) {
				t.Errorf("hash %s, want %s", got, hashOf(e.raw))
			}
			again = append(again, EncodeEnvelope(e))
		}
		if !bytes.Equal(payloadOf(again...), b) {
			t.Error("the packet encodes to something else")
		}

		// The node takes whatever has passed the codec.
		n := New(DefaultConfig())
		n.Wake(t0)
		n.FromBelow(t0, overlay.Connected{Peer: alice})
		n.FromBelow(t0, overlay.Connected{Peer: bob})
		n.FromAbove(t0, transport.Subscribe{Topics: []transport.Topic{chat}})
		n.FromBelow(t0, overlay.Arrived{Peer: alice, Packet: m})
	})
}

func FuzzDecodeStatus(f *testing.F) {
	f.Add(Status{PoW: 0.002, Bloom: FullBloom(), Confirmations: true}.encode().Payload)
	f.Add(Status{Light: true, RateLimits: [3]uint64{1, 2, 3}}.encode().Payload)
	f.Add([]byte{0xc1, 0x06})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := NewCodec(DefaultConfig()).Greeting(t0, codeStatus, b)
		if err != nil {
			return
		}
		s := p.(Status)
		if math.IsNaN(s.PoW) || math.IsInf(s.PoW, 0) || s.PoW < 0 {
			t.Errorf("PoW %v", s.PoW)
		}
		again, err := decodeStatus(s.encode().Payload)
		again.size = s.size
		if err != nil || again != s {
			t.Errorf("%+v encodes to %+v, %v", s, again, err)
		}
	})
}

func FuzzDecodeResponse(f *testing.F) {
	f.Add(encodeResponse(transport.Hash{1}, nil).Payload)
	f.Add(encodeResponse(transport.Hash{1}, []Refusal{{transport.Hash{2}, 37, "very old envelope"}, {Text: "x"}}).Payload)
	f.Add([]byte{0xcb, 2, 0xc9, 0x87, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := NewCodec(DefaultConfig()).Decode(t0, codeResponse, b)
		var outer struct {
			Version  uint
			Response rlp.RawValue
		}
		s := rlp.NewStream(bytes.NewReader(b), uint64(len(b)))
		if wantErr := s.Decode(&outer); (err == nil) != (wantErr == nil) {
			t.Fatalf("error %v, go-ethereum has %v", err, wantErr)
		}
		if err != nil {
			return
		}
		var want struct {
			Hash   [32]byte
			Errors []Refusal
		}
		known := outer.Version == 1 && rlp.DecodeBytes(outer.Response, &want) == nil
		if known != (p != nil) {
			t.Fatalf("decoded %v, go-ethereum has %+v", p, want)
		}
		if p == nil {
			return
		}
		m := p.(MessageResponse)
		if m.Batch != want.Hash || len(m.Refusals) != len(want.Errors) || len(want.Errors) > 0 && !reflect.DeepEqual(m.Refusals, want.Errors) {
			t.Errorf("decoded %+v, go-ethereum has %+v", m, want)
		}
		if len(m.Refusals) <= maxRefusals {
			again, err := decodeResponse(encodeResponse(m.Batch, m.Refusals).Payload)
			if err != nil || again.Batch != m.Batch || !reflect.DeepEqual(again.Refusals, m.Refusals) {
				t.Errorf("%+v encodes to %+v, %v", m, again, err)
			}
		}
	})
}

func FuzzDecodeSmallPackets(f *testing.F) {
	f.Add(uint8(codePoWRequirement), encodePoW(0.002).Payload)
	f.Add(uint8(codeBloomFilter), encodeBloom(FullBloom()).Payload)
	f.Add(uint8(codeAcknowledged), encodeAcknowledged(transport.Hash{1}).Payload)
	f.Fuzz(func(t *testing.T, code uint8, b []byte) {
		p, err := NewCodec(DefaultConfig()).Decode(t0, uint64(code), b)
		if err != nil || p == nil {
			return
		}
		var again overlay.Outgoing
		switch p := p.(type) {
		case PoWRequirement:
			again = encodePoW(p.PoW)
		case BloomFilter:
			again = encodeBloom(p.Bloom)
		case BatchAcknowledged:
			again = encodeAcknowledged(p.Batch)
		default:
			return // has a target of its own
		}
		// Bytes after the value are no offence here, as with the deployed nodes.
		if again.Code != uint64(code) || !bytes.HasPrefix(b, again.Payload) {
			t.Errorf("%x encodes to %x", b, again.Payload)
		}
	})
}
