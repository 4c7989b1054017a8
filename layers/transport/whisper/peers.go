package whisper

import (
	"fmt"
	"slices"
	"time"

	"github.com/stratanode/strata/layers"
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

// peer is a live link.
type peer struct {
	id       overlay.PeerID
	slot     int // in Node.slots, and in every peerSet
	pow      float64
	bloom    Bloom
	full     bool // bloom matches everything
	confirms bool

	cursor  uint64    // the peer has been offered all of the pool before it
	scanned time.Time // when the cursor was last set back
	rescan  time.Time // when it is to be set back; zero for never

	sending       bool // a Send is unanswered
	update        *overlay.Outgoing
	confirmations []overlay.Outgoing
	waiting       int       // bytes of confirmations
	awaited       []awaited // oldest first
	unconfirmed   []*entry  // own envelopes in the Send that nobody will confirm
}

// awaited is a packet of own envelopes, among others, that may be confirmed.
type awaited struct {
	batch transport.Hash
	own   []transport.Hash
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
	default:
		panic(fmt.Sprintf("whisper: %T does not describe a peer", packet))
	}
}

func (p *peer) setBloom(b Bloom) { p.bloom, p.full = b, b.Full() }

// confirm queues the confirmation of a packet: what was refused, then that it
// has come.
func (p *peer) confirm(batch transport.Hash, refusals []Refusal) {
	if len(refusals) > 0 {
		p.queue(encodeResponse(batch, refusals))
	}
	p.queue(encodeAcknowledged(batch))
}

func (p *peer) queue(o overlay.Outgoing) {
	p.confirmations = append(p.confirmations, o)
	p.waiting += len(o.Payload)
	for p.waiting > maxConfirmations {
		p.waiting -= len(p.confirmations[0].Payload)
		p.confirmations[0] = overlay.Outgoing{}
		p.confirmations = p.confirmations[1:]
	}
}

// connect registers a peer, or renews what is known of one.
func (n *Node) connect(e overlay.Connected, out *output) {
	p := n.peers[e.Peer]
	if p == nil {
		p = &peer{id: e.Peer, bloom: FullBloom(), full: true}
		p.slot = n.takeSlot(p)
		n.peers[e.Peer] = p
		out.Up = append(out.Up, transport.Peers{Count: len(n.peers)})
	}
	for _, packet := range e.State {
		p.learn(packet)
	}
	p.cursor, p.scanned, p.rescan = 0, time.Time{}, time.Time{}
	if n.cfg.Interest == Subscribed && n.subscribed {
		// The link may have been greeted with an earlier interest.
		p.update = new(encodeBloom(n.gate.interest))
	}
}

// takeSlot finds a free slot, and forgets what its last holder knew.
func (n *Node) takeSlot(p *peer) int {
	slot := slices.Index(n.slots, nil)
	if slot < 0 {
		n.slots = append(n.slots, p)
		return len(n.slots) - 1
	}
	n.slots[slot] = p
	for _, x := range n.pool.log {
		x.known.clear(slot)
	}
	return slot
}

func (n *Node) disconnect(id overlay.PeerID, out *output) {
	p := n.peers[id]
	if p == nil {
		return
	}
	delete(n.peers, id)
	n.slots[p.slot] = nil
	out.Up = append(out.Up, transport.Peers{Count: len(n.peers)})
}

// disconnectAll forgets all links, after the overlay has restarted.
func (n *Node) disconnectAll(out *output) {
	if len(n.peers) == 0 {
		return
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
	n.rescanDue(now)
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
func (n *Node) written(p *peer, out *output) {
	p.sending = false
	for _, x := range p.unconfirmed {
		n.returned(x, out)
	}
	p.unconfirmed = nil
}

// bundle is a packet of envelopes.
type bundle struct {
	entries []*entry
	payload []byte
	batch   transport.Hash // zero until asked for
}

// flush sends to each peer that is free what there is for it. Peers that get the
// same envelopes share the packet.
func (n *Node) flush(out *output) {
	var last bundle
	for _, p := range n.slots {
		if p == nil || p.sending {
			continue
		}
		packets := p.confirmations
		p.confirmations, p.waiting = nil, 0
		if p.update != nil {
			packets = append(packets, *p.update)
			p.update = nil
		}
		if p.cursor < n.pool.next && n.pick(p, &last) {
			packets = append(packets, overlay.Outgoing{Code: codeMessages, Payload: last.payload})
			n.expect(p, &last)
		}
		if len(packets) > 0 {
			p.sending = true
			out.Down = append(out.Down, overlay.Send{Peer: p.id, Packets: packets})
		}
	}
}

// pick makes b the next packet of envelopes for p, and reports whether there
// is one. It never holds what is below the peer's requirement or outside its
// interest, for which geth would end the link, or what the peer knows. What has
// expired left the pool at the beginning of the step.
func (n *Node) pick(p *peer, b *bundle) bool {
	var (
		picked = n.picked[:0]
		size   = 0
		alone  = n.cfg.MaxMessageSize - maxHeader
		limit  = min(n.cfg.BundleBytes-maxHeader, alone)
	)
	cursor := n.pool.next
	for _, x := range n.pool.since(p.cursor) {
		if x.dead() || x.known.has(p.slot) || len(x.raw) > alone || !p.wants(x) {
			continue
		}
		if len(picked) > 0 && size+len(x.raw) > limit {
			cursor = x.seq
			break
		}
		picked = append(picked, x)
		size += len(x.raw)
		x.known.set(p.slot)
	}
	p.cursor = cursor
	n.picked = picked
	if len(picked) == 0 {
		return false
	}
	if slices.Equal(picked, b.entries) {
		return true
	}
	payload := appendHeader(make([]byte, 0, size+maxHeader), listOffset, size)
	for _, x := range picked {
		payload = append(payload, x.raw...)
	}
	*b = bundle{entries: slices.Clone(picked), payload: payload}
	return true
}

// expect remembers which own envelopes go out to p in a packet.
func (n *Node) expect(p *peer, b *bundle) {
	var own []transport.Hash
	for _, x := range b.entries {
		switch {
		case !x.own() || !n.unanswered(x):
		case p.confirms:
			own = append(own, x.hash)
		default:
			p.unconfirmed = append(p.unconfirmed, x)
		}
	}
	if own == nil {
		return
	}
	if b.batch == (transport.Hash{}) {
		b.batch = layers.Keccak256(b.payload)
	}
	if len(p.awaited) == maxAwaited {
		p.awaited = slices.Delete(p.awaited, 0, 1)
	}
	p.awaited = append(p.awaited, awaited{b.batch, own})
}

// acknowledged settles the own envelopes of a packet that a peer has confirmed.
func (n *Node) acknowledged(p *peer, batch transport.Hash, refusals []Refusal, out *output) {
	i := slices.IndexFunc(p.awaited, func(a awaited) bool { return a.batch == batch })
	if i < 0 {
		return
	}
	own := p.awaited[i].own
	p.awaited = slices.Delete(p.awaited, i, i+1)
	refused := make(map[transport.Hash]bool, len(refusals))
	for _, r := range refusals {
		refused[r.Hash] = true
	}
	for _, h := range own {
		if x := n.pool.byHash[h]; x != nil && !refused[h] {
			n.returned(x, out)
		}
	}
}
