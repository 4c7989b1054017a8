package whisper

import (
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

// heir is what a node that goes on for another one knows of the links of that.
// The overlay reports them all once more, as it does to every node that starts.
type heir struct {
	waits bool                   // for the first Ready: what comes before it comes again
	slots map[overlay.PeerID]int // links that are not reported yet; placeholders are in their slots
}

var _ layers.Heir[transport.Command, transport.Event, overlay.Command, overlay.Event] = (*Node)(nil)

// Succeed implements layers.Heir: the node takes over the pool, what is known of
// who has which envelope, and the publications that are in the pool. One that was
// still without its proof of work is offered again by the layer above.
func (n *Node) Succeed(now time.Time, before layers.Protocol[transport.Command, transport.Event, overlay.Command, overlay.Event]) (out output) {
	b, ok := before.(*Node)
	if !ok {
		return out
	}
	n.pool, n.journal, n.early = b.pool, b.journal, b.early
	n.pool.limit = n.cfg.PoolBytes
	n.watch.after(&b.watch, n.pool.next)
	n.heir = heir{waits: true, slots: b.heir.slots}
	if n.heir.slots == nil {
		n.heir.slots = map[overlay.PeerID]int{}
	}
	n.slots = b.slots
	for slot, p := range n.slots {
		if p != nil && b.peers[p.id] == p {
			n.heir.slots[p.id] = slot
			n.slots[slot] = placeholder()
		}
	}
	n.adopt(b)
	n.tellApart(now, b)
	n.post.Inherit(b.post)
	n.begin(now, &out)
	n.pool.shrink()
	n.evicted()
	return n.settled(now, out)
}

// placeholder keeps a slot from being given to another peer; nothing is sent to
// it.
func placeholder() *peer { return &peer{sending: true} }

// adopt takes over the publications of b. Who was asked to confirm one of them
// has been forgotten, so it is offered to all once more.
func (n *Node) adopt(b *Node) {
	n.own = b.own
	for _, pubs := range n.own {
		for _, pub := range pubs {
			n.refs[pub.ref] = pub
		}
	}
	for _, x := range n.pool.log {
		if x.dead() || !x.own() || !n.unanswered(x) {
			continue
		}
		for slot := range n.slots {
			n.pool.known.clear(x, slot)
		}
	}
}

// tellApart has the peers told what this node wants that b did not: they were
// greeted by b, and may have sent something since.
func (n *Node) tellApart(now time.Time, b *Node) {
	n.altered = n.cfg.Interest == Everything && n.gate.interest != b.gate.interest
	if price := n.gate.minPoW; price != b.gate.minPoW {
		n.gate.minPoW, n.repriced = b.gate.minPoW, true
		n.gate.raise(now, price)
	}
}

// linksBegin hears that the overlay reports its links from the beginning. The
// first time an heir hears it, it has asked for it.
func (n *Node) linksBegin(out *output) {
	if n.heir.waits {
		n.heir.waits = false
		return
	}
	for id := range n.heir.slots {
		n.disinherit(id)
	}
	n.disconnectAll(out)
}

// disinherit frees the slot of a link that has ended before it was reported, and
// forgets what it owes.
func (n *Node) disinherit(id overlay.PeerID) {
	if slot, ok := n.heir.slots[id]; ok {
		delete(n.heir.slots, id)
		n.slots[slot] = nil
	}
	n.post.Acquit(id)
}
