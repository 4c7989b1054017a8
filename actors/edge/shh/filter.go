package shh

import (
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
)

// filter takes messages for a client until it asks for them. Its fields are
// guarded by the lock of filters, but for those that never change.
type filter struct {
	id     string
	from   layers.PublicKey // zero: anybody
	lock   *lock
	topics []transport.Topic // empty: all
	minPoW float64           // zero or below: any
	direct bool              // what peers have sent to this node alone as well

	fresh chan struct{} // of a subscription: there is something to take
	timer *time.Timer   // of a polled filter: its end
	used  time.Time     // when it was polled

	gone  bool
	held  []*Message // in the order they came
	known map[transport.Hash]bool
	bytes int
}

// admits reports whether messages of that proof of work may pass.
func (f *filter) admits(pow float64, known bool) bool {
	return f.minPoW <= 0 || !known || pow >= f.minPoW
}

// drop forgets the oldest message.
func (f *filter) drop() {
	m := f.held[0]
	f.held[0] = nil
	f.held = f.held[1:]
	f.bytes -= m.size()
	delete(f.known, transport.Hash(m.Hash))
}
