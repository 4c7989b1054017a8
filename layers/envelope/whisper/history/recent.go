package history

import "github.com/stratanode/strata/layers/transport"

// short is half a hash: enough to tell envelopes apart, as finding two that
// agree in it takes 2^64 attempts.
type short [16]byte

func shorten(h transport.Hash) short { return short(h[:16]) }

// Recent remembers the last so many hashes that were added to it. Its zero value
// has no room; use NewRecent.
type Recent struct {
	known map[short]struct{}
	order []short // a ring once it is full
	next  int
	limit int
}

// NewRecent returns a set for limit hashes, at about 60 bytes each.
func NewRecent(limit int) *Recent { return &Recent{known: map[short]struct{}{}, limit: limit} }

// Has reports whether h is remembered.
func (r *Recent) Has(h transport.Hash) bool {
	_, known := r.known[shorten(h)]
	return known
}

// Add remembers h. The oldest makes room for it.
func (r *Recent) Add(h transport.Hash) {
	k := shorten(h)
	if _, known := r.known[k]; known || r.limit == 0 {
		return
	}
	r.known[k] = struct{}{}
	if len(r.order) < r.limit {
		r.order = append(r.order, k)
		return
	}
	delete(r.known, r.order[r.next])
	r.order[r.next] = k
	r.next = (r.next + 1) % r.limit
}

// Len returns how many hashes are remembered.
func (r *Recent) Len() int { return len(r.known) }
