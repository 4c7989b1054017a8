package mail

import (
	"time"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/internal/rlpwrite"
)

const (
	// margin is what is left free in a packet of several envelopes, in bytes: for
	// the headers of lists, and a cursor in packet 124.
	margin = 128

	// peerLimit is the longest payload that every peer takes, in bytes: it ends
	// the link over a longer one.
	peerLimit = 1 << 20
)

// sealed is an envelope as it goes out.
type sealed struct {
	raw  []byte
	hash transport.Hash
}

// rawOf returns the RLP of an envelope. One that came by another transport has
// none, and gets one without a proof of work: packet 127 needs none.
func rawOf(e transport.Envelope) sealed {
	if len(e.Raw) > 0 {
		return sealed{e.Raw, e.Hash}
	}
	ttl := uint32(min(max(e.TTL/time.Second, 1), 1<<31))
	b := appendUint(nil, seconds(e.Sent)+ttl)
	b = rlpwrite.String(appendUint(b, ttl), e.Topic[:])
	b = rlp.AppendUint64(rlpwrite.String(b, e.Data), 0)
	raw := rlpwrite.List(make([]byte, 0, len(b)+rlpwrite.MaxHeader), b)
	return sealed{raw, layers.Keccak256(raw)}
}

// limits returns how long a packet may be that holds several envelopes, and one
// that holds a single one. The latter is what the network takes anyhow, so that
// what was admitted can also be fetched.
func (s Settings) limits() (several, single int) {
	return min(s.Bundle, s.MaxMessage, peerLimit) - margin, s.MaxMessage - margin
}

// split divides envelopes into groups that fit a packet each, and leaves out
// what fits none. With alone set each is a group.
func (s Settings) split(envelopes []transport.Envelope, alone bool) [][]sealed {
	several, single := s.limits()
	var (
		groups [][]sealed
		size   int
	)
	for _, e := range envelopes {
		x := rawOf(e)
		if len(x.raw) > single {
			continue
		}
		if alone || len(groups) == 0 || size+len(x.raw) > several {
			groups = append(groups, nil)
			size = 0
		}
		last := &groups[len(groups)-1]
		*last = append(*last, x)
		size += len(x.raw)
	}
	return groups
}

// delivery makes packet 127 of a group: a list of envelopes, or a bare one. geth
// ends the link over a list.
func delivery(group []sealed) overlay.Outgoing {
	if len(group) == 1 {
		return overlay.Outgoing{Code: CodeDelivery, Payload: group[0].raw}
	}
	return overlay.Outgoing{Code: CodeDelivery, Payload: listOf(group)}
}

func listOf(group []sealed) []byte {
	size := 0
	for _, x := range group {
		size += len(x.raw)
	}
	b := rlpwrite.ListHeader(make([]byte, 0, size+rlpwrite.MaxHeader), size)
	for _, x := range group {
		b = append(b, x.raw...)
	}
	return b
}

// syncPart makes packet 124.
func syncPart(group []sealed, cursor []byte, final bool, reason string) overlay.Outgoing {
	b := rlpwrite.String(listOf(group), cursor)
	b = rlpwrite.String(rlpwrite.Bool(b, final), []byte(reason))
	return overlay.Outgoing{Code: CodeSyncResponse, Payload: rlpwrite.List(make([]byte, 0, len(b)+rlpwrite.MaxHeader), b)}
}
