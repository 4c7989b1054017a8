package whisper

import (
	"errors"
	"fmt"
	"io"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/transport"
)

// sealed is a message the transport has not answered yet.
type sealed struct {
	order   uint64 // in which they came
	payload int    // length before sealing, in bytes
	publish transport.Publish
	hash    transport.Hash // as last reported by an Accepted
}

// seal takes a message. One that the transport cannot be offered yet is sealed
// all the same and waits for its Ready.
func (n *Node) seal(s envelope.Seal) output {
	if _, repeated := n.unanswered[s.Ref]; repeated {
		return output{}
	}
	data, err := n.sealedData(s)
	if err != nil {
		return output{Up: []envelope.Event{envelope.Refused{Ref: s.Ref, Reason: err.Error()}}}
	}
	p := transport.Publish{Ref: s.Ref, Topic: s.Topic, Data: data, TTL: s.TTL}
	n.unanswered[s.Ref] = &sealed{order: n.next, payload: len(s.Payload), publish: p}
	n.next++
	n.kept += len(data)
	if n.transport == nil {
		return output{}
	}
	return output{Down: []transport.Command{p}}
}

// sealedData signs, pads and encrypts. The bounds come first, so that a message
// that is refused anyway costs nothing.
func (n *Node) sealedData(s envelope.Seal) ([]byte, error) {
	if len(s.Payload) > n.payloadLimit {
		return nil, n.tooLong(len(s.Payload))
	}
	if len(n.unanswered) >= n.cfg.MaxUnanswered {
		return nil, fmt.Errorf("whisper: %d messages are unanswered already (max_unanswered)", len(n.unanswered))
	}
	if n.kept+signedLen(len(s.Payload))+asymmetricOverhead > n.cfg.MaxUnansweredBytes {
		return nil, fmt.Errorf("whisper: %d bytes are unanswered already (max_unanswered_bytes)", n.kept)
	}
	if s.TTL < 0 {
		return nil, fmt.Errorf("whisper: time to live: %v is negative", s.TTL)
	}
	switch key := s.Key.(type) {
	case envelope.SymKey:
		return n.sealTo(key, s.Payload)
	case envelope.Identity:
		return n.sealToIdentity(key.Key, s.Payload)
	}
	return nil, fmt.Errorf("%w: none", ErrKey)
}

func (n *Node) sealTo(key envelope.SymKey, payload []byte) ([]byte, error) {
	aead, known := n.ciphers[key]
	if !known {
		var err error
		if aead, err = newAEAD(key); err != nil {
			return nil, err
		}
	}
	plaintext, err := n.plaintext(payload)
	if err != nil {
		return nil, err
	}
	var salt [saltLen]byte
	if err := n.draw(salt[:]); err != nil {
		return nil, err
	}
	return sealSymmetric(aead, salt, plaintext), nil
}

func (n *Node) sealToIdentity(to layers.PublicKey, payload []byte) ([]byte, error) {
	plaintext, err := n.plaintext(payload)
	if err != nil {
		return nil, err
	}
	ephemeral, err := layers.GenerateKey(n.random)
	if err != nil {
		return nil, fmt.Errorf("whisper: %w", err)
	}
	var iv [ivLen]byte
	if err := n.draw(iv[:]); err != nil {
		return nil, err
	}
	return SealAsymmetric(to, ephemeral, iv, plaintext)
}

func (n *Node) plaintext(payload []byte) ([]byte, error) {
	var memory [paddedTo]byte
	padding := memory[:PaddingLen(len(payload), true)]
	if _, err := io.ReadFull(n.random, padding); err != nil {
		return nil, fmt.Errorf("whisper: random source: %w", err)
	}
	return BuildPlaintext(payload, padding, n.identity)
}

// draw fills b, which has at least 12 bytes. Only zeros mean that the source is
// broken: a repeated salt would give the key of the message away.
func (n *Node) draw(b []byte) error {
	if _, err := io.ReadFull(n.random, b); err != nil {
		return fmt.Errorf("whisper: random source: %w", err)
	}
	for _, x := range b {
		if x != 0 {
			return nil
		}
	}
	return errors.New("whisper: random source: gives only zeros")
}

// tooLong names the limit that the payload breaks.
func (n *Node) tooLong(payload int) error {
	if n.payloadLimit < 0 {
		return fmt.Errorf("whisper: payload: the limit of the transport is %d bytes of data, the smallest message has %d",
			n.dataLimit, signedLen(0)+asymmetricOverhead)
	}
	return fmt.Errorf("whisper: payload: %d bytes, the limit is %d", payload, n.payloadLimit)
}

func (n *Node) refusedAsTooLong(ref layers.Ref, payload int) envelope.Refused {
	return envelope.Refused{Ref: ref, Reason: n.tooLong(payload).Error()}
}

// accepted passes an Accepted on, once per hash: a repeated Publish may bring it
// again, and a transport that seals its work anew changes the hash.
func (n *Node) accepted(a transport.Accepted) output {
	s, known := n.unanswered[a.Ref]
	if !known || s.hash == a.Hash && s.hash != (transport.Hash{}) {
		return output{}
	}
	s.hash = a.Hash
	n.settled.Add(a.Hash)
	return output{Up: []envelope.Event{envelope.Accepted(a)}}
}

func (n *Node) relayed(r transport.Relayed) output {
	if _, known := n.unanswered[r.Ref]; known {
		n.settled.Add(r.Hash)
	}
	return n.answer(r.Ref, envelope.Relayed(r))
}

// answer passes the final event of a message on. A second one, or one for a
// message of an earlier life that nobody has offered again, is nobody's.
func (n *Node) answer(ref layers.Ref, final envelope.Event) output {
	s, known := n.unanswered[ref]
	if !known {
		return output{}
	}
	delete(n.unanswered, ref)
	n.kept -= len(s.publish.Data)
	return output{Up: []envelope.Event{final}}
}
