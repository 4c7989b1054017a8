package whisper

import (
	"fmt"
	"slices"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/mail"
)

// codeRateLimits is an extension of Status that nobody sends (status-go 0.38).
const codeRateLimits = 20

// RateLimits is what a peer says it takes per second, by IP, peer and topic.
// Nobody acts on it.
type RateLimits struct {
	Limits [3]uint64
	size   int
}

// Size implements overlay.Packet.
func (r RateLimits) Size() int { return r.size }

// Code implements overlay.Lasting.
func (RateLimits) Code() uint64 { return codeRateLimits }

// decodeRateLimits reads packet 20. What cannot be read is ignored: the peers
// that know it drop nobody for it.
func decodeRateLimits(payload []byte) (RateLimits, error) {
	r := RateLimits{size: len(payload)}
	list, _, err := rlp.SplitList(payload)
	if err != nil {
		return r, errIgnored
	}
	for i := range r.Limits {
		if r.Limits[i], list, err = rlp.SplitUint64(list); err != nil {
			return r, errIgnored
		}
	}
	if len(list) > 0 {
		return r, errIgnored
	}
	return r, nil
}

// decodeRequest reads packet 126: an envelope, or else a request in clear.
// Bytes after it are no offence, as with the deployed nodes.
func decodeRequest(payload []byte) (overlay.Packet, error) {
	e, _, err := parseEnvelope(payload)
	if err != nil {
		return packet(mail.DecodePlainRequest(payload))
	}
	e.Hash = hashOne(e.raw)
	return mail.Request{Envelope: e.whole(e.PoW(0)), Bytes: len(payload)}, nil
}

// decodeDelivery reads packet 127: a list of envelopes, or one alone. Bytes
// after it are no offence, as with the deployed nodes.
func decodeDelivery(payload []byte) (mail.Delivery, error) {
	d := mail.Delivery{Bytes: len(payload)}
	e, _, err := parseEnvelope(payload)
	if err == nil {
		e.Hash = hashOne(e.raw)
		d.Envelopes = []transport.Envelope{e.whole(0)}
		return d, nil
	}
	_, rest, err := rlp.SplitList(payload)
	if err != nil {
		return mail.Delivery{}, fmt.Errorf("whisper: delivery: %w", err)
	}
	if d.Envelopes, err = envelopeList(payload[:len(payload)-len(rest)]); err != nil {
		return mail.Delivery{}, err
	}
	return d, nil
}

// envelopeList reads an RLP list of envelopes, with their hashes.
func envelopeList(b []byte) ([]transport.Envelope, error) {
	parsed, err := parseMessages(b)
	if err != nil {
		return nil, err
	}
	hashEach(parsed)
	list := make([]transport.Envelope, len(parsed))
	for i := range parsed {
		list[i] = parsed[i].whole(0)
	}
	return list, nil
}

// weighedList is envelopeList with the proofs of work, too. Who sends packets 124
// and was not asked to makes its own link slower, and nothing else.
func weighedList(b []byte) ([]transport.Envelope, error) {
	parsed, err := parseMessages(b)
	if err != nil {
		return nil, err
	}
	var (
		list    = make([]transport.Envelope, 0, len(parsed))
		scratch []byte
	)
	for batch := range slices.Chunk(parsed, weighAtOnce) {
		var (
			inputs [2 * weighAtOnce][]byte
			works  [weighAtOnce]float64
			sizes  [weighAtOnce]int
			need   = 0
		)
		for i := range batch {
			need += len(batch[i].raw) + nonceSize
		}
		scratch = slices.Grow(scratch[:0], need)
		for i := range batch {
			start := len(scratch)
			scratch, sizes[i] = batch[i].appendWork(scratch)
			inputs[2*i], inputs[2*i+1] = batch[i].raw, scratch[start:]
		}
		hashAll(inputs[:2*len(batch)], fourWay, func(k int, h [32]byte) {
			if i := k / 2; k%2 == 0 {
				batch[i].Hash = h
			} else {
				works[i] = powOf(h, sizes[i], batch[i].TTL)
			}
		})
		for i := range batch {
			list = append(list, batch[i].whole(works[i]))
		}
	}
	return list, nil
}

// nonceSize is how many bytes the nonce has in what the proof of work is the
// hash of. There it takes the place of at least one byte of the envelope.
const nonceSize = 8

// encodeDirect returns the packet of one envelope that skips the rules of the
// relay. It is no list: go-ethereum takes nothing else.
func encodeDirect(raw []byte) overlay.Outgoing {
	return overlay.Outgoing{Code: mail.CodeDelivery, Payload: raw}
}
