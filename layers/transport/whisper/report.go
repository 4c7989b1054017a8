package whisper

import (
	"slices"
	"strings"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// whole returns e with all that a transport can tell of it. Data is a part of
// Raw.
func (e *Envelope) whole(pow float64) transport.Envelope {
	return transport.Envelope{
		Hash: e.Hash, Topic: e.Topic, Data: e.Data,
		Sent: time.Unix(int64(e.Sent()), 0).UTC(),
		TTL:  time.Duration(e.TTL) * time.Second,
		Raw:  e.raw, PoW: pow,
	}
}

// plain returns e as it is Received.
func plain(e transport.Envelope) transport.Envelope {
	e.Raw, e.PoW = nil, 0
	return e
}

// copied returns e with memory of its own.
func (e *Envelope) copied() *Envelope { return reparsed(slices.Clone(e.raw), e.Hash) }

// envelope returns x as it is reported upwards, with memory of its own.
func (p *pool) envelope(x *entry) transport.Envelope {
	return reparsed(slices.Clone(p.raw(x)), x.hash).whole(x.pow)
}

// reparsed reads what was read before.
func reparsed(raw []byte, hash transport.Hash) *Envelope {
	e, _, err := parseEnvelope(raw)
	if err != nil {
		panic("whisper: checked envelope: " + strings.TrimPrefix(err.Error(), "whisper: "))
	}
	e.Hash = hash
	return &e
}
