package whisper

import (
	"math"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/internal/rlpwrite"
)

// Draft is an envelope that has no nonce yet.
type Draft struct {
	Expiry uint32 // unix seconds
	TTL    uint32 // seconds
	Topic  transport.Topic
	Data   []byte
}

// Search looks for the nonce of an envelope (EIP-627 §Proof of Work), for those
// who make envelopes of their own: an API, a measurement. It has no clock and
// never waits; who calls it decides for how long, and on how many cores with
// Clone.
type Search struct {
	fields []byte // RLP of the items before the nonce
	zeros  int
	miner  *miner
}

// NewSearch returns a search for a proof of work of at least pow, measured as
// those who receive the envelope measure it. Below or at zero every nonce will do.
func NewSearch(d Draft, pow float64) *Search {
	fields := appendFields(make([]byte, 0, len(d.Data)+envelopeOverhead), d.Expiry, d.TTL, d.Topic, d.Data)
	short := rlpwrite.List(nil, fields)
	return &Search{
		fields: fields,
		zeros:  zerosFor(pow, len(short), d.TTL),
		miner:  newMiner(short, fourWay),
	}
}

// Clone returns a copy for another goroutine.
func (s *Search) Clone() *Search {
	c := *s
	c.miner = s.miner.clone()
	return &c
}

// Zeros is how many leading zero bits the hash of the envelope must have; 256
// cannot be reached.
func (s *Search) Zeros() int { return s.zeros }

// Try looks through count nonces from the first one on, and returns the smallest
// that will do. One nonce takes about a microsecond, so that a count of some
// thousands makes a search that can be stopped.
func (s *Search) Try(from, count uint64) (nonce uint64, found bool) {
	return s.reach(s.zeros, from, count)
}

// TryBest looks through count nonces from the first one on, and returns that
// with the most leading zero bits, the smallest of those. The count must not be
// zero.
func (s *Search) TryBest(from, count uint64) (nonce uint64, zeros int) {
	best, zeros := from, -1
	for next := from; next-from < count; {
		n, found := s.reach(zeros+1, next, count-(next-from))
		if !found {
			break
		}
		best, zeros, next = n, leadingZeros(s.work(n)), n+1
		if next == from {
			break // all there are
		}
	}
	return best, zeros
}

func (s *Search) reach(zeros int, from, count uint64) (nonce uint64, found bool) {
	for done := uint64(0); done < count; {
		part := min(count-done, math.MaxInt32)
		s.miner.next = from + done
		nonce, found = s.miner.search(zeros, int(part))
		if found {
			return nonce, nonce-from < count // four are tried at a time
		}
		done += part
	}
	return 0, false
}

// work is the hash that a nonce is judged by.
func (s *Search) work(nonce uint64) [32]byte {
	e := Envelope{raw: sealFields(s.fields, nonce), Nonce: nonce}
	input, _ := e.appendWork(nil)
	return layers.Keccak256(input)
}

// Seal returns the envelope with the nonce, and its hash.
func (s *Search) Seal(nonce uint64) (raw []byte, hash transport.Hash) {
	raw = sealFields(s.fields, nonce)
	return raw, layers.Keccak256(raw)
}

// PoW is the proof of work that the envelope has with the nonce. It is +Inf with
// a TTL of zero, which relays refuse.
func (s *Search) PoW(nonce uint64) float64 {
	e, _, err := parseEnvelope(sealFields(s.fields, nonce))
	if err != nil {
		panic("whisper: own envelope: " + err.Error())
	}
	return e.PoW(0)
}
