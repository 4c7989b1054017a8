package store

import (
	"cmp"
	"container/heap"
	"context"
	"slices"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// maxReady is how many envelopes wait for the host in order. Beyond, they stay
// where they are and are looked for when the host has taken these.
const maxReady = 4096

// keep takes an entry in.
func (s *Store) keep(e *entry) {
	s.held[e.key] = e
	heap.Push(&s.oldest, e)
	s.bytes += len(e.Data)
	s.offer(e)
}

// offer makes an entry ready for Receive, if it is wanted.
func (s *Store) offer(e *entry) {
	switch {
	case e.taken || !s.filter.All && !s.topics[e.Topic]:
	case len(s.ready) >= maxReady:
		s.behind = true
	default:
		e.taken = true
		s.ready = append(s.ready, e)
		s.signal()
	}
}

// catchUp offers all that is kept, in the order in which it was sent.
func (s *Store) catchUp() {
	s.behind = false
	waiting := make([]*entry, 0, len(s.oldest))
	for _, e := range s.oldest {
		if !e.taken {
			waiting = append(waiting, e)
		}
	}
	slices.SortFunc(waiting, func(a, b *entry) int {
		return cmp.Or(a.Sent.Compare(b.Sent), slices.Compare(a.key[:], b.key[:]))
	})
	for _, e := range waiting {
		s.offer(e)
	}
}

// expire drops what is too old.
func (s *Store) expire(now time.Time) {
	for len(s.oldest) > 0 && !now.Before(s.oldest[0].Expiry()) {
		e := heap.Pop(&s.oldest).(*entry)
		delete(s.held, e.key)
		s.bytes -= len(e.Data)
	}
}

func (s *Store) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// byExpiry is a heap with the entry that expires first at the top.
type byExpiry []*entry

func (h byExpiry) Len() int           { return len(h) }
func (h byExpiry) Less(i, j int) bool { return h[i].Expiry().Before(h[j].Expiry()) }
func (h byExpiry) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byExpiry) Push(x any)        { *h = append(*h, x.(*entry)) }

func (h *byExpiry) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}

type counts struct{ received, repeated, refused, expired int }

// Stats is Counter.Stats.
func (s *Store) Stats(context.Context) ([]transport.Stat, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(s.now())
	return []transport.Stat{
		{Name: "held", Value: float64(len(s.held))},
		{Name: "held_bytes", Value: float64(s.bytes)},
		{Name: "received_total", Value: float64(s.count.received)},
		{Name: "repeated_total", Value: float64(s.count.repeated)},
		{Name: "refused_total", Value: float64(s.count.refused)},
		{Name: "expired_total", Value: float64(s.count.expired)},
	}, nil
}
