package whisper

import (
	"fmt"
	"math"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/internal/rlpwrite"
)

// Packet codes (EIP-627 §Packet Codes; 11 and 12 are an extension of Status).
const (
	codeStatus         = 0
	codeMessages       = 1
	codePoWRequirement = 2
	codeBloomFilter    = 3
	codeAcknowledged   = 11
	codeResponse       = 12
)

const (
	version         = 6 // of the protocol, in the status packet
	responseVersion = 1 // of the message response

	// maxEnvelopes bounds the envelopes in one packet. The honest need at least
	// 60 bytes each, so that a packet of 1 MiB has fewer.
	maxEnvelopes = 1 << 15

	// maxRefusals bounds the entries of a message response, at about 100 bytes
	// each, to what fits the default packet limit of every peer.
	maxRefusals = 4096
)

// parseMessages reads a packet of envelopes in place. Hashes are left to the
// caller.
func parseMessages(payload []byte) ([]Envelope, error) {
	list, rest, err := rlp.SplitList(payload)
	if err != nil {
		return nil, fmt.Errorf("whisper: messages: %w", err)
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("whisper: messages: %d bytes follow", len(rest))
	}
	n, err := rlp.CountValues(list)
	if err != nil {
		return nil, fmt.Errorf("whisper: messages: %w", err)
	}
	if n > maxEnvelopes {
		return nil, fmt.Errorf("whisper: messages: %d envelopes, more than %d", n, maxEnvelopes)
	}
	envelopes := make([]Envelope, n)
	for i := range envelopes {
		if envelopes[i], list, err = parseEnvelope(list); err != nil {
			return nil, err
		}
	}
	return envelopes, nil
}

func encodePoW(pow float64) overlay.Outgoing {
	return overlay.Outgoing{Code: codePoWRequirement, Payload: rlp.AppendUint64(nil, math.Float64bits(pow))}
}

func decodePoW(payload []byte) (PoWRequirement, error) {
	raw, _, err := rlp.SplitUint64(payload)
	if err != nil {
		return PoWRequirement{}, fmt.Errorf("whisper: pow requirement: %w", err)
	}
	pow, err := requirement(raw)
	if err != nil {
		return PoWRequirement{}, fmt.Errorf("whisper: pow requirement: %w", err)
	}
	return PoWRequirement{PoW: pow, size: len(payload)}, nil
}

func encodeBloom(b Bloom) overlay.Outgoing {
	return overlay.Outgoing{Code: codeBloomFilter, Payload: rlpwrite.String(nil, b[:])}
}

func decodeBloom(payload []byte) (BloomFilter, error) {
	b, _, err := rlp.SplitString(payload)
	if err != nil {
		return BloomFilter{}, fmt.Errorf("whisper: bloom filter: %w", err)
	}
	if len(b) != BloomSize {
		return BloomFilter{}, fmt.Errorf("whisper: bloom filter: %d bytes, want %d", len(b), BloomSize)
	}
	return BloomFilter{Bloom: Bloom(b), size: len(payload)}, nil
}

func encodeAcknowledged(batch transport.Hash) overlay.Outgoing {
	return overlay.Outgoing{Code: codeAcknowledged, Payload: rlpwrite.String(nil, batch[:])}
}

func decodeAcknowledged(payload []byte) (BatchAcknowledged, error) {
	batch, _, err := splitHash(payload)
	if err != nil {
		return BatchAcknowledged{}, fmt.Errorf("whisper: batch acknowledged: %w", err)
	}
	return BatchAcknowledged{Batch: batch, size: len(payload)}, nil
}

func splitHash(b []byte) (h transport.Hash, rest []byte, err error) {
	s, rest, err := rlp.SplitString(b)
	if err == nil && len(s) != len(h) {
		err = fmt.Errorf("%d bytes, want %d", len(s), len(h))
	}
	if err != nil {
		return h, nil, err
	}
	return transport.Hash(s), rest, nil
}
