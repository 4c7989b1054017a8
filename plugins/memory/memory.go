// Package memory is a transport for tests and simulations: a medium within one
// process, which may lose, repeat and delay, the same each time for one seed.
//
// It has no goroutine and no clock but Options.Now and the timers of Receive,
// so it runs in the virtual time of testing/synctest.
package memory

import (
	"sync"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

const (
	maxData  = 1 << 20        // bytes of an envelope's Data
	maxTTL   = 24 * time.Hour // for simulations of a day
	maxHeld  = 1 << 16        // envelopes in the medium
	maxBytes = 256 << 20      // bytes of Data in the medium
	maxQueue = 1 << 14        // deliveries that wait for one node
)

// Network is the medium that nodes share. It keeps envelopes until their TTL is
// over, for nodes that open or subscribe later. The zero value is ready, and
// perfect. The fields are not to be changed after the first New.
type Network struct {
	Loss   float64       // chance that a node never gets an envelope, 0 to 1
	Repeat float64       // chance that a node gets it twice, 0 to 1
	Delay  time.Duration // longest time on the way; each delivery takes 0 to Delay
	Seed   uint64        // of the dice; what becomes of a delivery depends on it and on the order of publishing only

	mu    sync.Mutex
	nodes []*Node // that are open, in the order of New
	made  uint64
	sent  uint64
	held  []*item   // by the order of publishing
	bytes int       // of Data
	first time.Time // when the first of held expires, or before
}

// item is an envelope in the medium.
type item struct {
	transport.Envelope
	number  uint64
	from    *Node
	settled bool           // from has, or will have, a receipt
	given   map[*Node]bool // nodes that need not get it any more
}

// New returns a node of the network, not yet open.
func (n *Network) New() transport.Transport {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.made++
	return &Node{net: n, number: n.made, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// publish takes an envelope from a node.
func (n *Network) publish(from *Node, e transport.Envelope) error {
	now := from.now()
	switch {
	case len(e.Data) > maxData:
		return transport.ErrTooLarge
	case len(e.Data) == 0:
		return transport.Invalid("data", "empty")
	case e.TTL < time.Second || e.TTL > maxTTL:
		return transport.Invalid("ttl", "%v is not in 1s to %v", e.TTL, maxTTL)
	case !now.Before(e.Expiry()):
		return transport.ErrExpired
	}
	n.expire(now)
	if len(n.held) >= maxHeld || n.bytes+len(e.Data) > maxBytes {
		return transport.ErrBusy
	}
	n.sent++
	it := &item{Envelope: e, number: n.sent, from: from, given: map[*Node]bool{from: true}}
	if len(n.held) == 0 || e.Expiry().Before(n.first) {
		n.first = e.Expiry()
	}
	n.held = append(n.held, it)
	n.bytes += len(e.Data)
	for _, to := range n.nodes {
		to.offer(now, it)
	}
	from.signal() // it may be told of the receipt, or when to look for it
	return nil
}

// expire drops what is too old. Envelopes whose sender still waits for a
// receipt get one.
func (n *Network) expire(now time.Time) {
	if len(n.held) == 0 || now.Before(n.first) {
		return
	}
	kept := n.held[:0]
	n.first = now.Add(maxTTL)
	for _, it := range n.held {
		if end := it.Expiry(); now.Before(end) {
			kept = append(kept, it)
			if end.Before(n.first) {
				n.first = end
			}
			continue
		}
		n.bytes -= len(it.Data)
		it.settle(transport.OutcomeExpired)
	}
	clear(n.held[len(kept):])
	n.held = kept
}

// settle gives the sender its receipt, once.
func (it *item) settle(o transport.Outcome) {
	if !it.settled {
		it.settled = true
		it.from.receipts = append(it.from.receipts, transport.Receipt{ID: it.ID, Outcome: o})
		it.from.signal()
	}
}
