package whisper

import (
	"bytes"
	"crypto/cipher"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/transport"
)

// What is held between a start and the first Listen. After a restart of this
// layer alone the transport goes on delivering, and it delivers nothing twice.
const (
	maxEarly      = 1024    // envelopes: seconds of a busy topic set
	maxEarlyBytes = 8 << 20 // bytes of data: more than the largest envelope
)

// maxSettled is how many envelopes are remembered, at about 60 bytes each, so
// that none is opened twice that comes from servers again or is one's own. Only
// those are remembered that a key has opened: another envelope may find its key in
// a later set of filters. A later filter with the key that has opened an envelope
// is told nothing, as the holder of that key has been told.
//
// After a restart, or beyond this number, an envelope may be opened again. The
// layers above expect that: no transport can promise more.
const maxSettled = 1 << 16

// place is where a key opens.
type place struct {
	topic transport.Topic
	key   envelope.SymKey // zero, which no filter may have: the own identity
}

// opener is one key on one topic and the filters that share it.
type opener struct {
	aead    cipher.AEAD // nil: the own identity
	filters []envelope.FilterID
}

// Stats counts what became of the envelopes since the start of the layer.
type Stats struct {
	Opened     uint64 // envelopes that a key opened
	Unfiltered uint64 // of a topic nobody listens to
	Unopened   uint64 // not for any key of their topic, or damaged
	Malformed  uint64 // opened, but not well formed inside
	Shed       uint64 // came before the first Listen and found no room
	Repeated   uint64 // opened before, or own
}

// Stats returns the counts. Like the entrances it must not be called while a
// step runs.
func (n *Node) Stats() Stats { return n.stats }

// listen replaces the filters. A set with a bad filter is refused as a whole and
// the one before stays.
func (n *Node) listen(now time.Time, filters []envelope.Filter) (output, error) {
	if len(filters) > n.cfg.MaxFilters {
		return output{}, fmt.Errorf("whisper: filters: %d, the limit is %d (max_filters)", len(filters), n.cfg.MaxFilters)
	}
	var (
		openers = make(map[place]*opener, len(filters))
		byTopic = make(map[transport.Topic][]*opener, len(filters))
		ciphers = make(map[envelope.SymKey]cipher.AEAD, len(n.ciphers))
	)
	for _, f := range filters {
		aead, err := n.cipherFor(f.Key, ciphers)
		if err != nil {
			return output{}, fmt.Errorf("%w (filter %q)", err, f.ID)
		}
		at := place{topic: f.Topic}
		at.key, _ = f.Key.(envelope.SymKey)
		o, known := openers[at]
		if !known {
			o = &opener{aead: aead}
			openers[at] = o
			byTopic[f.Topic] = append(byTopic[f.Topic], o)
		}
		o.filters = append(o.filters, f.ID)
	}
	for _, o := range openers {
		o.filters = withoutRepeats(o.filters)
	}
	renewed := n.renewed(openers)
	n.filters, n.places, n.ciphers = byTopic, openers, ciphers
	topics := slices.SortedFunc(maps.Keys(byTopic), compareTopics)
	n.subscribed = n.subscribed && slices.Equal(topics, n.topics)
	n.topics, n.listening = topics, true

	out := n.subscribe()
	early := n.early
	n.early, n.earlyBytes = nil, 0
	late, _ := n.received(early) // what is malformed is counted
	out.Add(late)
	out.Add(n.history.Listen(now, topics, renewed))
	return out, nil
}

// renewed returns the topics that were listened to with other keys only: what
// was fetched of them before may hold envelopes for the new ones.
func (n *Node) renewed(openers map[place]*opener) []transport.Topic {
	var topics []transport.Topic
	for at := range openers {
		if _, known := n.places[at]; !known && len(n.filters[at.topic]) > 0 {
			topics = append(topics, at.topic)
		}
	}
	slices.SortFunc(topics, compareTopics)
	return slices.Compact(topics)
}

// cipherFor returns the cipher of a symmetric key, made once per key and taken
// over from one set of filters to the next, or nil for the own identity.
func (n *Node) cipherFor(key envelope.Key, ciphers map[envelope.SymKey]cipher.AEAD) (cipher.AEAD, error) {
	switch key := key.(type) {
	case envelope.SymKey:
		if aead, known := ciphers[key]; known {
			return aead, nil
		}
		aead, known := n.ciphers[key]
		if !known {
			var err error
			if aead, err = newAEAD(key); err != nil {
				return nil, err
			}
		}
		ciphers[key] = aead
		return aead, nil
	case envelope.Identity:
		if key.Key.IsZero() || key.Key != n.identity.Public() {
			return nil, fmt.Errorf("%w: identity: not the own one", ErrKey)
		}
		return nil, nil
	}
	return nil, fmt.Errorf("%w: none", ErrKey)
}

func withoutRepeats(ids []envelope.FilterID) []envelope.FilterID {
	if len(ids) < 2 {
		return ids
	}
	seen := make(map[envelope.FilterID]bool, len(ids))
	return slices.DeleteFunc(ids, func(id envelope.FilterID) bool {
		repeated := seen[id]
		seen[id] = true
		return repeated
	})
}

func compareTopics(a, b transport.Topic) int {
	return bytes.Compare(a[:], b[:])
}

// received opens what the filters have keys for. One bad envelope never costs
// the others of its bundle; only a bundle of nothing but bad ones is an error.
func (n *Node) received(envelopes []transport.Envelope) (output, error) {
	var (
		out   output
		first error
	)
	for _, e := range envelopes {
		if !n.listening {
			n.hold(e)
			continue
		}
		if err := n.open(e, &out); err != nil && first == nil {
			first = fmt.Errorf("%w (envelope %v)", err, e.Hash)
		}
	}
	if len(out.Up) > 0 {
		return out, nil
	}
	return output{}, first
}

// past opens envelopes that somebody has asked for, or that a trusted peer has
// sent unasked, like those that come live. What is malformed is counted; it must
// not keep the driver from knowing what has come.
func (n *Node) past(now time.Time, h transport.History) output {
	before := n.stats.Opened
	out, _ := n.received(h.Envelopes)
	out.Add(n.history.History(now, h, int(n.stats.Opened-before)))
	return out
}

func (n *Node) hold(e transport.Envelope) {
	if len(n.early) >= maxEarly || n.earlyBytes+len(e.Data) > maxEarlyBytes {
		n.stats.Shed++
		return
	}
	n.early = append(n.early, e)
	n.earlyBytes += len(e.Data)
}

// open tries each key of the topic once. The first that opens the envelope
// settles it: all filters with that key match, and no other.
func (n *Node) open(e transport.Envelope, out *output) error {
	openers := n.filters[e.Topic]
	if len(openers) == 0 {
		n.stats.Unfiltered++
		return nil
	}
	if n.settled.Has(e.Hash) {
		n.stats.Repeated++
		return nil
	}
	for _, o := range openers {
		plaintext, err := n.try(o, e.Data)
		if err != nil {
			continue
		}
		p, err := ParsePlaintext(plaintext)
		if err != nil {
			n.stats.Malformed++
			return err
		}
		n.stats.Opened++
		n.settled.Add(e.Hash)
		payload := bytes.Clone(p.Payload) // the plaintext's memory is used again
		for _, id := range o.filters {
			out.Up = append(out.Up, envelope.Opened{
				Hash: e.Hash, Filter: id, Topic: e.Topic, Payload: payload, Signer: p.Signer, Sent: e.Sent,
			})
		}
		return nil
	}
	n.stats.Unopened++
	return nil
}

// try returns the plaintext in memory that the next call uses again.
func (n *Node) try(o *opener, data []byte) ([]byte, error) {
	if o.aead == nil {
		return OpenAsymmetric(n.identity, data)
	}
	n.scratch = slices.Grow(n.scratch[:0], len(data))
	return openSymmetric(o.aead, n.scratch, data)
}

var _ layers.Protocol[envelope.Command, envelope.Event, transport.Command, transport.Event] = (*Node)(nil)
