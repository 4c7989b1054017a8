package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	sealing "github.com/stratanode/strata/layers/envelope/whisper"
	"github.com/stratanode/strata/layers/transport/whisper/mail"
)

// mailSealer seals requests to mail servers and opens those of clients, as the
// node, which has one key for both. It implements mail.Sealer.
type mailSealer struct {
	node     layers.PrivateKey
	password string // empty: none

	once sync.Once
	key  envelope.SymKey // of password: deriving it takes tens of milliseconds
}

var _ mail.Sealer = (*mailSealer)(nil)

var errNoMailPassword = errors.New("no mail_password is configured")

// symmetric returns the key of the password.
func (s *mailSealer) symmetric() (envelope.SymKey, error) {
	if s.password == "" {
		return envelope.SymKey{}, errNoMailPassword
	}
	s.once.Do(func() { s.key = envelope.KeyFromPassword(s.password) })
	return s.key, nil
}

// Seal implements mail.Sealer.
func (s *mailSealer) Seal(server layers.PublicKey, payload []byte) ([]byte, error) {
	padding := make([]byte, sealing.PaddingLen(len(payload), true))
	rand.Read(padding)
	plaintext, err := sealing.BuildPlaintext(payload, padding, s.node)
	if err != nil {
		return nil, err
	}
	if !server.IsZero() {
		ephemeral, err := layers.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		var iv [16]byte
		rand.Read(iv[:])
		return sealing.SealAsymmetric(server, ephemeral, iv, plaintext)
	}
	key, err := s.symmetric()
	if err != nil {
		return nil, err
	}
	var salt [12]byte
	rand.Read(salt[:])
	return sealing.SealSymmetric(key, salt, plaintext)
}

// Open implements mail.Sealer. The key of the password is tried first: most
// clients use it, and it costs less.
func (s *mailSealer) Open(data []byte) (payload []byte, signer layers.PublicKey, err error) {
	plaintext, err := s.decrypt(data)
	if err != nil {
		return nil, signer, err
	}
	p, err := sealing.ParsePlaintext(plaintext)
	if err != nil {
		return nil, signer, err
	}
	if p.Signer.IsZero() {
		return nil, signer, errors.New("wrong signature of p2p request")
	}
	return p.Payload, p.Signer, nil
}

func (s *mailSealer) decrypt(data []byte) ([]byte, error) {
	if key, err := s.symmetric(); err == nil {
		if plaintext, err := sealing.OpenSymmetric(key, data); err == nil {
			return plaintext, nil
		}
	}
	plaintext, err := sealing.OpenAsymmetric(s.node, data)
	if err != nil {
		return nil, fmt.Errorf("failed to decrypt p2p request: %w", err)
	}
	return plaintext, nil
}
