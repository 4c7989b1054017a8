package actors

import (
	"sync"
	"sync/atomic"
)

// valve is between an edge and those who stand on its slot. It holds back what
// an edge says that is not yet the resident, and most of what one says that is
// no longer.
type valve[E any] struct {
	flows atomic.Bool // open, and nothing to look at: the common case

	mu    sync.Mutex
	state valveState
	held  []heldBack[E]
	keep  func(E) bool
}

type valveState int

const (
	holding valveState = iota
	flowing
	filtering
	closed
)

// heldBack is an event that waits for its edge to become the resident.
type heldBack[E any] struct {
	event  E
	credit *Credit
}

func newValve[E any]() *valve[E] { return &valve[E]{} }

// passes reports whether e may go up now. If not, its credit is taken care of.
func (v *valve[E]) passes(e E, c *Credit) bool {
	if v.flows.Load() {
		return true
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch v.state {
	case holding: // few: nobody has subscribed to anything yet
		v.held = append(v.held, heldBack[E]{e, c})
		return false
	case filtering:
		if v.keep(e) {
			return true
		}
	case flowing:
		return true
	}
	c.Return()
	return false
}

// open lets everything through, first of all what was held.
func (v *valve[E]) open(send func(E, *Credit)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, h := range v.held {
		send(h.event, h.credit)
	}
	v.held, v.state = nil, flowing
	v.flows.Store(true)
}

// filter lets through only what keep wants.
func (v *valve[E]) filter(keep func(E) bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.state, v.keep = filtering, keep
	v.flows.Store(false)
}

// shut lets nothing through any more.
func (v *valve[E]) shut() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, h := range v.held {
		h.credit.Return()
	}
	v.held, v.state = nil, closed
	v.flows.Store(false)
}
