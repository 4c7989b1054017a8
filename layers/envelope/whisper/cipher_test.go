package whisper_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"math/big"
	"slices"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/crypto/ecies"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/envelope/whisper"
)

// poison returns data sealed to a key with a valid MAC over any body, which
// begins with the iv if it is long enough.
func poison(t testing.TB, to layers.PublicKey, body []byte) []byte {
	t.Helper()
	ephemeral := mustKey(5)
	shared, err := ephemeral.Shared(to)
	if err != nil {
		t.Fatal(err)
	}
	k := sha256.Sum256(append([]byte{0, 0, 0, 1}, shared[:]...))
	authentication := sha256.Sum256(k[16:])
	mac := hmac.New(sha256.New, authentication[:])
	mac.Write(body)
	point := ephemeral.Public()
	return mac.Sum(slices.Concat(point[:], body))
}

func TestShortBodyUnderAValidMACIsRefused(t *testing.T) {
	for n := range 17 { // 16: an iv and an empty plaintext
		if _, err := whisper.OpenAsymmetric(self, poison(t, self.Public(), make([]byte, n))); !errors.Is(err, whisper.ErrNotOpened) {
			t.Errorf("body of %d bytes: error %v, want ErrNotOpened", n, err)
		}
	}
	got, err := whisper.OpenAsymmetric(self, poison(t, self.Public(), make([]byte, 17)))
	if err != nil || len(got) != 1 {
		t.Errorf("body of 17 bytes: got %x and error %v, want one byte", got, err)
	}
}

func TestEphemeralKeyOffTheCurveIsRefused(t *testing.T) {
	good := poison(t, self.Public(), make([]byte, 40))
	if _, err := whisper.OpenAsymmetric(self, good); err != nil {
		t.Fatal(err)
	}
	p := crypto.S256().Params().P.Bytes()
	for _, tt := range []struct {
		name   string
		change func(b []byte)
	}{
		{"point of no curve", func(b []byte) { b[64] ^= 1 }},
		{"point at infinity", func(b []byte) { clear(b[1:65]) }},
		{"point of another curve", func(b []byte) { clear(b[1:65]); b[32], b[64] = 1, 1 }}, // y² = x³ + 0
		{"x beyond the field", func(b []byte) { copy(b[1:33], p) }},
		{"y beyond the field", func(b []byte) { copy(b[33:65], p) }},
		{"compressed, even", func(b []byte) { b[0] = 2 }},
		{"compressed, odd", func(b []byte) { b[0] = 3 }},
		{"hybrid", func(b []byte) { b[0] = 6 + b[64]&1 }},
		{"zero", func(b []byte) { b[0] = 0 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bad := slices.Clone(good)
			tt.change(bad)
			if got, err := whisper.OpenAsymmetric(self, bad); !errors.Is(err, whisper.ErrNotOpened) {
				t.Errorf("got %x and error %v, want ErrNotOpened", got, err)
			}
		})
	}
}

func TestNoKeySealsAndNoKeyOpens(t *testing.T) {
	offCurve := self.Public()
	offCurve[64] ^= 1
	symmetric := func(_ []byte, err error) error { return err }
	for _, tt := range []struct {
		name string
		err  error
	}{
		{"seal, zero symmetric", symmetric(whisper.SealSymmetric(envelope.SymKey{}, [12]byte{1}, []byte{1}))},
		{"open, zero symmetric", symmetric(whisper.OpenSymmetric(envelope.SymKey{}, make([]byte, 60)))},
		{"seal, nobody", symmetric(whisper.SealAsymmetric(layers.PublicKey{}, other, [16]byte{}, []byte{1}))},
		{"seal, off the curve", symmetric(whisper.SealAsymmetric(offCurve, other, [16]byte{}, []byte{1}))},
		{"seal, no ephemeral key", symmetric(whisper.SealAsymmetric(self.Public(), layers.PrivateKey{}, [16]byte{}, []byte{1}))},
		{"open, no private key", symmetric(whisper.OpenAsymmetric(layers.PrivateKey{}, make([]byte, 200)))},
	} {
		if !errors.Is(tt.err, whisper.ErrKey) {
			t.Errorf("%s: error %v, want ErrKey", tt.name, tt.err)
		}
	}
}

func TestEveryFlippedBitIsNoticed(t *testing.T) {
	plaintext := []byte("forty-two")
	sym, err := whisper.SealSymmetric(keyA, [12]byte{1}, plaintext)
	if err != nil {
		t.Fatal(err)
	}
	asym, err := whisper.SealAsymmetric(self.Public(), other, [16]byte{2}, plaintext)
	if err != nil {
		t.Fatal(err)
	}
	open := map[string]struct {
		data []byte
		open func([]byte) ([]byte, error)
	}{
		"symmetric":  {sym, func(b []byte) ([]byte, error) { return whisper.OpenSymmetric(keyA, b) }},
		"asymmetric": {asym, func(b []byte) ([]byte, error) { return whisper.OpenAsymmetric(self, b) }},
	}
	for name, o := range open {
		if got, err := o.open(o.data); err != nil || !bytes.Equal(got, plaintext) {
			t.Fatalf("%s: got %q and error %v", name, got, err)
		}
		for i := range o.data {
			bad := slices.Clone(o.data)
			bad[i] ^= 1 << (i % 8)
			if _, err := o.open(bad); !errors.Is(err, whisper.ErrNotOpened) {
				t.Errorf("%s: byte %d: error %v, want ErrNotOpened", name, i, err)
			}
			if _, err := o.open(o.data[:i]); !errors.Is(err, whisper.ErrNotOpened) {
				t.Errorf("%s: cut to %d bytes: error %v, want ErrNotOpened", name, i, err)
			}
		}
	}
}

// The library that every node of the network once used is the other party.
func TestAsymmetricFormIsTheOneOfTheLibrary(t *testing.T) {
	for _, size := range []int{1, 15, 16, 17, 256, 4096} {
		plaintext := bytes.Repeat([]byte{7}, size)
		ours, err := whisper.SealAsymmetric(self.Public(), mustKey(byte(size)), [16]byte{3}, plaintext)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ecies.ImportECDSA(self.ECDSA()).Decrypt(ours, nil, nil); err != nil || !bytes.Equal(got, plaintext) {
			t.Errorf("%d bytes: the library reads %x, error %v", size, got, err)
		}
		theirs, err := ecies.Encrypt(rand.Reader, ecies.ImportECDSAPublic(self.Public().ECDSA()), plaintext, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := whisper.OpenAsymmetric(self, theirs); err != nil || !bytes.Equal(got, plaintext) {
			t.Errorf("%d bytes: we read %x, error %v", size, got, err)
		}
	}
}

// A shared X coordinate that begins with a zero byte must keep it.
func TestSharedSecretKeepsItsLeadingZeros(t *testing.T) {
	to := self
	var ephemeral layers.PrivateKey
	for i := int64(1); ; i++ {
		k, err := layers.ParsePrivateKey(big.NewInt(i).FillBytes(make([]byte, 32)))
		if err != nil {
			t.Fatal(err)
		}
		if x, err := k.Shared(to.Public()); err != nil {
			t.Fatal(err)
		} else if x[0] == 0 {
			ephemeral = k
			break
		}
	}
	data, err := whisper.SealAsymmetric(to.Public(), ephemeral, [16]byte{1}, []byte("zeros"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ecies.ImportECDSA(to.ECDSA()).Decrypt(data, nil, nil)
	if err != nil || string(got) != "zeros" {
		t.Errorf("the library reads %q, error %v", got, err)
	}
}

func TestSymmetricFormIsGCMWithTheSaltAtTheEnd(t *testing.T) {
	block, err := aes.NewCipher(keyA[:])
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	salt := [12]byte{1, 2, 3}
	want := append(gcm.Seal(nil, salt[:], []byte("x"), nil), salt[:]...)
	if got, err := whisper.SealSymmetric(keyA, salt, []byte("x")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %x and error %v, want %x", got, err, want)
	}
}

func FuzzOpenSymmetric(f *testing.F) {
	good, err := whisper.SealSymmetric(keyA, [12]byte{1}, []byte{1, 1, 'x', 'y'})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:28])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		plaintext, err := whisper.OpenSymmetric(keyA, data)
		if err != nil {
			if !errors.Is(err, whisper.ErrNotOpened) {
				t.Fatalf("error %v, want ErrNotOpened", err)
			}
			return
		}
		again, err := whisper.SealSymmetric(keyA, [12]byte(data[len(data)-12:]), plaintext)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%x came back as %x, error %v", data, again, err)
		}
	})
}

func FuzzOpenAsymmetric(f *testing.F) {
	f.Add(poison(f, self.Public(), make([]byte, 40)))
	f.Add(poison(f, self.Public(), make([]byte, 15)))
	f.Add(poison(f, self.Public(), make([]byte, 16)))
	f.Add([]byte{4})
	f.Fuzz(func(t *testing.T, data []byte) {
		plaintext, err := whisper.OpenAsymmetric(self, data)
		if err != nil {
			if !errors.Is(err, whisper.ErrNotOpened) {
				t.Fatalf("error %v, want ErrNotOpened", err)
			}
		} else if len(plaintext) == 0 || len(plaintext) != len(data)-113 {
			t.Fatalf("%d bytes from %d", len(plaintext), len(data))
		}
		// Anything under a valid MAC is as hostile, and gets further.
		plaintext, err = whisper.OpenAsymmetric(self, poison(t, self.Public(), data))
		if (err == nil) != (len(data) > 16) {
			t.Fatalf("body of %d bytes: error %v", len(data), err)
		}
		if err != nil {
			return
		}
		again, err := whisper.SealAsymmetric(self.Public(), mustKey(5), [16]byte(data[:16]), plaintext)
		if err != nil || !bytes.Equal(again, poison(t, self.Public(), data)) {
			t.Fatalf("%x came back as %x, error %v", data, again, err)
		}
	})
}
