package shh

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"slices"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	sealing "github.com/stratanode/strata/layers/envelope/whisper"
)

// keyed is the key of a filter, one of the two.
type keyed struct {
	sym     envelope.SymKey // zero: private is set
	private layers.PrivateKey
}

// lockID is what keys are the same by.
type lockID struct {
	sym    envelope.SymKey
	public layers.PublicKey
}

func (k keyed) id() lockID {
	if k.private.IsZero() {
		return lockID{sym: k.sym}
	}
	return lockID{public: k.private.Public()}
}

// lock opens envelopes with one key. Filters that have the same key share it, so
// that each envelope is tried once.
type lock struct {
	id      lockID
	aead    cipher.AEAD // nil: private is set
	private layers.PrivateKey
	users   int // guarded by the lock of filters

	tried uint64 // the last attempt; belongs to the goroutine that opens
}

// open prepares a key, which was checked.
func (k keyed) open() *lock {
	if !k.private.IsZero() {
		return &lock{private: k.private}
	}
	c, err := aes.NewCipher(k.sym[:])
	if err != nil {
		panic(fmt.Sprintf("shh: AES with 32 bytes of key: %v", err))
	}
	aead, err := cipher.NewGCM(c)
	if err != nil {
		panic(fmt.Sprintf("shh: GCM on AES: %v", err))
	}
	return &lock{aead: aead}
}

// try returns the plaintext of data, false if it is not sealed to this key. The
// plaintext of a symmetric key is in scratch or, if that is too short, replaces
// it, and lasts until the next call.
func (l *lock) try(data []byte, scratch *[]byte) ([]byte, bool) {
	if l.aead == nil {
		plaintext, err := sealing.OpenAsymmetric(l.private, data)
		return plaintext, err == nil
	}
	body := len(data) - l.aead.NonceSize() // the salt is at the end
	if body <= l.aead.Overhead() {         // a plaintext has at least one byte
		return nil, false
	}
	*scratch = slices.Grow((*scratch)[:0], body)
	plaintext, err := l.aead.Open(*scratch, data[body:], data[:body], nil)
	return plaintext, err == nil
}
