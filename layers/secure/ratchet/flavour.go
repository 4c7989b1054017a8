package ratchet

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"io"

	doubleratchet "github.com/status-im/doubleratchet"

	"github.com/stratanode/strata/layers"
)

// flavour is a variant of the double ratchet. Only the length of the ratchet
// key on the wire tells them apart.
type flavour byte

const (
	// flavour2020 is the repaired ratchet: 33-byte keys, real Diffie-Hellman.
	flavour2020 flavour = 0
	// flavour2019 is the ratchet of October 2019: keys lose their last byte on
	// the wire, so that every product was replaced by 32 zero bytes.
	flavour2019 flavour = 1
)

const (
	macSize  = 32
	overhead = aes.BlockSize + macSize // bytes by which a ciphertext is longer

	infoRoot    = "rsZUpEuXUqqwXBvSy3EcievAh4cMj6QL"
	infoMessage = "pcwSByyx2CRdryCffXJwy7xgVZWtW5Sh"
)

// keyLen returns the length of a ratchet key on the wire, in bytes.
func (f flavour) keyLen() int {
	if f == flavour2019 {
		return 32
	}
	return 33
}

// wireKey returns the form of a public key that f puts on the wire.
func (f flavour) wireKey(p layers.PublicKey) doubleratchet.Key {
	c := p.Compressed()
	return c[:f.keyLen()]
}

// pair is a ratchet key pair.
type pair struct{ private, public doubleratchet.Key }

// PrivateKey implements doubleratchet.DHPair.
func (p pair) PrivateKey() doubleratchet.Key { return p.private }

// PublicKey implements doubleratchet.DHPair.
func (p pair) PublicKey() doubleratchet.Key { return p.public }

func (f flavour) pair(k layers.PrivateKey) pair {
	return pair{private: k.Secret(), public: f.wireKey(k.Public())}
}

// suite implements doubleratchet.Crypto: secp256k1, HKDF and HMAC with
// SHA-256, AES-256-CTR then HMAC.
type suite struct {
	flavour flavour
	random  io.Reader
}

// GenerateDH implements doubleratchet.Crypto.
func (s suite) GenerateDH() (doubleratchet.DHPair, error) {
	return s.flavour.pair(mustGenerate(s.random)), nil
}

// DH implements doubleratchet.Crypto.
func (s suite) DH(own doubleratchet.DHPair, theirs doubleratchet.Key) (doubleratchet.Key, error) {
	if len(theirs) != s.flavour.keyLen() {
		return nil, fmt.Errorf("ratchet key: %d bytes, want %d", len(theirs), s.flavour.keyLen())
	}
	if s.flavour == flavour2019 {
		return make(doubleratchet.Key, 32), nil
	}
	private, err := layers.ParsePrivateKey(own.PrivateKey())
	if err != nil {
		return nil, err
	}
	public, err := layers.ParsePublicKey(theirs)
	if err != nil {
		return nil, err
	}
	shared, err := private.Shared(public)
	if err != nil {
		return nil, err
	}
	return shared[:], nil
}

// KdfRK implements doubleratchet.KDFer: a step of the root chain.
func (suite) KdfRK(root, dh doubleratchet.Key) (newRoot, chain, header doubleratchet.Key) {
	b := expand(dh, root, infoRoot, 96)
	return b[:32:32], b[32:64:64], b[64:]
}

// KdfCK implements doubleratchet.KDFer: a step of a sending or receiving chain.
func (suite) KdfCK(chain doubleratchet.Key) (next, message doubleratchet.Key) {
	h := hmac.New(sha256.New, chain)
	h.Write([]byte{0x0f})
	next = h.Sum(nil)
	h.Reset()
	h.Write([]byte{0x10})
	return next, h.Sum(nil)
}

// Encrypt implements doubleratchet.Crypto: IV, ciphertext, MAC.
func (suite) Encrypt(mk doubleratchet.Key, plaintext, ad []byte) ([]byte, error) {
	block, mac, iv := messageKeys(mk)
	out := make([]byte, aes.BlockSize+len(plaintext), overhead+len(plaintext))
	copy(out, iv)
	cipher.NewCTR(block, iv).XORKeyStream(out[aes.BlockSize:], plaintext)
	return append(out, authenticate(mac, ad, out)...), nil
}

// Decrypt implements doubleratchet.Crypto. It takes the IV that was sent, which
// is authenticated.
func (suite) Decrypt(mk doubleratchet.Key, ciphertext, ad []byte) ([]byte, error) {
	if len(ciphertext) < overhead {
		return nil, fmt.Errorf("%w: %d bytes, want at least %d", errOpen, len(ciphertext), overhead)
	}
	block, mac, _ := messageKeys(mk)
	cut := len(ciphertext) - macSize
	if !hmac.Equal(authenticate(mac, ad, ciphertext[:cut]), ciphertext[cut:]) {
		return nil, errOpen
	}
	out := make([]byte, cut-aes.BlockSize)
	cipher.NewCTR(block, ciphertext[:aes.BlockSize]).XORKeyStream(out, ciphertext[aes.BlockSize:cut])
	return out, nil
}

func messageKeys(mk []byte) (block cipher.Block, mac, iv []byte) {
	b := expand(mk, make([]byte, 32), infoMessage, 80)
	block, err := aes.NewCipher(b[:32])
	if err != nil {
		panic(fmt.Sprintf("ratchet: AES-256: %v", err))
	}
	return block, b[32:64], b[64:]
}

func authenticate(key, ad, sealed []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(ad)
	h.Write(sealed)
	return h.Sum(nil)
}

func expand(secret, salt []byte, info string, n int) []byte {
	b, err := hkdf.Key(sha256.New, secret, salt, info, n)
	if err != nil {
		panic(fmt.Sprintf("ratchet: HKDF: %v", err))
	}
	return b
}
