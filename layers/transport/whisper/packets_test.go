package whisper

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/layertest"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/mail"
)

func checkPacket(t *testing.T, v layertest.Vector) {
	var in struct {
		Code       uint64
		Payload    hexBytes
		Now        int64
		LocalLight bool     `json:"local_light"`
		MinPoW     *float64 `json:"min_pow"`
	}
	var want packetWant
	layertest.Decode(t, v.In, &in)
	layertest.Decode(t, v.Out, &want)
	now := time.Unix(in.Now, 0)
	if in.MinPoW != nil { // what a node sends
		cfg := DefaultConfig()
		cfg.MinPoW = *in.MinPoW
		for _, c := range New(cfg).Wake(now).Down {
			if g, ok := c.(overlay.Greet); ok && (g.Packet.Code != want.Code || !bytes.Equal(g.Packet.Payload, want.Payload)) {
				t.Errorf("greeting %d %x, want %d %x", g.Packet.Code, g.Packet.Payload, want.Code, []byte(want.Payload))
			}
		}
		return
	}
	codec := NewCodec(DefaultConfig())
	decode := codec.Decode
	if in.Code == codeStatus && !want.Ignored {
		decode = codec.Greeting
	}
	p, err := decode(now, in.Code, in.Payload)
	if in.LocalLight {
		// The deployed nodes may refuse each other if both are light. This one stays:
		// a light peer still has envelopes of its own.
		if s, ok := p.(Status); !ok || !s.Light {
			t.Errorf("%v, %v: want the status of a light node", p, err)
		}
		return
	}
	if (err == nil) != want.Accept {
		t.Fatalf("error %v, want accepted %v", err, want.Accept)
	}
	if err != nil {
		return
	}
	switch in.Code {
	case codeStatus, codeMessages, codePoWRequirement, codeBloomFilter, codeAcknowledged, codeResponse:
		if want.Ignored {
			break
		}
		if p == nil {
			t.Fatal("packet ignored")
		}
		want.check(t, p)
		if p.Size() != len(in.Payload) {
			t.Errorf("size %d, want %d", p.Size(), len(in.Payload))
		}
		return
	}
	if known := in.Code == codeRateLimits || in.Code >= mail.CodeSyncRequest; known != (p != nil) {
		t.Fatalf("packet %d: %v, want it decoded: %v", in.Code, p, known)
	}
	if p != nil {
		want.checkExtension(t, p)
	}
}

// packetWant is what a packet vector expects.
type packetWant struct {
	Accept, Ignored bool
	Code            uint64
	Payload         hexBytes
	PoW             *float64
	PeerPoW         *float64 `json:"peer_pow_requirement"`
	Full            bool     `json:"peer_full_node"`
	PeerBloom       hexBytes `json:"peer_bloom"`
	Bloom           hexBytes
	Confirms        bool       `json:"confirmations_enabled"`
	Limits          [3]uint64  `json:"rate_limits"`
	Batch           hexBytes   `json:"batch_hash"`
	Hashes          []hexBytes `json:"envelope_hashes"`
	Lower, Upper    uint32
	Limit           uint32
	Cursor          hexBytes
	Final           bool
	Failure         string `json:"error"`
	Errors          []struct {
		Code        uint64
		Description string
		Hash        hexBytes
	}
}

func (want packetWant) check(t *testing.T, p overlay.Packet) {
	t.Helper()
	equal := func(what string, got, want any) {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s %v, want %v", what, got, want)
		}
	}
	switch p := p.(type) {
	case Status:
		equal("PoW", p.PoW, *want.PeerPoW)
		equal("full", p.Bloom.Full(), want.Full)
		if !want.Full {
			equal("bloom", p.Bloom[:], []byte(want.PeerBloom))
		}
		equal("confirmations", p.Confirmations, want.Confirms)
		equal("rate limits", p.RateLimits, want.Limits)
	case Messages:
		equal("batch", p.Batch(), transport.Hash(want.Batch))
		equal("envelopes", len(p.Envelopes), len(want.Hashes))
		for i, h := range want.Hashes {
			equal("envelope", p.Envelopes[i].hashed(), transport.Hash(h))
		}
	case PoWRequirement:
		equal("PoW", p.PoW, *want.PoW)
	case BloomFilter:
		equal("bloom", p.Bloom[:], []byte(want.Bloom))
	case BatchAcknowledged:
		equal("batch", p.Batch[:], []byte(want.Batch))
	case MessageResponse:
		equal("batch", p.Batch[:], []byte(want.Batch))
		equal("refusals", len(p.Refusals), len(want.Errors))
		for i, r := range want.Errors {
			equal("refusal", p.Refusals[i], Refusal{transport.Hash(r.Hash), r.Code, r.Description})
		}
	default:
		t.Error(errors.New("unexpected kind"), p)
	}
}

// checkExtension checks the packets that EIP-627 does not have.
func (want packetWant) checkExtension(t *testing.T, p overlay.Packet) {
	t.Helper()
	equal := func(what string, got, want any) {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s %v, want %v", what, got, want)
		}
	}
	hashes := func(envelopes []transport.Envelope) {
		equal("envelopes", len(envelopes), len(want.Hashes))
		for i, h := range want.Hashes {
			equal("envelope", envelopes[i].Hash[:], []byte(h))
			equal("hash of raw", hashOf(envelopes[i].Raw), transport.Hash(h))
		}
	}
	switch p := p.(type) {
	case RateLimits:
		equal("rate limits", p.Limits, want.Limits)
	case mail.Delivery:
		hashes(p.Envelopes)
	case mail.SyncResponse:
		hashes(p.Envelopes)
		equal("cursor", p.Cursor, []byte(want.Cursor))
		equal("final", p.Final, want.Final)
		equal("error", p.Error, want.Failure)
	case mail.SyncRequest:
		equal("bounds", [3]uint32{p.Lower, p.Upper, p.Limit}, [3]uint32{want.Lower, want.Upper, want.Limit})
		equal("bloom", p.Bloom, []byte(want.Bloom))
		equal("cursor", p.Cursor, []byte(want.Cursor))
	default:
		t.Errorf("unexpected kind %T", p)
	}
}
