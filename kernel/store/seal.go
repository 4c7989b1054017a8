package store

import (
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"
)

const (
	nonceSize = chacha20poly1305.NonceSizeX // 24 bytes
	tagSize   = chacha20poly1305.Overhead   // 16 bytes
)

// sealer seals secret records, and makes the marks by which they are summed up.
// It is used by one goroutine at a time.
type sealer struct {
	aead cipher.AEAD
	mark hash.Hash // HMAC-SHA256
	side hash.Hash // HMAC-SHA256, for the generation file
	ad   []byte    // scratch
}

func newSealer(key []byte) (*sealer, error) {
	var keys [3][]byte
	for i, purpose := range []string{"secret records", "rollback marks", "generation file"} {
		k, err := derive(key, purpose)
		if err != nil {
			return nil, err
		}
		keys[i] = k
	}
	aead, err := chacha20poly1305.NewX(keys[0])
	if err != nil {
		return nil, err
	}
	return &sealer{aead: aead, mark: hmac.New(sha256.New, keys[1]), side: hmac.New(sha256.New, keys[2])}, nil
}

// name returns what says which record a value belongs to, and which writing of
// it. It holds until the next call.
func (s *sealer) name(ns, key string, counter uint64) []byte {
	b := append(s.ad[:0], "record"...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(ns)))
	b = append(b, ns...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(key)))
	b = append(b, key...)
	s.ad = binary.BigEndian.AppendUint64(b, counter)
	return s.ad
}

// record seals the value of a secret record: nonce, ciphertext, tag.
func (s *sealer) record(ns, key string, counter uint64, value []byte) []byte {
	return s.box(s.name(ns, key, counter), value)
}

// open opens what record sealed. The result does not share memory with sealed.
func (s *sealer) open(ns, key string, counter uint64, sealed []byte) ([]byte, error) {
	value, err := s.unbox(s.name(ns, key, counter), sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: record %q of %s does not open", ErrRolledBack, key, ns)
	}
	return value, nil
}

func (s *sealer) box(ad, plain []byte) []byte {
	b := make([]byte, nonceSize, nonceSize+len(plain)+tagSize)
	rand.Read(b)
	return s.aead.Seal(b, b, plain, ad)
}

var errSealed = errors.New("does not open")

func (s *sealer) unbox(ad, sealed []byte) ([]byte, error) {
	if len(sealed) < nonceSize+tagSize {
		return nil, errSealed
	}
	plain := make([]byte, 0, len(sealed)-nonceSize-tagSize)
	plain, err := s.aead.Open(plain, sealed[:nonceSize], sealed[nonceSize:], ad)
	if err != nil {
		return nil, errSealed
	}
	return plain, nil
}

// markOf returns the mark of a live secret record, a number of 256 bits. With
// the tag of its seal it stands for the value too.
func (s *sealer) markOf(ns, key string, counter uint64, tag []byte) sum {
	s.mark.Reset()
	s.mark.Write(s.name(ns, key, counter))
	s.mark.Write(tag)
	var b [sha256.Size]byte
	s.mark.Sum(b[:0])
	return readSum(b[:])
}

// tagOf returns the tag at the end of a sealed value.
func tagOf(sealed []byte) []byte { return sealed[len(sealed)-tagSize:] }
