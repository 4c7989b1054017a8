package shh

import (
	"time"

	"github.com/stratanode/strata/layers/transport"
)

const (
	maxRecent = 1 << 16 // envelopes remembered; about 8 MB

	// afterlife is for how long the transport may hold an envelope after its end.
	afterlife = 20 * time.Second
)

// recent remembers which envelopes were opened, until they end. Whoever else asks
// the transport to watch may make it repeat what it holds, and a client that has
// polled a message must not get it again. The oldest are forgotten first.
type recent struct {
	opened map[transport.Hash]bool
	order  []memory
}

type memory struct {
	hash  transport.Hash
	until time.Time
}

func (r *recent) has(h transport.Hash) bool { return r.opened[h] }

func (r *recent) add(now time.Time, e *transport.Envelope) {
	for len(r.order) > 0 && (len(r.order) >= maxRecent || now.After(r.order[0].until)) {
		delete(r.opened, r.order[0].hash)
		r.order = r.order[1:]
	}
	if r.opened == nil {
		r.opened = map[transport.Hash]bool{}
	}
	r.opened[e.Hash] = true
	r.order = append(r.order, memory{e.Hash, e.Sent.Add(e.TTL + afterlife)})
}
