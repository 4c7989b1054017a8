package whisper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/internal/rlpwrite"
)

// nominalHeader is what Size counts for everything but the data, in bytes. The
// deployed nodes use the same constant for their size limit.
const nominalHeader = 20

// Envelope is one Whisper envelope (EIP-627 §Whisper Envelope). Data is shared
// with the buffer it was decoded from and must not be changed.
type Envelope struct {
	Hash   transport.Hash // keccak256 of the RLP; zero where nobody has needed it
	Expiry uint32         // unix seconds
	TTL    uint32         // seconds
	Topic  transport.Topic
	Data   []byte
	Nonce  uint64

	raw []byte // its RLP
}

// DecodeEnvelope reads one envelope and nothing after it. The RLP must be
// canonical: a list of five, the topic four bytes long.
func DecodeEnvelope(b []byte) (Envelope, error) {
	e, rest, err := parseEnvelope(b)
	if err != nil {
		return Envelope{}, err
	}
	if len(rest) > 0 {
		return Envelope{}, fmt.Errorf("whisper: envelope: %d bytes follow", len(rest))
	}
	e.Hash = layers.Keccak256(e.raw)
	return e, nil
}

// parseEnvelope reads the envelope at the beginning of b in place. It leaves
// the hash to the caller.
func parseEnvelope(b []byte) (e Envelope, rest []byte, err error) {
	content, rest, err := rlp.SplitList(b)
	if err != nil {
		return e, nil, fmt.Errorf("whisper: envelope: %w", err)
	}
	n := len(b) - len(rest)
	e.raw = b[:n:n]
	if e.Expiry, content, err = splitUint32(content); err != nil {
		return e, nil, fmt.Errorf("whisper: envelope expiry: %w", err)
	}
	if e.TTL, content, err = splitUint32(content); err != nil {
		return e, nil, fmt.Errorf("whisper: envelope ttl: %w", err)
	}
	topic, content, err := rlp.SplitString(content)
	if err != nil {
		return e, nil, fmt.Errorf("whisper: envelope topic: %w", err)
	}
	if len(topic) != len(e.Topic) {
		return e, nil, fmt.Errorf("whisper: envelope topic: %d bytes, want %d", len(topic), len(e.Topic))
	}
	e.Topic = transport.Topic(topic)
	if e.Data, content, err = rlp.SplitString(content); err != nil {
		return e, nil, fmt.Errorf("whisper: envelope data: %w", err)
	}
	e.Data = e.Data[:len(e.Data):len(e.Data)]
	if e.Nonce, content, err = rlp.SplitUint64(content); err != nil {
		return e, nil, fmt.Errorf("whisper: envelope nonce: %w", err)
	}
	if len(content) > 0 {
		return e, nil, errors.New("whisper: envelope: more than five items")
	}
	return e, rest, nil
}

func splitUint32(b []byte) (uint32, []byte, error) {
	x, rest, err := rlp.SplitUint64(b)
	if err == nil && x > math.MaxUint32 {
		err = errors.New("more than 32 bits")
	}
	return uint32(x), rest, err
}

// EncodeEnvelope returns the RLP of e. The hash is not looked at.
func EncodeEnvelope(e Envelope) []byte {
	fields := appendFields(nil, e.Expiry, e.TTL, e.Topic, e.Data)
	return sealFields(fields, e.Nonce)
}

// appendFields appends the RLP of all items but the nonce, without a header.
func appendFields(b []byte, expiry, ttl uint32, topic transport.Topic, data []byte) []byte {
	b = rlp.AppendUint64(b, uint64(expiry))
	b = rlp.AppendUint64(b, uint64(ttl))
	b = rlpwrite.String(b, topic[:])
	return rlpwrite.String(b, data)
}

// sealFields puts header and nonce around what appendFields made.
func sealFields(fields []byte, nonce uint64) []byte {
	size := len(fields) + rlp.IntSize(nonce)
	b := rlpwrite.ListHeader(make([]byte, 0, size+rlpwrite.MaxHeader), size)
	b = append(b, fields...)
	return rlp.AppendUint64(b, nonce)
}

// hashed returns the hash of what was decoded, and computes it if need be.
func (e *Envelope) hashed() transport.Hash {
	if e.Hash == (transport.Hash{}) {
		e.Hash = layers.Keccak256(e.raw)
	}
	return e.Hash
}

// Sent is when the sender says the envelope was sent, in unix seconds. It wraps
// if TTL is more than Expiry, as in the deployed nodes.
func (e *Envelope) Sent() uint32 { return e.Expiry - e.TTL }

// Size is the nominal size in bytes, which the size limit is about.
func (e *Envelope) Size() int { return nominalHeader + len(e.Data) }

// PoW is the proof of work of e per byte and second (EIP-627 §Proof of Work).
// Early is by how many seconds the TTL counts as longer because the envelope
// comes from the future; zero otherwise.
func (e *Envelope) PoW(early uint32) float64 {
	input, size := e.appendWork(nil)
	return powOf(layers.Keccak256(input), size, e.TTL+early)
}

// appendWork appends what the proof of work is the hash of: the list without
// its nonce, and the nonce in 8 bytes. It returns the length of the former.
func (e *Envelope) appendWork(b []byte) (_ []byte, size int) {
	start := len(b)
	if e.raw == nil {
		fields := appendFields(nil, e.Expiry, e.TTL, e.Topic, e.Data)
		b = append(rlpwrite.ListHeader(b, len(fields)), fields...)
	} else {
		content, _, _ := rlp.SplitList(e.raw) // was checked when it was read
		content = content[:len(content)-rlp.IntSize(e.Nonce)]
		b = append(rlpwrite.ListHeader(b, len(content)), content...)
	}
	size = len(b) - start
	return binary.BigEndian.AppendUint64(b, e.Nonce), size
}

// powOf computes in the same order as the deployed nodes do, so that the last
// bit of the result is the same.
func powOf(hash [32]byte, size int, ttl uint32) float64 {
	return math.Ldexp(1, leadingZeros(hash)) / float64(size) / float64(ttl)
}

func leadingZeros(hash [32]byte) int {
	for i := 0; i < len(hash); i += 8 {
		if w := binary.BigEndian.Uint64(hash[i:]); w != 0 {
			return 8*i + bits.LeadingZeros64(w)
		}
	}
	return 8 * len(hash)
}
