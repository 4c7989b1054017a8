package whisper

import (
	"encoding"
	"encoding/binary"
	"hash"
	"math"
	"math/bits"

	"github.com/cloudflare/circl/simd/keccakf1600"
	"golang.org/x/crypto/sha3"
)

// miner looks for the smallest nonce that gives a hash enough leading zero
// bits. What comes before the nonce is hashed once.
type miner struct {
	next uint64 // the first nonce not tried yet

	// Of the four-way method: the state after the whole blocks, with the rest of
	// the input and the padding in blocks of base, and where in it the nonce is.
	wide   bool
	base   [50]uint64 // the state, and after it the words of a second block
	blocks int
	word   int
	shift  int

	// Of the scalar method: the same as an encoded state of the hash.
	scalar hash.Hash
	state  []byte
}

// newMiner returns a miner for an input of which the nonce, 8 bytes big-endian,
// is the end.
func newMiner(input []byte, wide bool) *miner {
	m := &miner{wide: wide}
	if wide {
		m.prepareWide(input)
		return m
	}
	m.scalar = sha3.NewLegacyKeccak256()
	m.scalar.Write(input)
	state, err := m.scalar.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		panic("whisper: Keccak state cannot be saved: " + err.Error())
	}
	m.state = state
	return m
}

// clone returns a miner of the same input that shares nothing that changes.
func (m *miner) clone() *miner {
	c := *m
	if !m.wide {
		c.scalar = sha3.NewLegacyKeccak256()
	}
	return &c
}

func (m *miner) prepareWide(input []byte) {
	var perm keccakf1600.StateX4
	state := perm.Initialize(false)
	for len(input) >= rate {
		input = absorb(state, 0, input)
		perm.Permute()
	}
	for w := range 25 {
		m.base[w] = state[lanes*w]
	}

	// The tail is the rest of the input, the nonce (zero here) and the padding.
	var tail [2 * rate]byte
	n := copy(tail[:], input)
	m.word, m.shift = n/8, n%8*8
	n += 8
	tail[n] = padFirst
	m.blocks = 1 + n/rate
	tail[m.blocks*rate-1] |= 0x80
	for w := range rateWords {
		m.base[w] ^= binary.LittleEndian.Uint64(tail[8*w:])
		m.base[25+w] = binary.LittleEndian.Uint64(tail[rate+8*w:])
	}
}

// search tries the next effort nonces, about, and reports the smallest whose
// hash has at least zeros leading zero bits.
func (m *miner) search(zeros, effort int) (nonce uint64, found bool) {
	if m.wide {
		return m.searchWide(zeros, effort)
	}
	var (
		restore = m.scalar.(encoding.BinaryUnmarshaler)
		b       [8]byte
		sum     [32]byte
	)
	for range effort {
		if err := restore.UnmarshalBinary(m.state); err != nil {
			panic("whisper: Keccak state cannot be restored: " + err.Error())
		}
		binary.BigEndian.PutUint64(b[:], m.next)
		m.scalar.Write(b[:])
		m.next++
		if leadingZeros([32]byte(m.scalar.Sum(sum[:0]))) >= zeros {
			return m.next - 1, true
		}
	}
	return 0, false
}

func (m *miner) searchWide(zeros, effort int) (nonce uint64, found bool) {
	var perm keccakf1600.StateX4
	state := perm.Initialize(false)
	first, second := m.place(m.word), m.place(m.word+1)
	for range (effort + lanes - 1) / lanes {
		for w := range 25 {
			x := m.base[w]
			s := (*[lanes]uint64)(state[lanes*w:])
			s[0], s[1], s[2], s[3] = x, x, x, x
		}
		var low, high [lanes]uint64
		for l := range lanes {
			x := bits.ReverseBytes64(m.next + uint64(l))
			low[l] = x << m.shift
			high[l] = x >> (64 - m.shift) // zero for shift 0: Go shifts out all bits
		}
		m.xor(state, first, &low, 0)
		m.xor(state, second, &high, 0)
		perm.Permute()
		if m.blocks == 2 {
			for w := range rateWords {
				for l := range lanes {
					state[lanes*w+l] ^= m.base[25+w]
				}
			}
			m.xor(state, first, &low, 1)
			m.xor(state, second, &high, 1)
			perm.Permute()
		}
		for l := range lanes {
			if wideZeros(state, l) >= zeros {
				nonce = m.next + uint64(l)
				m.next = nonce + 1
				return nonce, true
			}
		}
		m.next += lanes
	}
	return 0, false
}

// place is where a word of the tail stands: its block and its place there.
type place struct{ block, word int }

func (m *miner) place(w int) place { return place{w / rateWords, w % rateWords} }

func (m *miner) xor(state []uint64, p place, x *[lanes]uint64, block int) {
	if p.block != block {
		return
	}
	for l := range lanes {
		state[lanes*p.word+l] ^= x[l]
	}
}

func wideZeros(state []uint64, lane int) int {
	if n := bits.LeadingZeros64(bits.ReverseBytes64(state[lane])); n < 64 {
		return n
	}
	return leadingZeros(laneHash(state, lane))
}

// zerosFor returns how many leading zero bits make a proof of work of at least
// pow for size bytes (without the nonce) and ttl seconds. It asks the formula
// of the checker, so that rounding cannot leave an envelope just below.
func zerosFor(pow float64, size int, ttl uint32) int {
	n := 0
	for n < 256 && math.Ldexp(1, n)/float64(size)/float64(ttl) < pow {
		n++
	}
	return n
}
