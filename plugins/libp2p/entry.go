package libp2p

import (
	"container/heap"
	"crypto/sha256"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// idSize is the length in bytes of the name of an envelope: the first half of
// sha256 of its wire form. Who finds a collision suppresses an envelope of
// their own.
const idSize = 16

type envelopeID [idSize]byte

func idOf(wire []byte) envelopeID {
	sum := sha256.Sum256(wire)
	return envelopeID(sum[:idSize])
}

// entry is an envelope that the pool knows, or only remembers.
type entry struct {
	id       envelopeID
	envelope transport.Envelope // Data is part of wire
	wire     []byte             // nil: no longer kept, only remembered
	shard    int
	expiry   time.Time
	stored   time.Time

	gossiped  bool     // has been through gossip, so gossip need not forward it again
	own       bool     // published by this node, never reported to it
	delivered bool     // reported, or not wanted any more
	settled   bool     // if own: its fate is known
	receipts  []uint64 // the host's names of it, while it is not settled

	due   int  // position in the expiry heap
	known bool // still in the pool
}

// expiries is a heap of entries, the first to expire on top.
type expiries []*entry

func (h expiries) Len() int           { return len(h) }
func (h expiries) Less(i, j int) bool { return h[i].expiry.Before(h[j].expiry) }
func (h expiries) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].due, h[j].due = i, j
}

// Push implements heap.Interface.
func (h *expiries) Push(x any) {
	e := x.(*entry)
	e.due = len(*h)
	*h = append(*h, e)
}

// Pop implements heap.Interface.
func (h *expiries) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}

func (h *expiries) remove(e *entry) { heap.Remove(h, e.due) }

// queue is a first-in, first-out list of entries. Entries that live has been
// told are gone are skipped and removed in time.
type queue struct {
	items []*entry
	live  func(*entry) bool
}

func (q *queue) push(e *entry) { q.items = append(q.items, e) }

// oldest returns the first living entry for which ok holds, looking at no more
// than the given number of them.
func (q *queue) oldest(look int, ok func(*entry) bool) *entry {
	for len(q.items) > 0 && !q.live(q.items[0]) {
		q.items[0] = nil
		q.items = q.items[1:]
	}
	for _, e := range q.items {
		if !q.live(e) {
			continue
		}
		if ok(e) {
			return e
		}
		if look--; look == 0 {
			return nil
		}
	}
	return nil
}

// compact drops the dead if they are the majority; alive is the number of the
// living.
func (q *queue) compact(alive int) {
	if len(q.items) <= 2*alive+64 {
		return
	}
	kept := make([]*entry, 0, alive)
	for _, e := range q.items {
		if q.live(e) {
			kept = append(kept, e)
		}
	}
	q.items = kept
}
