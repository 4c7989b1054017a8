package rlpwrite

import (
	"bytes"
	"testing"

	"github.com/ethereum/go-ethereum/rlp"
)

// reference encodes with go-ethereum.
func reference(t *testing.T, v any) []byte {
	t.Helper()
	b, err := rlp.EncodeToBytes(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var sizes = []int{0, 1, 2, 54, 55, 56, 57, 255, 256, 257, 65535, 65536, 1 << 20}

func TestStringsAndListsOfEverySizeAreThoseOfGoEthereum(t *testing.T) {
	prefix := []byte("before")
	for _, size := range sizes {
		for _, fill := range []byte{0, 1, 0x7f, 0x80, 0xff} {
			s := bytes.Repeat([]byte{fill}, size)
			if got, want := String(bytes.Clone(prefix), s), append(bytes.Clone(prefix), reference(t, s)...); !bytes.Equal(got, want) {
				t.Errorf("string of %d times %x: %.20x, want %.20x", size, fill, got, want)
			}
		}
		items := make([]rlp.RawValue, size)
		for i := range items {
			items[i] = rlp.RawValue{byte(i % 0x80)}
		}
		content := bytes.Join(func() (all [][]byte) {
			for _, x := range items {
				all = append(all, x)
			}
			return all
		}(), nil)
		want := append(bytes.Clone(prefix), reference(t, items)...)
		if got := List(bytes.Clone(prefix), content); !bytes.Equal(got, want) {
			t.Errorf("list of %d bytes: %.20x, want %.20x", size, got, want)
		}
		head := ListHeader(nil, size)
		if got := append(bytes.Clone(head), content...); !bytes.Equal(got, want[len(prefix):]) || len(head) > MaxHeader {
			t.Errorf("header of a list of %d bytes: %x", size, head)
		}
	}
}

func TestTruthValuesAreThoseOfGoEthereum(t *testing.T) {
	for _, v := range []bool{false, true} {
		if got, want := Bool(nil, v), reference(t, v); !bytes.Equal(got, want) {
			t.Errorf("%v: %x, want %x", v, got, want)
		}
	}
}

func TestLongestHeaderFitsItsConstant(t *testing.T) {
	if n := len(ListHeader(nil, int(^uint(0)>>1))); n != MaxHeader {
		t.Errorf("%d bytes, want %d", n, MaxHeader)
	}
}

func FuzzString(f *testing.F) {
	f.Add([]byte{0x7f})
	f.Add(make([]byte, 56))
	f.Fuzz(func(t *testing.T, s []byte) {
		got, rest, err := rlp.SplitString(String(nil, s))
		if err != nil || len(rest) > 0 || !bytes.Equal(got, s) {
			t.Errorf("%x comes back as %x and %x (error %v)", s, got, rest, err)
		}
	})
}
