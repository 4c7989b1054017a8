package libp2p

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// The envelope on the wire, all numbers big-endian:
//
//	offset  bytes
//	0       1      version, 1
//	1       8      sent, Unix seconds
//	9       4      time to live, seconds
//	13      4      topic
//	17      1…     payload, to the end
//
// There is one encoding of an envelope, so sha256 of it is its name.
const (
	wireVersion = 1
	headerSize  = 17 // bytes
)

// Times of envelopes.
const (
	maxTTL    = 24 * time.Hour   // of an envelope; the pool of what is unexpired is bounded, so more would be a promise not kept
	minMaxTTL = 10 * time.Second // the least MaxTTL that the contract allows
	maxSkew   = 20 * time.Second // by which the clock of a sender may be ahead
	maxSent   = 1 << 40          // Unix seconds; what is beyond cannot be computed with
)

// What a decoder says of bytes from the network.
var (
	errMalformed = errors.New("libp2p: malformed message")    // the sender is at fault
	errForeign   = errors.New("libp2p: message of others")    // fine, but not for us
	errExpired   = errors.New("libp2p: envelope has expired") // late, or a wrong clock
	errFuture    = errors.New("libp2p: envelope is from the future")
)

// codec is a wire form of envelopes.
type codec interface {
	encode(e transport.Envelope) []byte
	// decode checks everything but the clock. Data of the result is part of
	// wire.
	decode(wire []byte) (transport.Envelope, error)
	maxWire() int // bytes of the longest encoding
	maxData() int // bytes of the longest Data
	maxTTL() time.Duration
}

// plain is the wire form of our own networks.
type plain struct{}

func (plain) maxWire() int          { return headerSize + transport.MaxEnvelope }
func (plain) maxData() int          { return transport.MaxEnvelope }
func (plain) maxTTL() time.Duration { return maxTTL }

func (plain) encode(e transport.Envelope) []byte {
	wire := make([]byte, headerSize, headerSize+len(e.Data))
	wire[0] = wireVersion
	binary.BigEndian.PutUint64(wire[1:], uint64(e.Sent.Unix()))
	binary.BigEndian.PutUint32(wire[9:], uint32(e.TTL/time.Second))
	copy(wire[13:], e.Topic[:])
	return append(wire, e.Data...)
}

func (p plain) decode(wire []byte) (transport.Envelope, error) {
	switch {
	case len(wire) <= headerSize:
		return transport.Envelope{}, fmt.Errorf("%w: %d bytes", errMalformed, len(wire))
	case len(wire) > p.maxWire():
		return transport.Envelope{}, fmt.Errorf("%w: longer than %d bytes", errMalformed, p.maxWire())
	case wire[0] != wireVersion:
		return transport.Envelope{}, fmt.Errorf("%w: version %d", errMalformed, wire[0])
	}
	sent := binary.BigEndian.Uint64(wire[1:])
	ttl := time.Duration(binary.BigEndian.Uint32(wire[9:])) * time.Second
	if sent > maxSent {
		return transport.Envelope{}, fmt.Errorf("%w: sent at %d", errMalformed, sent)
	}
	if ttl < time.Second || ttl > maxTTL {
		return transport.Envelope{}, fmt.Errorf("%w: time to live %v", errMalformed, ttl)
	}
	return transport.Envelope{
		Topic: transport.Topic(wire[13:headerSize]),
		Data:  wire[headerSize:],
		Sent:  time.Unix(int64(sent), 0).UTC(),
		TTL:   ttl,
	}, nil
}

// timely says whether e may be carried at now.
func timely(e transport.Envelope, now time.Time) error {
	if !now.Before(e.Expiry()) {
		return errExpired
	}
	if e.Sent.After(now.Add(maxSkew)) {
		return errFuture
	}
	return nil
}

// shardOf returns the shard of a topic: the first four bytes of sha256 of the
// four bytes of the topic, as a big-endian number, modulo the number of shards.
// Topics are partly chosen by people, so they are hashed to spread them evenly.
func shardOf(t transport.Topic, shards int) int {
	sum := sha256.Sum256(t[:])
	return int(binary.BigEndian.Uint32(sum[:4]) % uint32(shards))
}
