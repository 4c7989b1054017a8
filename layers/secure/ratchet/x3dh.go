package ratchet

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"

	"github.com/stratanode/strata/layers"
)

// errOpen says that a ciphertext is not authentic. It does not say why.
var errOpen = errors.New("not authentic")

// The sizes of a DH-only payload: ciphertext, tag, nonce.
const (
	gcmTag   = 16
	gcmNonce = 12
)

// initiate returns the shared key of X3DH for the side that sends first: no
// one-time prekey, Keccak-256 over the three products, no salt (Status
// 5/SECURE-TRANSPORT, "X3DH"; the hash is what the clients do).
func initiate(identity, ephemeral layers.PrivateKey, theirs, prekey layers.PublicKey) ([32]byte, error) {
	dh1, err1 := identity.Shared(prekey)
	dh2, err2 := ephemeral.Shared(theirs)
	dh3, err3 := ephemeral.Shared(prekey)
	if err := errors.Join(err1, err2, err3); err != nil {
		return [32]byte{}, fmt.Errorf("x3dh: %w", err)
	}
	return layers.Keccak256(dh1[:], dh2[:], dh3[:]), nil
}

// respond returns the same key for the side whose prekey was used.
func respond(identity, prekey layers.PrivateKey, theirs, ephemeral layers.PublicKey) ([32]byte, error) {
	dh1, err1 := prekey.Shared(theirs)
	dh2, err2 := identity.Shared(ephemeral)
	dh3, err3 := prekey.Shared(ephemeral)
	if err := errors.Join(err1, err2, err3); err != nil {
		return [32]byte{}, fmt.Errorf("x3dh: %w", err)
	}
	return layers.Keccak256(dh1[:], dh2[:], dh3[:]), nil
}

// sealStatic encrypts for an identity of which no device is known: AES-256-GCM
// under the bare Diffie-Hellman product, the nonce at the end.
func sealStatic(random io.Reader, to layers.PublicKey, body []byte) directMessage {
	ephemeral := mustGenerate(random)
	nonce := make([]byte, gcmNonce)
	mustRead(random, nonce)
	key, err := ephemeral.Shared(to)
	if err != nil {
		panic(fmt.Sprintf("ratchet: product with a checked key: %v", err))
	}
	c := ephemeral.Public().Compressed()
	payload := make([]byte, 0, len(body)+gcmTag+gcmNonce)
	payload = gcm(key).Seal(payload, nonce, body, nil)
	return directMessage{target: dhOnlyTarget, dh: &dhHeader{ephemeral: c[:]}, payload: append(payload, nonce...)}
}

// openStatic decrypts a message made by sealStatic.
func openStatic(identity layers.PrivateKey, d directMessage) ([]byte, error) {
	if len(d.payload) < gcmTag+gcmNonce {
		return nil, fmt.Errorf("payload: %d bytes, want at least %d", len(d.payload), gcmTag+gcmNonce)
	}
	ephemeral, err := layers.ParsePublicKey(d.dh.ephemeral)
	if err != nil {
		return nil, fmt.Errorf("DH_header.key: %w", err)
	}
	key, err := identity.Shared(ephemeral)
	if err != nil {
		return nil, fmt.Errorf("DH_header.key: %w", err)
	}
	cut := len(d.payload) - gcmNonce
	body, err := gcm(key).Open(nil, d.payload[cut:], d.payload[:cut], nil)
	if err != nil {
		return nil, fmt.Errorf("payload: %w", errOpen)
	}
	return body, nil
}

func gcm(key [32]byte) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(fmt.Sprintf("ratchet: AES-256: %v", err))
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(fmt.Sprintf("ratchet: GCM: %v", err))
	}
	return aead
}

// mustGenerate draws a private key. A random source that fails leaves nothing
// that could go on safely.
func mustGenerate(random io.Reader) layers.PrivateKey {
	k, err := layers.GenerateKey(random)
	if err != nil {
		panic(fmt.Sprintf("ratchet: %v", err))
	}
	return k
}

func mustRead(random io.Reader, b []byte) {
	if _, err := io.ReadFull(random, b); err != nil {
		panic(fmt.Sprintf("ratchet: random source: %v", err))
	}
}
