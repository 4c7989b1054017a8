package whisper

import (
	"errors"
	"fmt"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/mail"
)

// Capability of the protocol in devp2p: 128 packet codes are reserved.
const (
	capabilityName   = "shh"
	capabilityLength = 128
)

// Codec decodes the packets of Whisper v6 for the overlay. It has no state and
// may be used by any number of goroutines. What Decode returns keeps a
// reference to the payload.
type Codec struct {
	limit int // longest payload in bytes
}

var _ overlay.Codec = Codec{}

// NewCodec returns the codec of a node with this configuration.
func NewCodec(cfg Config) Codec { return Codec{limit: cfg.MaxMessageSize} }

// Capability implements overlay.Codec.
func (Codec) Capability() (name string, ver uint, length uint64) {
	return capabilityName, version, capabilityLength
}

// Limit implements overlay.Codec: max_message_size_bytes.
func (c Codec) Limit() int { return c.limit }

// Greeting implements overlay.Codec. It returns a Status.
func (c Codec) Greeting(_ time.Time, code uint64, payload []byte) (overlay.Packet, error) {
	if code != codeStatus {
		return nil, fmt.Errorf("whisper: first packet has code %d, want a status", code)
	}
	s, err := decodeStatus(payload)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Decode implements overlay.Codec. It returns Messages, PoWRequirement,
// BloomFilter, BatchAcknowledged, MessageResponse, RateLimits or a mail.Packet;
// a second status and unknown codes are ignored.
func (c Codec) Decode(_ time.Time, code uint64, payload []byte) (overlay.Packet, error) {
	if len(payload) > c.limit {
		return nil, fmt.Errorf("whisper: packet of %d bytes is above max_message_size_bytes", len(payload))
	}
	switch code {
	case codeMessages:
		return packet(decodeMessages(payload))
	case codePoWRequirement:
		return packet(decodePoW(payload))
	case codeBloomFilter:
		return packet(decodeBloom(payload))
	case codeAcknowledged:
		return packet(decodeAcknowledged(payload))
	case codeResponse:
		return packet(decodeResponse(payload))
	case codeRateLimits:
		return packet(decodeRateLimits(payload))
	case mail.CodeSyncRequest:
		return packet(mail.DecodeSyncRequest(payload))
	case mail.CodeSyncResponse:
		return packet(mail.DecodeSyncResponse(payload, weighedList))
	case mail.CodeComplete:
		return packet(mail.DecodeComplete(payload))
	case mail.CodeRequest:
		return decodeRequest(payload)
	case mail.CodeDelivery:
		return packet(decodeDelivery(payload))
	}
	return nil, nil
}

// packet keeps a failed decoder from handing out half a packet.
func packet[P overlay.Packet](p P, err error) (overlay.Packet, error) {
	if errors.Is(err, errIgnored) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

func decodeMessages(payload []byte) (Messages, error) {
	envelopes, err := parseMessages(payload)
	if err != nil {
		return Messages{}, err
	}
	return Messages{Envelopes: envelopes, payload: payload}, nil
}

// Messages is a packet of envelopes. Their hashes are zero until the Node has
// taken the packet, which nobody else may do at the same time: it does not hash
// what it has already.
type Messages struct {
	Envelopes []Envelope

	payload []byte
}

// Batch is the Keccak-256 of the payload, which confirmations name the packet
// by. It is computed at each call, because it takes as long as all else about a
// packet of duplicates, and most peers do not ask for it.
func (m Messages) Batch() transport.Hash { return layers.Keccak256(m.payload) }

// PoWRequirement says what the peer wants of envelopes from now on.
type PoWRequirement struct {
	PoW  float64
	size int
}

// BloomFilter says which topics the peer wants from now on.
type BloomFilter struct {
	Bloom Bloom
	size  int
}

// BatchAcknowledged confirms a packet of envelopes.
type BatchAcknowledged struct {
	Batch transport.Hash
	size  int
}

// Size implements overlay.Packet.
func (m Messages) Size() int { return len(m.payload) }

// Size implements overlay.Packet.
func (p PoWRequirement) Size() int { return p.size }

// Size implements overlay.Packet.
func (b BloomFilter) Size() int { return b.size }

// Size implements overlay.Packet.
func (b BatchAcknowledged) Size() int { return b.size }

// Code implements overlay.Lasting.
func (PoWRequirement) Code() uint64 { return codePoWRequirement }

// Code implements overlay.Lasting.
func (BloomFilter) Code() uint64 { return codeBloomFilter }

// Identity implements layers.Identified: the hashes of the envelopes, by which
// the trace finds the packet.
func (m Messages) Identity() []byte {
	b := make([]byte, 0, len(transport.Hash{})*len(m.Envelopes))
	for _, e := range m.Envelopes { // copies: whoever asks changes nothing
		h := e.hashed()
		b = append(b, h[:]...)
	}
	return b
}
