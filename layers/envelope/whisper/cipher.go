package whisper

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/crypto/ecies"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
)

const (
	saltLen           = 12 // nonce of AES-GCM, which stands at the end of the data
	tagLen            = 16
	symmetricOverhead = tagLen + saltLen

	pointLen           = 65 // ephemeral key, uncompressed
	ivLen              = aes.BlockSize
	macLen             = sha256.Size
	asymmetricOverhead = pointLen + ivLen + macLen
)

var (
	// ErrKey reports a key that must not be used.
	ErrKey = errors.New("whisper: key")

	// ErrNotOpened reports data that a key does not open: sealed for another
	// key, damaged or cut short, which cannot be told apart.
	ErrNotOpened = errors.New("whisper: the key does not open the data")
)

// SealSymmetric encrypts a plaintext with AES-256-GCM and appends the salt to
// the result. A salt must never be used twice with one key.
func SealSymmetric(key envelope.SymKey, salt [saltLen]byte, plaintext []byte) ([]byte, error) {
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	return sealSymmetric(aead, salt, plaintext), nil
}

func sealSymmetric(aead cipher.AEAD, salt [saltLen]byte, plaintext []byte) []byte {
	data := make([]byte, 0, len(plaintext)+symmetricOverhead)
	data = aead.Seal(data, salt[:], plaintext, nil)
	return append(data, salt[:]...)
}

// OpenSymmetric decrypts what SealSymmetric made. The error wraps ErrNotOpened,
// or ErrKey for the zero key.
func OpenSymmetric(key envelope.SymKey, data []byte) ([]byte, error) {
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	return openSymmetric(aead, nil, data)
}

// openSymmetric appends the plaintext to dst, so that a failed attempt need not
// allocate.
func openSymmetric(aead cipher.AEAD, dst, data []byte) ([]byte, error) {
	if len(data) <= symmetricOverhead { // a plaintext has at least one byte
		return nil, ErrNotOpened
	}
	body := len(data) - saltLen
	plaintext, err := aead.Open(dst, data[body:], data[:body], nil)
	if err != nil {
		return nil, ErrNotOpened
	}
	return plaintext, nil
}

func newAEAD(key envelope.SymKey) (cipher.AEAD, error) {
	if key == (envelope.SymKey{}) {
		return nil, fmt.Errorf("%w: symmetric: all zero", ErrKey)
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(fmt.Sprintf("whisper: AES with 32 bytes of key: %v", err))
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(fmt.Sprintf("whisper: GCM on AES: %v", err))
	}
	return aead, nil
}

// SealAsymmetric encrypts a plaintext to an identity: ECIES on secp256k1 with
// AES-128-CTR and HMAC-SHA-256, without shared information (Whisper v6;
// SEC 1 §5.1). The ephemeral key and iv must be fresh. An error means that the
// recipient or the ephemeral key is none, or the plaintext is empty.
//
// It is written out here because ecies.Encrypt draws its ephemeral key from a
// source of its own whatever reader it is given.
func SealAsymmetric(to layers.PublicKey, ephemeral layers.PrivateKey, iv [ivLen]byte, plaintext []byte) ([]byte, error) {
	if len(plaintext) == 0 {
		return nil, fmt.Errorf("%w: empty", ErrPlaintext)
	}
	if ephemeral.IsZero() {
		return nil, fmt.Errorf("%w: ephemeral: none", ErrKey)
	}
	if _, err := layers.ParsePublicKey(to[:]); err != nil {
		return nil, fmt.Errorf("%w: recipient: %w", ErrKey, err)
	}
	shared, err := ephemeral.Shared(to)
	if err != nil {
		return nil, fmt.Errorf("%w: recipient: %w", ErrKey, err)
	}
	encryption, authentication := eciesKeys(shared)
	block, err := aes.NewCipher(encryption[:])
	if err != nil {
		panic(fmt.Sprintf("whisper: AES with 16 bytes of key: %v", err))
	}

	data := make([]byte, pointLen+ivLen+len(plaintext), asymmetricOverhead+len(plaintext))
	point := ephemeral.Public()
	copy(data, point[:])
	copy(data[pointLen:], iv[:])
	cipher.NewCTR(block, iv[:]).XORKeyStream(data[pointLen+ivLen:], plaintext)

	mac := hmac.New(sha256.New, authentication[:])
	mac.Write(data[pointLen:])
	return mac.Sum(data), nil
}

// eciesKeys derives both keys from the X coordinate of the product: one block of
// the NIST SP 800-56 concatenation KDF, of which the second half is hashed again.
func eciesKeys(shared [32]byte) (encryption [16]byte, authentication [32]byte) {
	block := sha256.Sum256(append([]byte{0, 0, 0, 1}, shared[:]...))
	return [16]byte(block[:16]), sha256.Sum256(block[16:])
}

// OpenAsymmetric decrypts what was sealed to key. The error wraps ErrNotOpened,
// or ErrKey if there is no key.
//
// The length and the form of the ephemeral key are checked before anything else
// sees the data: bodies of 1 to 15 bytes under a valid MAC crashed every node of
// 2019 (CVE-2026-22862), and points off the curve would ask for the private key
// bit by bit.
func OpenAsymmetric(key layers.PrivateKey, data []byte) ([]byte, error) {
	if key.IsZero() {
		return nil, fmt.Errorf("%w: private: none", ErrKey)
	}
	if len(data) <= asymmetricOverhead { // a plaintext has at least one byte
		return nil, ErrNotOpened
	}
	if _, err := layers.ParsePublicKey(data[:pointLen]); err != nil {
		return nil, fmt.Errorf("%w: ephemeral: %w", ErrNotOpened, err)
	}
	plaintext, err := ecies.ImportECDSA(key.ECDSA()).Decrypt(data, nil, nil)
	if err != nil {
		return nil, ErrNotOpened
	}
	return plaintext, nil
}
