package mvds

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
	"github.com/stratanode/strata/layers/secure"
)

// flush sends what is to be sent to p, while the gate is open.
func (n *Node) flush(now time.Time, p *peer, out *output) {
	for n.known && p.unaccepted < maxUnaccepted {
		p.waiting = n.sendable(now, p.waiting, out)
		if len(p.waiting) == 0 && (!p.answersDue || len(p.acks)+len(p.requests) == 0) {
			return
		}
		if !n.pack(now, p, out) {
			return
		}
	}
}

// flushAll flushes every peer, in the order of their keys.
func (n *Node) flushAll(now time.Time, out *output) {
	var pending []*peer
	for _, p := range n.peers {
		if len(p.waiting)+len(p.acks)+len(p.requests) > 0 {
			pending = append(pending, p)
		}
	}
	sortPeers(pending)
	for _, p := range pending {
		n.flush(now, p, out)
	}
}

// sendable drops from the front what need not or cannot be sent any more.
func (n *Node) sendable(now time.Time, waiting []*message, out *output) []*message {
	for len(waiting) > 0 {
		m := waiting[0]
		if m.waiting {
			if m.wire().size() <= n.info.MaxBody {
				return waiting
			}
			n.finish(now, m, failed, tooLong(len(m.body), n.maxBody()), out)
		}
		waiting[0] = nil
		waiting = waiting[1:]
	}
	return nil
}

// pack makes one datagram of the answers and the messages that wait, and sends
// it. It is false if nothing fits one.
func (n *Node) pack(now time.Time, p *peer, out *output) bool {
	room := min(n.info.MaxBody, maxGathered)
	var (
		load     payload
		gathered int // bytes of messages
		d        = &datagram{peer: p, at: now}
	)
	load.acks, p.acks, room = cut(p.acks, room)
	load.requests, p.requests, room = cut(p.requests, room)
	if len(p.acks)+len(p.requests) == 0 {
		p.answersDue = false
		n.schedule.disarm(&p.timer)
	}
	if len(p.waiting) > 0 && len(load.acks)+len(load.requests) == 0 {
		room = n.info.MaxBody // a long message goes alone
	}
	for len(d.messages) < maxGatheredMessages {
		if p.waiting = n.sendable(now, p.waiting, out); len(p.waiting) == 0 {
			break
		}
		m := p.waiting[0]
		w := m.wire()
		size := w.size()
		if size > room || len(d.messages) > 0 && gathered+size > maxGathered {
			break
		}
		room -= size
		gathered += size
		p.waiting = p.waiting[1:]
		m.waiting = false
		load.messages = append(load.messages, w)
		d.messages = append(d.messages, m)
	}
	if d.body = load.encode(); len(d.body) == 0 {
		return false
	}
	for _, m := range d.messages {
		n.transmitted(now, m, d, out)
	}
	n.send(now, d, out)
	return true
}

// cut takes as many ids as there is room for.
func cut(ids []datasync.MessageID, room int) (taken, rest []datasync.MessageID, left int) {
	k := min(len(ids), room/wireID)
	if k == len(ids) {
		return ids, nil, room - k*wireID
	}
	return ids[:k:k], ids[k:], room - k*wireID
}

// transmitted notes that m goes out with d.
func (n *Node) transmitted(now time.Time, m *message, d *datagram, out *output) {
	m.attempts++
	m.flying, m.sentAt = d, now
	m.retryAt = now.Add(n.wait(m.attempts))
	n.arm(m, m.retryAt)
	m.peer.messages.MoveToBack(m.place)
	if m.saved {
		out.Save = append(out.Save, m.tryRecord())
	}
}

// send hands d down. The reference is new among all lives of this node: the
// layer below may still know those of the last one.
func (n *Node) send(now time.Time, d *datagram, out *output) {
	h := sha256.New()
	h.Write([]byte("strata datagram"))
	h.Write(d.peer.key[:])
	h.Write(binary.BigEndian.AppendUint64(appendTime(nil, now), n.datagrams))
	h.Write(d.body)
	d.ref = layers.Ref(h.Sum(nil))
	n.datagrams++
	d.peer.unaccepted++
	d.peer.unanswered++
	n.unanswered.add(d.ref, d)
	out.Down = append(out.Down, d.command())
	for n.unanswered.len() > maxUnanswered || n.unanswered.bytes > maxUnansweredBytes {
		n.release(now, n.unanswered.oldest())
	}
}

// datagram is a payload on its way out.
type datagram struct {
	ref      layers.Ref
	peer     *peer
	body     []byte
	messages []*message // that it carries
	at       time.Time
	accepted bool
}

func (d *datagram) size() int { return len(d.body) }

func (d *datagram) command() secure.Send {
	return secure.Send{Ref: d.ref, To: d.peer.key, Body: d.body}
}
