package mail

import (
	"errors"
	"fmt"
	"math"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/layers/transport"
)

// Packet codes (Status 4/WHISPER-MAILSERVER; 123 and 124 are of the fork alone).
const (
	CodeSyncRequest  = 123
	CodeSyncResponse = 124
	CodeComplete     = 125
	CodeRequest      = 126
	CodeDelivery     = 127
)

const (
	bloomSize  = 64 // bytes of a bloom filter (EIP-627 §Bloom filter)
	cursorSize = 36 // bytes of a cursor: time sent and hash

	// maxTopics bounds the topics of a request, which are 5 bytes each: more of
	// them fill a bloom anyway.
	maxTopics = 1024

	// topicLen is the length of an encoded topic in bytes.
	topicLen = 5
)

var errFollows = errors.New("more items than there should be")

// reader takes the items of a list one by one. After the first fault it yields
// zeros and keeps the fault.
type reader struct {
	rest []byte
	err  error
}

// readList begins to read the list at the beginning of b. What follows it is
// ignored, as the deployed nodes do with the payload of a packet.
func readList(b []byte) reader {
	content, _, err := rlp.SplitList(b)
	return reader{content, err}
}

func (r *reader) fault(field string, err error) {
	if r.err == nil && err != nil {
		r.err = fmt.Errorf("%s: %w", field, err)
	}
	if r.err != nil {
		r.rest = nil
	}
}

func (r *reader) uint32(field string) uint32 {
	x, rest, err := rlp.SplitUint64(r.rest)
	if err == nil && x > math.MaxUint32 {
		err = errors.New("more than 32 bits")
	}
	r.rest = rest
	if r.fault(field, err); r.err != nil {
		return 0
	}
	return uint32(x)
}

func (r *reader) bool(field string) bool {
	x, rest, err := rlp.SplitUint64(r.rest)
	if err == nil && x > 1 {
		err = fmt.Errorf("%d is no truth value", x)
	}
	r.rest = rest
	r.fault(field, err)
	return r.err == nil && x == 1
}

// bytes returns a string in place. An empty one is nil.
func (r *reader) bytes(field string) []byte {
	s, rest, err := rlp.SplitString(r.rest)
	r.rest = rest
	if r.fault(field, err); r.err != nil || len(s) == 0 {
		return nil
	}
	return s[:len(s):len(s)]
}

func (r *reader) topics(field string) []transport.Topic {
	list, rest, err := rlp.SplitList(r.rest)
	r.rest = rest
	if r.fault(field, err); r.err != nil {
		return nil
	}
	n, err := rlp.CountValues(list)
	if err == nil && n > maxTopics {
		err = fmt.Errorf("%d, more than %d", n, maxTopics)
	}
	if r.fault(field, err); r.err != nil || n == 0 {
		return nil
	}
	topics := make([]transport.Topic, n)
	items := reader{rest: list}
	for i := range topics {
		s := items.bytes("topic")
		if items.err == nil && len(s) != len(topics[i]) {
			items.err = fmt.Errorf("topic: %d bytes, want %d", len(s), len(topics[i]))
		}
		if r.fault(field, items.err); r.err != nil {
			return nil
		}
		topics[i] = transport.Topic(s)
	}
	return topics
}

// end returns the first fault, or that the list goes on.
func (r *reader) end() error {
	if r.err == nil && len(r.rest) > 0 {
		r.err = errFollows
	}
	return r.err
}

func appendUint(b []byte, x uint32) []byte { return rlp.AppendUint64(b, uint64(x)) }
