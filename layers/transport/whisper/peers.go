package whisper

import (
	"fmt"
	"slices"
	"time"

	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

const (
	// maxConfirmations bounds what waits for a peer that sends without reading,
	// in bytes of payload. The oldest go first; their sender has its loss.
	maxConfirmations = 1 << 20

	// maxAwaited bounds the packets of own envelopes that a peer has not
	// confirmed. Most peers never confirm more than a second late.
	maxAwaited = 1024

	// rescanAfter is how often at most a peer can make the node look through the
	// pool by changing what it wants.
	rescanAfter = time.Second
)

// peer is a live link. What every step looks at for every peer comes first.
type peer struct {
	sending       bool              // a Send is unanswered
	cursor        uint64            // the peer has been offered all of the pool before it
	price         *overlay.Outgoing // what this node wants of work,
	update        *overlay.Outgoing // and of topics, unless the peer knows
	mail          letters
	confirmations []overlay.Outgoing
	waiting       int // bytes of confirmations

	id       overlay.PeerID
	who      *overlay.PeerID // the same, for those who remember it longer
	slot     int             // in Node.slots, and in the sets of entries
	pow      float64
	bloom    Bloom
	full     bool // bloom matches everything
	confirms bool

	scanned time.Time // when the cursor was last set back
	rescan  time.Time // when it is to be set back; zero for never

	held        holding   // confirmations that wait for the keeper
	awaited     []awaited // oldest first
	unconfirmed []*entry  // own envelopes in the Send that nobody will confirm
	skews       skews
}

// awaited is a packet of own envelopes, among others, that may be confirmed.
type awaited struct {
	batch transport.Hash
	own   []*entry
}

func (p *peer) wants(x *entry) bool {
	return x.pow >= p.pow && (p.full || p.bloom.Match(x.topic))
}

// learn takes over what a packet says about the peer.
func (p *peer) learn(packet overlay.Packet) {
	switch m := packet.(type) {
	case Status:
		p.pow, p.confirms = m.PoW, m.Confirmations
		p.setBloom(m.Bloom)
	case PoWRequirement:
		p.pow = m.PoW
	case BloomFilter:
		p.setBloom(m.Bloom)
	case RateLimits:
		// Said by nobody, and acted upon by nobody.
	default:
		panic(fmt.Sprintf("whisper: %T does not describe a peer", packet))
	}
}

func (p *peer) setBloom(b Bloom) { p.bloom, p.full = b, b.Full() }

// queue lets a confirmation be sent next. It returns how many others that do not
// get out had to go for it.
func (p *peer) queue(o overlay.Outgoing) (dropped uint64) {
	p.confirmations = append(p.confirmations, o)
	p.waiting += len(o.Payload)
	for p.waiting > maxConfirmations {
		p.waiting -= len(p.confirmations[0].Payload)
		p.confirmations[0] = overlay.Outgoing{}
		p.confirmations = p.confirmations[1:]
		dropped++
	}
	return dropped
}

// connect registers a peer, or renews what is known of one.
func (n *Node) connect(now time.Time, e overlay.Connected, out *output) {
	p := n.peers[e.Peer]
	if p == nil {
		p = &peer{id: e.Peer, who: new(e.Peer), bloom: FullBloom(), full: true}
		p.skews.since = now.Unix()
		p.slot = n.takeSlot(p)
		n.peers[e.Peer] = p
		out.Up = append(out.Up, transport.Peers{Count: len(n.peers)})
		n.deliver(n.post.Connected(now, e), out)
	}
	for _, packet := range e.State {
		p.learn(packet)
	}
	p.cursor, p.scanned, p.rescan = 0, time.Time{}, time.Time{}
	// The link may have been greeted with what was wanted earlier.
	if n.cfg.Interest == Subscribed && n.subscribed || n.altered {
		p.update = new(encodeBloom(n.gate.interest))
	}
	if n.repriced {
		p.price = new(encodePoW(n.gate.minPoW))
	}
}

// takeSlot finds a free slot, and forgets what its last holder knew.
func (n *Node) takeSlot(p *peer) int {
	if slot, ok := n.heir.slots[p.id]; ok {
		delete(n.heir.slots, p.id)
		n.slots[slot] = p
		return slot
	}
	slot := slices.Index(n.slots, nil)
	if slot < 0 {
		n.slots = append(n.slots, p)
		return len(n.slots) - 1
	}
	n.slots[slot] = p
	for _, x := range n.pool.log {
		n.pool.known.clear(x, slot)
	}
	return slot
}

func (n *Node) disconnect(now time.Time, id overlay.PeerID, out *output) {
	p := n.peers[id]
	if p == nil {
		n.disinherit(id)
		return
	}
	delete(n.peers, id)
	n.slots[p.slot] = nil
	out.Up = append(out.Up, transport.Peers{Count: len(n.peers)})
	p.lettersLost(out)
	n.deliver(n.post.Disconnected(now, id), out)
}

// disconnectAll forgets all links, after the overlay has restarted.
func (n *Node) disconnectAll(out *output) {
	if len(n.peers) == 0 {
		return
	}
	for _, p := range n.slots {
		if p != nil {
			p.lettersLost(out)
		}
	}
	clear(n.peers)
	clear(n.slots)
	out.Up = append(out.Up, transport.Peers{})
}

// adjust takes over a change in what a peer wants, and offers it the pool again.
func (n *Node) adjust(now time.Time, p *peer, packet overlay.Packet) {
	p.learn(packet)
	if p.rescan.IsZero() {
		p.rescan = p.scanned.Add(rescanAfter)
		n.rescans = append(n.rescans, p)
	}
	if n.rescanDue(now); !p.rescan.IsZero() {
		n.limited.updates++
	}
}

// rescanDue sets the cursors back that are due to be.
func (n *Node) rescanDue(now time.Time) {
	n.rescans = slices.DeleteFunc(n.rescans, func(p *peer) bool {
		if now.Before(p.rescan) {
			return n.peers[p.id] != p
		}
		if !p.rescan.IsZero() {
			p.cursor, p.scanned, p.rescan = 0, now, time.Time{}
		}
		return true
	})
}

// written goes on with a peer whose last Send is out.
func (n *Node) written(now time.Time, p *peer, out *output) {
	p.sending = false
	for _, x := range p.unconfirmed {
		n.returned(x, out)
	}
	p.unconfirmed = nil
	n.lettersWritten(now, p, out)
}
