package whisper_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope/whisper"
)

// signedBytes appends the signature that makes b, whose flags must say so, a
// signed message.
func signedBytes(b ...byte) []byte {
	return append(b, self.Sign(layers.Keccak256(b))...)
}

func TestCraftedPlaintextIsRefused(t *testing.T) {
	flipped := signedBytes(5, 0, 7)
	flipped[len(flipped)-1] += 27 // v is 0 or 1 on the wire
	overlong := signedBytes(5, 2, 'x')
	for _, tt := range []struct {
		name string
		b    []byte
	}{
		{"nothing", nil},
		{"size field of 1 byte missing", []byte{1}},
		{"size field of 2 bytes missing", []byte{2}},
		{"size field of 3 bytes missing", []byte{3}},
		{"size field of 2 bytes cut short", []byte{2, 1}},
		{"size field of 3 bytes cut short", []byte{3, 1, 0}},
		{"size just past the end", []byte{1, 3, 'a', 'b'}},
		{"largest size", []byte{3, 0xff, 0xff, 0xff, 'a'}},
		{"signature only", signedBytes(4)},
		{"signature cut short", make([]byte, 65)},
		{"signed flag without signature", []byte{4}},
		{"size field inside the signature", signedBytes(7, 1)},
		{"size reaching into the signature", overlong},
		{"recovery id 27", flipped},
		{"signature all zero", append([]byte{5, 0, 0}, make([]byte, 65)...)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if len(tt.b) == 65 {
				tt.b[0] = 5
			}
			p, err := whisper.ParsePlaintext(tt.b)
			if !errors.Is(err, whisper.ErrPlaintext) {
				t.Errorf("got %v and error %v, want ErrPlaintext", p, err)
			}
		})
	}
}

func TestRecoveryIDBeyondThreeIsRefused(t *testing.T) {
	good := signedBytes(5, 0, 7)
	if _, err := whisper.ParsePlaintext(good); err != nil {
		t.Fatal(err)
	}
	for v := 4; v < 256; v++ {
		b := slices.Clone(good)
		b[len(b)-1] = byte(v)
		if _, err := whisper.ParsePlaintext(b); err == nil {
			t.Errorf("v = %d was accepted", v)
		}
	}
}

func TestPlaintextsThatPeersWriteAreRead(t *testing.T) {
	for _, tt := range []struct {
		name             string
		b                []byte
		payload, padding string
		signed           bool
	}{
		{"no size field", []byte{0, 'p', 'q'}, "", "pq", false},
		{"flags only", []byte{0}, "", "", false},
		{"unknown flags", []byte{0xf9, 1, 'x', 'y'}, "x", "y", false},
		{"size field longer than needed", []byte{3, 1, 0, 0, 'x'}, "x", "", false},
		{"little-endian size", append([]byte{2, 1, 1}, bytes.Repeat([]byte{'a'}, 257)...), string(bytes.Repeat([]byte{'a'}, 257)), "", false},
		{"signed without padding", signedBytes(5, 1, 'x'), "x", "", true},
		{"signed without size field", signedBytes(4, 'p'), "", "p", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := whisper.ParsePlaintext(tt.b)
			if err != nil {
				t.Fatal(err)
			}
			if string(p.Payload) != tt.payload || string(p.Padding) != tt.padding {
				t.Errorf("got %q and %q, want %q and %q", p.Payload, p.Padding, tt.payload, tt.padding)
			}
			if got := p.Signer == self.Public(); got != tt.signed {
				t.Errorf("signer: got %v", p.Signer)
			}
		})
	}
}

func TestWrittenPlaintextsFillUpTo256BytesWithAtLeastOneOfPadding(t *testing.T) {
	for size := range 600 {
		for _, signed := range []bool{false, true} {
			padding := whisper.PaddingLen(size, signed)
			if padding < 1 || padding > 256 {
				t.Fatalf("%d bytes: padding of %d", size, padding)
			}
			signer := layers.PrivateKey{}
			if signed && size%97 == 0 { // signing is slow
				signer = self
			} else if signed {
				continue
			}
			b, err := whisper.BuildPlaintext(make([]byte, size), make([]byte, padding), signer)
			if err != nil || len(b)%256 != 0 {
				t.Fatalf("%d bytes, signed %v: %d bytes in all, error %v", size, signed, len(b), err)
			}
		}
	}
	// Full 256 where a lesser writer would see nothing to do.
	if got := whisper.PaddingLen(254, false); got != 256 {
		t.Errorf("254 bytes: padding of %d, want 256", got)
	}
}

func TestPayloadBeyondTheSizeFieldIsRefused(t *testing.T) {
	b, err := whisper.BuildPlaintext(make([]byte, whisper.MaxPayload+1), nil, layers.PrivateKey{})
	if !errors.Is(err, whisper.ErrPlaintext) {
		t.Errorf("got %d bytes and error %v, want ErrPlaintext", len(b), err)
	}
	b, err = whisper.BuildPlaintext(make([]byte, whisper.MaxPayload), nil, layers.PrivateKey{})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := whisper.ParsePlaintext(b); err != nil || len(p.Payload) != whisper.MaxPayload || !p.Signer.IsZero() {
		t.Errorf("the longest payload came back with %d bytes, error %v", len(p.Payload), err)
	}
}

func FuzzParsePlaintext(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0})
	f.Add([]byte{3, 1, 0, 0, 'x', 'y'})
	f.Add([]byte{0xfa, 1, 0, 'x'})
	f.Add(signedBytes(5, 1, 'x', 'y'))
	f.Add(append([]byte{7, 2, 0, 0, 'x', 'y'}, make([]byte, 70)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := whisper.ParsePlaintext(b)
		if err != nil {
			if !errors.Is(err, whisper.ErrPlaintext) {
				t.Fatalf("error %v does not wrap ErrPlaintext", err)
			}
			return
		}
		signer := layers.PrivateKey{}
		if !p.Signer.IsZero() {
			signer = self
		}
		again, err := whisper.BuildPlaintext(p.Payload, p.Padding, signer)
		if err != nil {
			t.Fatal(err)
		}
		q, err := whisper.ParsePlaintext(again)
		if err != nil || !bytes.Equal(p.Payload, q.Payload) || !bytes.Equal(p.Padding, q.Padding) || q.Signer != signer.Public() {
			t.Fatalf("%x came back as %+v, error %v", b, q, err)
		}
	})
}
