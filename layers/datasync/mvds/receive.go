package mvds

import (
	"bytes"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
	"github.com/stratanode/strata/layers/secure"
)

// held is a message that was reported upwards and is not taken yet. It is
// durable because many old clients practically never send again.
type held struct {
	sequence uint64 // order of arrival over all lives
	peer     *peer
	received datasync.Received
}

func (h *held) size() int { return len(h.received.Body) }

// receive takes a datagram apart. What is not MVDS goes up unchanged: public
// messages, and private ones of clients that do not synchronise.
func (n *Node) receive(now time.Time, e secure.Received, out *output) {
	if len(e.Body) == 0 {
		return // normal traffic of old clients: a payload with nothing in it
	}
	load, isMVDS := payload{}, false
	if e.Channel == "" {
		load, isMVDS = decode(e.Body)
	}
	if !isMVDS {
		out.Up = append(out.Up, datasync.Received{
			From: e.From, Channel: e.Channel, Protection: e.Protection, Body: e.Body, Sent: e.Sent,
		})
		return
	}
	p := n.peerOf(e.From)
	for _, id := range load.acks {
		if m := n.messages[id]; m != nil && m.peer == p {
			n.finish(now, m, delivered, "", out)
		}
	}
	for _, id := range load.requests {
		n.requested(now, p, id)
	}
	for _, id := range load.offers {
		n.offered(now, p, id)
	}
	for _, m := range load.messages {
		n.receiveMessage(now, p, e, m, out)
	}
	n.flush(now, p, out)
}

// requested sends a message that its receiver asks for, unless it is under way.
func (n *Node) requested(now time.Time, p *peer, id datasync.MessageID) {
	m := n.messages[id]
	if m == nil || m.peer != p || now.Sub(m.sentAt) < requestGap || m.flying != nil && !m.flying.accepted {
		return
	}
	n.offer(m)
}

// offered asks for a message that is not known, and acknowledges a known one.
// Nothing is remembered of an offer; who means it repeats it.
func (n *Node) offered(now time.Time, p *peer, id datasync.MessageID) {
	if _, ok := n.held.get(id); ok || n.ownEcho(p, id) || !n.mayAnswer(now, p) {
		return
	}
	if n.seen.has(p.short, id) {
		n.queueAck(now, p, id)
	} else {
		n.queueRequest(now, p, id)
	}
}

// ownEcho reports whether the message came back from this very installation,
// which it does when it was sent to the own other devices.
func (n *Node) ownEcho(p *peer, id datasync.MessageID) bool {
	return p.key == n.self && n.usedID(id)
}

// receiveMessage reports a message that is new, and acknowledges one that was
// taken before: the first acknowledgement may be lost.
func (n *Node) receiveMessage(now time.Time, p *peer, e secure.Received, m wireMessage, out *output) {
	if !bytes.Equal(m.group, p.group[:]) {
		return // a stranger to the group, or no group of two
	}
	id := m.id()
	if n.ownEcho(p, id) {
		return
	}
	if n.seen.has(p.short, id) {
		if n.mayAnswer(now, p) {
			n.queueAck(now, p, id)
		}
		return
	}
	if _, ok := n.held.get(id); ok || !n.roomFor(p, len(m.body)) {
		return
	}
	h := &held{sequence: n.sequence, peer: p, received: datasync.Received{
		ID: id, From: e.From, Protection: e.Protection,
		Body: bytes.Clone(m.body), // the rest of the datagram need not be kept
		Sent: sentTime(m.timestamp, e.Sent),
	}}
	n.sequence++
	n.hold(h)
	out.Save = append(out.Save, h.record())
	out.Up = append(out.Up, h.received)
}

// sentTime is what the sender wrote on the message, because that of a repeated
// one is earlier than that of its envelope. It cannot be later.
func sentTime(timestamp int64, envelope time.Time) time.Time {
	if timestamp <= 0 || timestamp > envelope.Unix() {
		return envelope
	}
	return time.Unix(timestamp, 0)
}

func (n *Node) roomFor(p *peer, size int) bool {
	return n.held.len() < maxHeld && n.held.bytes+size <= maxHeldBytes &&
		p.held < maxHeldPeer && p.heldBytes+size <= maxHeldPeerBytes
}

func (n *Node) hold(h *held) {
	n.held.add(h.received.ID, h)
	h.peer.held++
	h.peer.heldBytes += h.size()
}

// taken acknowledges a message that the layer above has made durable.
func (n *Node) taken(now time.Time, id datasync.MessageID, out *output) {
	h, ok := n.held.get(id)
	if !ok {
		return // taken before
	}
	p := h.peer
	n.held.remove(id)
	p.held--
	p.heldBytes -= h.size()
	out.Save = append(out.Save, layers.Record{Key: heldKey(h.sequence)})
	out.Save = append(out.Save, n.seen.add(p.short, id, now)...)
	n.queueAck(now, p, id)
	n.flush(now, p, out)
}
