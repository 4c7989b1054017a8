package store

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// Header is the number of bytes before Data in the form that Encode makes.
const Header = 4 + 8 + 4

// Key names an envelope: it is the SHA-256 of its form by Encode.
type Key [sha256.Size]byte

// KeyOf returns the key of an envelope.
func KeyOf(e transport.Envelope) Key {
	var head [Header]byte
	hash := sha256.New()
	hash.Write(appendHeader(head[:0], e))
	hash.Write(e.Data)
	var k Key
	hash.Sum(k[:0])
	return k
}

// Encode appends an envelope to b as a transport may send it: the topic, Sent
// in Unix seconds (8 bytes), the TTL in seconds (4 bytes), both big-endian, and
// Data to the end.
func Encode(b []byte, e transport.Envelope) []byte {
	return append(appendHeader(b, e), e.Data...)
}

func appendHeader(b []byte, e transport.Envelope) []byte {
	b = append(b, e.Topic[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Sent.Unix()))
	return binary.BigEndian.AppendUint32(b, uint32(e.TTL/time.Second))
}

// Decode reads what Encode has made. Every string of more than Header bytes is
// the form of exactly one envelope. Its Data is the end of b.
func Decode(b []byte) (transport.Envelope, error) {
	if len(b) <= Header {
		return transport.Envelope{}, transport.Invalid("envelope", "%d bytes, fewer than %d", len(b), Header+1)
	}
	return transport.Envelope{
		Topic: transport.Topic(b[:4]),
		Sent:  time.Unix(int64(binary.BigEndian.Uint64(b[4:])), 0).UTC(),
		TTL:   time.Duration(binary.BigEndian.Uint32(b[12:])) * time.Second,
		Data:  b[Header:],
	}, nil
}
