package layers

import (
	"bytes"
	"errors"
	"math/big"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"
)

// Hashes that give no key cannot be met in practice, so they are made up here.

func hashOf(left *big.Int) (h [64]byte) {
	left.FillBytes(h[:32])
	h[63] = 7
	return h
}

func TestSeedWithoutMasterKeyIsRefused(t *testing.T) {
	order := crypto.S256().Params().N
	for _, left := range []*big.Int{big.NewInt(0), order, new(big.Int).Add(order, big.NewInt(1))} {
		if k, err := masterKey(hashOf(left)); !errors.Is(err, ErrSeed) {
			t.Errorf("left half %x: got %v and error %v, want ErrSeed", left, k.key, err)
		}
	}
}

func TestChildThatDoesNotExistIsRefused(t *testing.T) {
	order := crypto.S256().Params().N
	parent, err := masterKey(hashOf(big.NewInt(5)))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		left *big.Int
		want int64 // zero: no child
	}{
		{"the order", order, 0},
		{"beyond the order", new(big.Int).Add(order, big.NewInt(1)), 0},
		{"sum of zero", new(big.Int).Sub(order, big.NewInt(5)), 0},
		{"sum of one", new(big.Int).Sub(order, big.NewInt(4)), 1},
		{"zero added", big.NewInt(0), 5},
		{"sum", big.NewInt(2), 7},
	} {
		child, err := parent.add(hashOf(tt.left))
		if tt.want == 0 {
			if err == nil {
				t.Errorf("%s: got %v, want an error", tt.name, child.key)
			}
			continue
		}
		want := big.NewInt(tt.want).FillBytes(make([]byte, 32))
		if err != nil || !bytes.Equal(child.key.Secret(), want) || child.chain[31] != 7 {
			t.Errorf("%s: got %x and error %v, want %x", tt.name, child.key.Secret(), err, want)
		}
	}
}
