package layers

import (
	"crypto/ecdsa"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/crypto/ecies"
)

// PublicKey is an identity: a secp256k1 point in its uncompressed form, 65
// bytes beginning with 4. Except for the zero value, which stands for nobody,
// a PublicKey is always a point of the curve, because only ParsePublicKey and
// Recover make one.
type PublicKey [65]byte

// ErrPublicKey reports bytes that are no public key.
var ErrPublicKey = errors.New("no secp256k1 public key")

// ParsePublicKey reads a public key from its compressed (33 bytes) or
// uncompressed (65 bytes) form. Points off the curve, the point at infinity and
// coordinates beyond the field are refused.
func ParsePublicKey(b []byte) (PublicKey, error) {
	var (
		key *ecdsa.PublicKey
		err error
	)
	switch len(b) {
	case 33:
		key, err = crypto.DecompressPubkey(b)
	case 65:
		key, err = crypto.UnmarshalPubkey(b)
	default:
		return PublicKey{}, fmt.Errorf("%w: %d bytes, want 33 or 65", ErrPublicKey, len(b))
	}
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: %w", ErrPublicKey, err)
	}
	return publicKey(key), nil
}

// ParsePublicKeyText reads the hexadecimal form, with or without 0x.
func ParsePublicKeyText(s string) (PublicKey, error) {
	if len(s) > 1 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') {
		s = s[2:]
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: %w", ErrPublicKey, err)
	}
	return ParsePublicKey(b)
}

func publicKey(k *ecdsa.PublicKey) PublicKey { return PublicKey(crypto.FromECDSAPub(k)) }

// IsZero reports whether k stands for nobody.
func (k PublicKey) IsZero() bool { return k == PublicKey{} }

// String returns the form used in chats and contacts: 0x and 130 hex digits.
func (k PublicKey) String() string { return "0x" + hex.EncodeToString(k[:]) }

// MarshalText implements encoding.TextMarshaler. Nobody is the empty text.
func (k PublicKey) MarshalText() ([]byte, error) {
	if k.IsZero() {
		return nil, nil
	}
	return []byte(k.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *PublicKey) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*k = PublicKey{}
		return nil
	}
	p, err := ParsePublicKeyText(string(b))
	if err == nil {
		*k = p
	}
	return err
}

// Compressed returns the 33-byte form.
func (k PublicKey) Compressed() [33]byte {
	var c [33]byte
	c[0] = 2 + k[64]&1
	copy(c[1:], k[1:33])
	return c
}

// X returns the X coordinate, big-endian.
func (k PublicKey) X() [32]byte { return [32]byte(k[1:33]) }

// ECDSA returns the key in the form of crypto/ecdsa. It panics on the zero key.
func (k PublicKey) ECDSA() *ecdsa.PublicKey {
	p, err := crypto.UnmarshalPubkey(k[:])
	if err != nil {
		panic(fmt.Sprintf("layers: public key %x: %v", k[:5], err))
	}
	return p
}

// PrivateKey is the secret half of an identity, prekey or ephemeral key. It
// prints as a fingerprint of its public key; it has no exported field and does
// not marshal.
type PrivateKey struct {
	key    *ecdsa.PrivateKey
	public PublicKey
}

// ErrPrivateKey reports bytes that are no private key.
var ErrPrivateKey = errors.New("no secp256k1 private key")

// ParsePrivateKey reads a 32-byte scalar, 0 < d < N.
func ParsePrivateKey(b []byte) (PrivateKey, error) {
	k, err := crypto.ToECDSA(b)
	if err != nil {
		return PrivateKey{}, ErrPrivateKey // the cause might quote the secret
	}
	return PrivateKey{k, publicKey(&k.PublicKey)}, nil
}

// ParsePrivateKeyText reads the hexadecimal form, with or without 0x. The error
// does not quote it.
func ParsePrivateKeyText(s string) (PrivateKey, error) {
	b, err := hex.DecodeString(strings.TrimPrefix(s, "0x"))
	if err != nil {
		return PrivateKey{}, ErrPrivateKey
	}
	return ParsePrivateKey(b)
}

// GenerateKey draws a private key from random, 32 bytes at a time. The reader
// is used directly because crypto/ecdsa ignores the one it is given since Go
// 1.26.
func GenerateKey(random io.Reader) (PrivateKey, error) {
	var b [32]byte
	for range maxDraws {
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return PrivateKey{}, fmt.Errorf("random source: %w", err)
		}
		if k, err := ParsePrivateKey(b[:]); err == nil {
			return k, nil
		}
	}
	return PrivateKey{}, errors.New("random source: yields no key; it is broken")
}

// maxDraws bounds the tries for a key. One in 2^128 fails by chance.
const maxDraws = 16

// IsZero reports whether there is no key in k.
func (k PrivateKey) IsZero() bool { return k.key == nil }

// Public returns the public half.
func (k PrivateKey) Public() PublicKey { return k.public }

// Secret returns the scalar, 32 bytes. It is for storage only.
func (k PrivateKey) Secret() []byte { return crypto.FromECDSA(k.key) }

// ECDSA returns the key in the form of crypto/ecdsa.
func (k PrivateKey) ECDSA() *ecdsa.PrivateKey { return k.key }

// Sign returns the recoverable signature r | s | v of a digest, 65 bytes, v
// being 0 or 1. It is deterministic (RFC 6979).
func (k PrivateKey) Sign(digest [32]byte) []byte {
	sig, err := crypto.Sign(digest[:], k.key)
	if err != nil {
		panic(fmt.Sprintf("layers: sign with a checked key: %v", err))
	}
	return sig
}

// Shared returns the X coordinate of the Diffie-Hellman product, 32 bytes. An
// error means that p is the zero key or the product is degenerate.
func (k PrivateKey) Shared(p PublicKey) ([32]byte, error) {
	if p.IsZero() {
		return [32]byte{}, ErrPublicKey
	}
	s, err := ecies.ImportECDSA(k.key).GenerateShared(ecies.ImportECDSAPublic(p.ECDSA()), 16, 16)
	if err != nil {
		return [32]byte{}, fmt.Errorf("%w: %w", ErrPublicKey, err)
	}
	return [32]byte(s), nil
}

// String returns a fingerprint of the public key.
func (k PrivateKey) String() string {
	if k.IsZero() {
		return "private(none)"
	}
	h := crypto.Keccak256(k.public[:])
	return "private(" + hex.EncodeToString(h[:4]) + ")"
}

// GoString keeps %#v from printing the scalar.
func (k PrivateKey) GoString() string { return k.String() }

// Format keeps every verb, %x among them, from printing the scalar.
func (k PrivateKey) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// LogValue implements slog.LogValuer.
func (k PrivateKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON implements json.Marshaler with the fingerprint.
func (k PrivateKey) MarshalJSON() ([]byte, error) { return []byte(`"` + k.String() + `"`), nil }

// Recover returns the signer of a digest from a signature r | s | v, v being 0
// or 1, or 2 or 3 where r overflowed. Other values of v are refused here, because
// the build without cgo takes 4 to 7 for the same.
func Recover(digest [32]byte, sig []byte) (PublicKey, error) {
	if len(sig) != 65 {
		return PublicKey{}, fmt.Errorf("signature: %d bytes, want 65", len(sig))
	}
	if sig[64] > 3 {
		return PublicKey{}, fmt.Errorf("signature: recovery id %d, want 0 or 1", sig[64])
	}
	k, err := crypto.SigToPub(digest[:], sig)
	if err != nil {
		return PublicKey{}, fmt.Errorf("signature: %w", err)
	}
	return publicKey(k), nil
}

// Keccak256 is the hash used throughout: Keccak before its padding was changed
// to make SHA-3.
func Keccak256(parts ...[]byte) [32]byte { return crypto.Keccak256Hash(parts...) }
