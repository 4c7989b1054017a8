package whisper

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/internal/rlpwrite"
	"github.com/stratanode/strata/layers/transport/whisper/mail"
)

// FuzzDecodeMailPackets decodes the packets that EIP-627 does not have, encodes
// what came of it and decodes it again. A node takes whatever has passed.
func FuzzDecodeMailPackets(f *testing.F) {
	a, b := sealed(t0, 15, chat, "a"), sealed(t0, 15, chat, "b")
	f.Add(uint8(codeRateLimits), []byte{0xc3, 1, 2, 3})
	f.Add(uint8(mail.CodeDelivery), a)
	f.Add(uint8(mail.CodeDelivery), payloadOf(a, b))
	f.Add(uint8(mail.CodeDelivery), payloadOf())
	f.Add(uint8(mail.CodeRequest), a)
	f.Add(uint8(mail.CodeRequest), mail.PlainRequest{From: 1, To: 2, Limit: 3, Bloom: make([]byte, BloomSize)}.Encode().Payload)
	f.Add(uint8(mail.CodeComplete), mail.Complete{Cursor: make([]byte, 36)}.Encode().Payload)
	f.Add(uint8(mail.CodeComplete), mail.Complete{Failed: true, Reason: "no"}.Encode().Payload)
	f.Add(uint8(mail.CodeSyncRequest), mail.SyncRequest{Upper: 9, Limit: 5, Bloom: make([]byte, BloomSize)}.Encode().Payload)
	worth := mined(statusPoW, uint32(t0.Unix())-60, 50, chat, []byte("worth it"))
	f.Add(uint8(mail.CodeSyncResponse), mail.SyncResponse{Envelopes: []transport.Envelope{{Raw: worth}, {Raw: b}}}.Encode().Payload)
	f.Add(uint8(mail.CodeSyncResponse), mail.SyncResponse{Envelopes: []transport.Envelope{{Raw: a}}, Final: true, Error: "x"}.Encode().Payload)
	f.Fuzz(func(t *testing.T, code uint8, payload []byte) {
		codec := NewCodec(DefaultConfig())
		p, err := codec.Decode(t0, uint64(code), payload)
		if err != nil || p == nil {
			return
		}
		if p.Size() != len(payload) {
			t.Errorf("size %d, want %d", p.Size(), len(payload))
		}
		var again overlay.Outgoing
		switch p := p.(type) {
		case mail.Request:
			again = overlay.Outgoing{Code: mail.CodeRequest, Payload: p.Envelope.Raw}
			checkEnvelopes(t, p.Envelope)
		case mail.Delivery:
			again = delivery(p.Envelopes)
			checkEnvelopes(t, p.Envelopes...)
		case mail.SyncResponse:
			again = p.Encode()
			checkEnvelopes(t, p.Envelopes...)
			for _, e := range p.Envelopes {
				if d := decoded(t, e.Raw); e.PoW != d.PoW(0) {
					t.Errorf("proof of work %v, want %v", e.PoW, d.PoW(0))
				}
			}
		case mail.PlainRequest:
			again = p.Encode()
		case mail.Complete:
			again = p.Encode()
		case mail.SyncRequest:
			again = p.Encode()
		case RateLimits:
			again = overlay.Outgoing{Code: codeRateLimits, Payload: rateLimits(p)}
		default:
			return // has a target of its own
		}
		second, err := codec.Decode(t0, again.Code, again.Payload)
		if again.Code != uint64(code) || err != nil || !reflect.DeepEqual(unsized(second), unsized(p)) {
			t.Errorf("%x becomes %+v, and that %x, which becomes %+v, %v", payload, p, again.Payload, second, err)
		}

		n := New(DefaultConfig())
		n.Wake(t0)
		n.FromAbove(t0, transport.Watch{Keeps: true, Serves: true})
		n.FromBelow(t0, overlay.Connected{Peer: alice, State: []overlay.Packet{confirming()}})
		n.FromAbove(t0, transport.Query{From: t0.Add(-time.Hour), Server: alice.String(), Sync: true})
		out, _ := n.FromBelow(t0, overlay.Arrived{Peer: alice, Packet: p})
		if _, sync := p.(mail.SyncResponse); sync {
			checkSynced(t, out)
		}
	})
}

func rateLimits(r RateLimits) []byte {
	var c []byte
	for _, l := range r.Limits {
		c = rlp.AppendUint64(c, l)
	}
	return rlpwrite.List(nil, c)
}

func delivery(envelopes []transport.Envelope) overlay.Outgoing {
	var list []byte
	for _, e := range envelopes {
		list = append(list, e.Raw...)
	}
	return overlay.Outgoing{Code: mail.CodeDelivery, Payload: rlpwrite.List(nil, list)}
}

func checkEnvelopes(t *testing.T, envelopes ...transport.Envelope) {
	for _, e := range envelopes {
		d := decoded(t, e.Raw)
		if d.Hash != e.Hash || d.Topic != e.Topic || !bytes.Equal(d.Data, e.Data) || int64(d.Sent()) != e.Sent.Unix() {
			t.Errorf("envelope %+v, want %+v", e, d)
		}
	}
}

// checkSynced checks that what a sync has brought could have been relayed.
func checkSynced(t *testing.T, out output) {
	gate := New(DefaultConfig()).gate
	for _, h := range ups[transport.History](out) {
		for _, e := range h.Envelopes {
			d := decoded(t, e.Raw)
			young := min(int64(d.Sent()), t0.Unix())
			if _, v := gate.first(young, &d); v != admitted {
				t.Errorf("passed on %+v, which is %v", d, v)
			}
			if v := gate.second(t0, d.Topic, d.PoW(0)); v != admitted {
				t.Errorf("passed on %+v, which is %v", d, v)
			}
		}
	}
}

// unsized returns p without the length it came in, which may differ.
func unsized(p overlay.Packet) overlay.Packet {
	switch m := p.(type) {
	case mail.Request:
		m.Bytes = 0
		return m
	case mail.Delivery:
		m.Bytes = 0
		return m
	case mail.SyncResponse:
		m.Bytes = 0
		return m
	case mail.PlainRequest:
		m.Bytes = 0
		return m
	case mail.Complete:
		m.Bytes = 0
		return m
	case mail.SyncRequest:
		m.Bytes = 0
		return m
	case RateLimits:
		m.size = 0
		return m
	}
	return p
}
