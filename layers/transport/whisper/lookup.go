package whisper

import (
	"bytes"
	"encoding/binary"

	"github.com/stratanode/strata/layers/transport"
)

// lookup finds pooled envelopes by their RLP. Most of what a relay is sent it has
// already, from other peers, and comparing it with what is pooled takes a tenth
// of hashing it. So envelopes are found by a trait that costs nothing. Who makes
// others with the same trait gains nothing: those are found by their hashes.
type lookup struct {
	first map[uint64]*entry         // by trait
	rest  map[transport.Hash]*entry // those whose trait another one has or had
}

// The trait of an envelope is made of its length and of these many bytes of its
// beginning and end. That is expiry, topic, a part of the data, and the nonce.
const traitHead, traitTail = 40, 24

func trait(raw []byte) uint64 {
	var b [traitHead + traitTail]byte
	copy(b[:traitHead], raw)
	copy(b[traitHead:], raw[max(0, len(raw)-traitTail):])
	h := uint64(len(raw))
	for i := 0; i < len(b); i += 8 {
		h = (h ^ binary.LittleEndian.Uint64(b[i:])) * 0x9e3779b97f4a7c15
		h ^= h >> 29
	}
	return h
}

// find returns the pooled envelope that e is a copy of, or nil.
func (l *lookup) find(b *blocks, e *Envelope) *entry {
	x := l.first[trait(e.raw)]
	if x != nil && bytes.Equal(b.raw(x.spot), e.raw) {
		return x
	}
	if len(l.rest) == 0 {
		return nil
	}
	return l.rest[e.hashed()]
}

// put adds what is not there.
func (l *lookup) put(x *entry, raw []byte) {
	t := trait(raw)
	if l.first[t] == nil {
		l.first[t] = x
		return
	}
	if l.rest == nil {
		l.rest = map[transport.Hash]*entry{}
	}
	l.rest[x.hash] = x
}

func (l *lookup) drop(x *entry, raw []byte) {
	if t := trait(raw); l.first[t] == x {
		delete(l.first, t)
	} else {
		delete(l.rest, x.hash)
	}
}

func (l *lookup) len() int { return len(l.first) + len(l.rest) }
