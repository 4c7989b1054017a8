package rawpeer

import (
	"encoding/binary"
	"math"
	"math/bits"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rlp"
)

// Envelope is an envelope as EIP-627 lays it out.
type Envelope struct {
	Expiry uint32
	TTL    uint32 // seconds
	Topic  [4]byte
	Data   []byte
	Nonce  uint64
}

// NewEnvelope returns an envelope that is sent now, without proof of work.
func NewEnvelope(topic [4]byte, data []byte, ttl uint32) Envelope {
	return Envelope{Expiry: uint32(time.Now().Unix()) + ttl, TTL: ttl, Topic: topic, Data: data}
}

// Mine sets the smallest nonce that gives at least pow (EIP-627 §PoW).
func (e *Envelope) Mine(pow float64) {
	short := encode([]any{e.Expiry, e.TTL, e.Topic, e.Data})
	input := append(short, make([]byte, 8)...)
	for e.Nonce = 0; ; e.Nonce++ {
		binary.BigEndian.PutUint64(input[len(short):], e.Nonce)
		if math.Ldexp(1, zeros(crypto.Keccak256(input)))/float64(len(short))/float64(e.TTL) >= pow {
			return
		}
	}
}

func zeros(hash []byte) (n int) {
	for _, b := range hash {
		if b != 0 {
			return n + bits.LeadingZeros8(b)
		}
		n += 8
	}
	return n
}

// Raw returns the envelope as it stands in packets.
func (e Envelope) Raw() []byte { return encode(e) }

// Hash is the identity of the envelope.
func (e Envelope) Hash() common.Hash { return crypto.Keccak256Hash(e.Raw()) }

// Sent is when the envelope says it was sent.
func (e Envelope) Sent() uint32 { return e.Expiry - e.TTL }

// List returns the payload of a packet that holds these envelopes.
func List(raws ...[]byte) []byte {
	items := make([]rlp.RawValue, len(raws))
	for i, raw := range raws {
		items[i] = raw
	}
	return encode(items)
}

// Envelopes reads a list of envelopes.
func Envelopes(payload []byte) (list []Envelope, err error) {
	return list, rlp.DecodeBytes(payload, &list)
}

// StatusOf returns a status packet as status-im/whisper v1.6.2 writes it. A nil
// bloom wants everything.
func StatusOf(pow float64, bloom []byte, confirms bool) []byte {
	return encode([]any{uint64(6), math.Float64bits(pow), bloom, false, confirms})
}

// BloomOf returns a filter with the bits of these topics.
func BloomOf(topics ...[4]byte) []byte {
	b := make([]byte, 64)
	for _, t := range topics {
		for j := range 3 {
			i := int(t[j])
			if t[3]&(1<<j) != 0 {
				i += 256
			}
			b[i/8] |= 1 << (i % 8)
		}
	}
	return b
}

// encode is for values that RLP surely has a form for.
func encode(v any) []byte {
	b, err := rlp.EncodeToBytes(v)
	if err != nil {
		panic(err)
	}
	return b
}
