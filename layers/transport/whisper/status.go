package whisper

import (
	"bytes"
	"fmt"
	"math"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport/whisper/internal/rlpwrite"
)

// Status is the greeting of a node (EIP-627 §Status). Bloom is full if the node
// wants everything. RateLimits are per IP, peer and topic; nobody acts on them.
type Status struct {
	PoW           float64 // what the node wants of the envelopes sent to it
	Bloom         Bloom
	Light         bool
	Confirmations bool // the node acknowledges packets of envelopes
	RateLimits    [3]uint64

	size int
}

// Size implements overlay.Packet.
func (s Status) Size() int { return s.size }

// Code implements overlay.Lasting.
func (Status) Code() uint64 { return codeStatus }

// encode returns the status packet as statusd 0.40 writes it.
func (s Status) encode() overlay.Outgoing {
	c := rlp.AppendUint64(nil, version)
	c = rlp.AppendUint64(c, math.Float64bits(s.PoW))
	if s.Bloom.Full() {
		c = rlpwrite.String(c, nil) // the empty filter says "everything"
	} else {
		c = rlpwrite.String(c, s.Bloom[:])
	}
	c = rlpwrite.Bool(c, s.Light)
	c = rlpwrite.Bool(c, s.Confirmations)
	var limits []byte
	for _, l := range s.RateLimits {
		limits = rlp.AppendUint64(limits, l)
	}
	return overlay.Outgoing{Code: codeStatus, Payload: rlpwrite.List(nil, rlpwrite.List(c, limits))}
}

// decodeStatus reads a status packet as the deployed nodes do. Everything after
// the version may be missing, a field that cannot be read has its default and
// makes the next be tried at the same place, and what follows is ignored.
func decodeStatus(payload []byte) (Status, error) {
	st := Status{Bloom: FullBloom(), size: len(payload)}
	s := rlp.NewStream(bytes.NewReader(payload), uint64(len(payload)))
	if _, err := s.List(); err != nil {
		return st, fmt.Errorf("whisper: status: %w", err)
	}
	v, err := s.Uint64()
	if err != nil {
		return st, fmt.Errorf("whisper: status version: %w", err)
	}
	if v != version {
		return st, fmt.Errorf("whisper: status version: %d, want %d", v, version)
	}
	if raw, err := s.Uint64(); err == nil {
		if st.PoW, err = requirement(raw); err != nil {
			return st, fmt.Errorf("whisper: status pow: %w", err)
		}
		if bloom, err := s.Bytes(); err == nil {
			switch len(bloom) {
			case 0:
			case BloomSize:
				st.Bloom = Bloom(bloom)
			default:
				return st, fmt.Errorf("whisper: status bloom: %d bytes, want 0 or %d", len(bloom), BloomSize)
			}
		}
	}
	if light, err := s.Bool(); err == nil {
		st.Light = light
	}
	if confirms, err := s.Bool(); err == nil {
		st.Confirmations = confirms
	}
	var limits struct{ IP, Peer, Topic uint64 }
	if s.Decode(&limits) == nil {
		st.RateLimits = [3]uint64{limits.IP, limits.Peer, limits.Topic}
	}
	return st, nil
}

func requirement(raw uint64) (float64, error) {
	p := math.Float64frombits(raw)
	if math.IsNaN(p) || math.IsInf(p, 0) || p < 0 {
		return 0, fmt.Errorf("%v is no requirement", p)
	}
	return p, nil
}
