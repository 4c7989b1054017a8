package whisper

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/stratanode/strata/layers"
)

// naive looks for a nonce without any of the shortcuts.
func naive(input []byte, from uint64, zeros int) uint64 {
	b := append(bytes.Clone(input), make([]byte, 8)...)
	for nonce := from; ; nonce++ {
		binary.BigEndian.PutUint64(b[len(input):], nonce)
		if leadingZeros(layers.Keccak256(b)) >= zeros {
			return nonce
		}
	}
}

func TestMinersFindTheSmallestNonceAtEveryLength(t *testing.T) {
	// All tails of a block, and with them inputs whose end takes two.
	for size := range 3*rate + 1 {
		input := bytes.Repeat([]byte{byte(size)}, size)
		want := naive(input, 0, 6)
		for _, wide := range []bool{false, true} {
			if got, found := newMiner(input, wide).search(6, 1<<16); !found || got != want {
				t.Errorf("%d bytes, four-way %v: nonce %d (%v), want %d", size, wide, got, found, want)
			}
		}
	}
}

func TestMinerGoesOnWhereItStopped(t *testing.T) {
	for _, wide := range []bool{false, true} {
		input := []byte("input")
		want := naive(input, 0, 12)
		m, steps := newMiner(input, wide), 1
		got, found := m.search(12, 64)
		for ; !found; steps++ {
			got, found = m.search(12, 64)
		}
		if got != want || steps < 2 {
			t.Errorf("four-way %v: nonce %d after %d steps, want %d", wide, got, steps, want)
		}
		if again, _ := m.search(12, 1<<20); again != naive(input, want+1, 12) {
			t.Errorf("four-way %v: next nonce %d", wide, again)
		}
	}
}

func TestLanesHashAsOneByOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		inputs := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), -1, 3*rate), 0, 12).Draw(t, "inputs")
		for _, wide := range []bool{false, true} {
			seen := 0
			hashAll(inputs, wide, func(i int, h [32]byte) {
				seen++
				if want := layers.Keccak256(inputs[i]); h != want {
					t.Errorf("four-way %v, input %d: %x, want %x", wide, i, h, want)
				}
			})
			if seen != len(inputs) {
				t.Errorf("four-way %v: %d hashes, want %d", wide, seen, len(inputs))
			}
		}
	})
}

func TestLanesHashAtTheBoundsOfABlock(t *testing.T) {
	var inputs [][]byte
	for _, size := range []int{0, 1, 7, 8, 127, 128, 134, 135, 136, 137, 271, 272, 273, 10_000} {
		inputs = append(inputs, bytes.Repeat([]byte{0xa5}, size))
	}
	hashAll(inputs, true, func(i int, h [32]byte) {
		if want := layers.Keccak256(inputs[i]); h != want {
			t.Errorf("%d bytes: %x, want %x", len(inputs[i]), h, want)
		}
	})
}

func TestZerosForIsTheLeastThatSuffices(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pow := rapid.Float64Range(0, 0.002).Draw(t, "pow")
		size := rapid.IntRange(13, 1<<20).Draw(t, "size")
		ttl := rapid.Uint32Range(1, 48*3600).Draw(t, "ttl")
		worth := func(zeros int) float64 {
			var h [32]byte
			h[zeros/8] = 0x80 >> (zeros % 8)
			return powOf(h, size, ttl)
		}
		n := zerosFor(pow, size, ttl)
		if worth(n) < pow || n > 0 && worth(n-1) >= pow {
			t.Errorf("%d zeros for %v: %v, one less %v", n, pow, worth(n), worth(max(0, n-1)))
		}
	})
	if got := zerosFor(0, 100, 100); got != 0 {
		t.Errorf("%d zeros for nothing", got)
	}
	if got := zerosFor(math.Inf(1), 100, 100); got != 256 {
		t.Errorf("%d zeros for the impossible", got)
	}
}
