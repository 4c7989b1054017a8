package mail

import (
	"errors"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// Within which time a request envelope is taken. The deployed servers do not
// look at it, and their clients have clocks that nobody has set.
const (
	lateBy   = time.Minute     // beyond its expiry
	earlyBy  = 2 * time.Minute // ahead of now
	usableBy = 5 * time.Minute // after it was sent, however long it may live
)

// maxRecent bounds the requests that are remembered, at some 50 bytes each: all
// of the time above at 20 requests a second.
const maxRecent = 1 << 13

// usable says until when a request envelope counts, or why it does not.
func usable(now time.Time, e transport.Envelope) (until time.Time, err error) {
	until = e.Sent.Add(min(e.TTL, usableBy) + lateBy)
	switch {
	case now.After(until):
		return until, errors.New("very old envelope")
	case e.Sent.After(now.Add(earlyBy)):
		return until, errors.New("envelope from future")
	}
	return until, nil
}

// recent remembers requests as long as they could be taken again. If there are
// too many the oldest are forgotten.
type recent struct {
	seen  map[transport.Hash]bool
	order []once // by arrival
}

type once struct {
	hash  transport.Hash
	until time.Time
}

func (r *recent) has(h transport.Hash) bool { return r.seen[h] }

func (r *recent) add(now time.Time, h transport.Hash, until time.Time) {
	for len(r.order) > 0 && (now.After(r.order[0].until) || len(r.order) >= maxRecent) {
		delete(r.seen, r.order[0].hash)
		r.order = r.order[1:]
	}
	r.seen[h] = true
	r.order = append(r.order, once{h, until})
}
