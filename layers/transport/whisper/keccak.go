package whisper

import (
	"encoding/binary"

	"github.com/cloudflare/circl/simd/keccakf1600"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
)

const (
	rate      = 136      // bytes that Keccak-256 takes in between permutations
	rateWords = rate / 8 // the same in words
	lanes     = 4        // states that are permuted at once
)

// Padding of Keccak before it became SHA-3: the bit after the message, and the
// last bit of the last block.
const (
	padFirst = 0x01
	padLast  = 0x80 << 56
)

// fourWay says whether this machine permutes four states in about the time of
// one and a half. It is constant.
var fourWay = keccakf1600.IsEnabledX4()

// hashOne returns the hash of one envelope.
func hashOne(raw []byte) transport.Hash { return layers.Keccak256(raw) }

// hashEach sets the hashes of envelopes.
func hashEach(envelopes []Envelope) {
	inputs := make([][]byte, len(envelopes))
	for i := range envelopes {
		inputs[i] = envelopes[i].raw
	}
	hashAll(inputs, fourWay, func(i int, h [32]byte) { envelopes[i].Hash = h })
}

// hashAll reports the Keccak-256 of each input, in any order. With wide set it
// works on four at a time.
func hashAll(inputs [][]byte, wide bool, report func(i int, hash [32]byte)) {
	if !wide || len(inputs) < 2 {
		for i, b := range inputs {
			report(i, layers.Keccak256(b))
		}
		return
	}
	var (
		perm  keccakf1600.StateX4
		state = perm.Initialize(false)
		job   [lanes]struct {
			input int
			rest  []byte
			busy  bool
		}
		next int
	)
	for {
		busy := false
		for l := range job {
			j := &job[l]
			if !j.busy && next < len(inputs) {
				j.input, j.rest, j.busy = next, inputs[next], true
				next++
				for w := l; w < len(state); w += lanes {
					state[w] = 0
				}
			}
			busy = busy || j.busy
		}
		if !busy {
			return
		}
		var last [lanes]bool
		for l := range job {
			if job[l].busy {
				last[l] = len(job[l].rest) < rate
				job[l].rest = absorb(state, l, job[l].rest)
			}
		}
		perm.Permute()
		for l := range job {
			if last[l] {
				report(job[l].input, laneHash(state, l))
				job[l].busy = false
			}
		}
	}
}

// absorb takes one block of b into a lane, with the padding if it is the last,
// and returns what is left of b.
func absorb(state []uint64, lane int, b []byte) []byte {
	if len(b) >= rate {
		for w := range rateWords {
			state[lanes*w+lane] ^= binary.LittleEndian.Uint64(b[8*w:])
		}
		return b[rate:]
	}
	w := 0
	for ; len(b) >= 8; w++ {
		state[lanes*w+lane] ^= binary.LittleEndian.Uint64(b)
		b = b[8:]
	}
	state[lanes*w+lane] ^= tailWord(b)
	state[lanes*(rateWords-1)+lane] ^= padLast
	return nil
}

// tailWord is a word of fewer than 8 bytes with the padding after them.
func tailWord(b []byte) uint64 {
	x := uint64(padFirst) << (8 * len(b))
	for i, c := range b {
		x |= uint64(c) << (8 * i)
	}
	return x
}

func laneHash(state []uint64, lane int) (h [32]byte) {
	for w := range 4 {
		binary.LittleEndian.PutUint64(h[8*w:], state[lanes*w+lane])
	}
	return h
}
