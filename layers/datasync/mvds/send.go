package mvds

import (
	"container/list"
	"fmt"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
)

// state is how far a message is.
type state uint8

const (
	queued state = 1 + iota
	sent
	relayed
	delivered
	failed
)

// message is one that waits for its acknowledgement.
type message struct {
	timer     // when it is sent again, or expires
	id        datasync.MessageID
	ref       layers.Ref
	peer      *peer
	created   time.Time
	timestamp int64 // on the wire, Unix seconds
	body      []byte

	state    state
	attempts int
	retryAt  time.Time // durable; the timer may be later
	sentAt   time.Time // last, in this life
	hurries  int
	refusal  string // last reason from below

	saved   bool          // the record out/ is written; later ones are try/
	waiting bool          // in peer.waiting
	flying  *datagram     // not answered from below; it is not sent again before
	place   *list.Element // in peer.messages
}

func (m *message) wire() wireMessage { return wireMessage{m.peer.group[:], m.timestamp, m.body} }

// reportState tells the layer above how far m is.
func (m *message) reportState(out *output) {
	out.Up = append(out.Up, datasync.Queued{Ref: m.ref})
	switch m.state {
	case sent:
		out.Up = append(out.Up, datasync.Sent{Ref: m.ref})
	case relayed:
		out.Up = append(out.Up, datasync.Relayed{Ref: m.ref})
	}
}

// publish queues a message and sends it at once, unless much to the same peer
// has not left the node yet: then it goes with the next datagram.
func (n *Node) publish(now time.Time, c datasync.Publish, out *output) {
	if m := n.byRef[c.Ref]; m != nil {
		m.reportState(out)
		return
	}
	if f, ok := n.done.get(c.Ref); ok {
		out.Up = append(out.Up, datasync.Queued{Ref: c.Ref}, f.event())
		return
	}
	if reason := n.unacceptable(c); reason != "" {
		out.Up = append(out.Up, datasync.Failed{Ref: c.Ref, Reason: reason})
		return
	}
	m := &message{
		ref: c.Ref, peer: n.peerOf(c.To), body: c.Body,
		created: now, timestamp: now.Unix(), retryAt: now,
	}
	// The same words twice in a second have the same id. Both are meant, so the
	// second is dated a little later.
	for m.id = m.wire().id(); n.usedID(m.id); m.id = m.wire().id() {
		m.timestamp++
	}
	n.enter(m)
	out.Up = append(out.Up, datasync.Queued{Ref: m.ref})
	n.offer(m)
	n.flush(now, m.peer, out)
	if n.messages[m.id] == m { // it may have failed at once
		// Written last, the record says whether the message was sent.
		out.Save = append(out.Save, m.record())
		m.saved = true
	}
}

func (n *Node) unacceptable(c datasync.Publish) string {
	switch {
	case c.To.IsZero():
		return "no receiver"
	case len(c.Body) == 0:
		return "empty body"
	case n.known && len(c.Body) > n.maxBody():
		return tooLong(len(c.Body), n.maxBody())
	case len(n.messages) >= n.cfg.MaxQueued:
		return fmt.Sprintf("max_queued: %d messages wait for acknowledgement", len(n.messages))
	case n.queuedBytes+len(c.Body) > maxQueuedBytes:
		return fmt.Sprintf("%d bytes wait for acknowledgement", n.queuedBytes)
	}
	return ""
}

func tooLong(length, longest int) string {
	return fmt.Sprintf("body of %d bytes, the longest is %d", length, longest)
}

func (n *Node) usedID(id datasync.MessageID) bool {
	_, done := n.done.ids[id]
	return done || n.messages[id] != nil
}

// enter puts m into the indexes and the schedule.
func (n *Node) enter(m *message) {
	m.timer.message = m
	m.state = max(m.state, queued)
	m.place = m.peer.messages.PushBack(m)
	n.messages[m.id], n.byRef[m.ref] = m, m
	n.queuedBytes += len(m.body)
	n.arm(m, m.retryAt)
}

// finish takes m out with its result.
func (n *Node) finish(now time.Time, m *message, st state, reason string, out *output) {
	n.schedule.disarm(&m.timer)
	m.peer.messages.Remove(m.place)
	m.waiting = false
	delete(n.messages, m.id)
	delete(n.byRef, m.ref)
	n.queuedBytes -= len(m.body)
	f := &finished{ref: m.ref, id: m.id, at: now, state: st, reason: reason}
	out.Save = append(out.Save, layers.Record{Key: outKey(m.id)}, layers.Record{Key: tryKey(m.id)})
	out.Save = append(out.Save, n.done.add(f)...)
	out.Up = append(out.Up, f.event())
}

// expire gives m up.
func (n *Node) expire(now time.Time, m *message, out *output) {
	reason := fmt.Sprintf("not acknowledged in %v", n.cfg.ExpireAfter)
	if m.refusal != "" {
		reason += "; " + m.refusal
	}
	n.finish(now, m, failed, reason, out)
}

// offer lets m wait for the next datagram to its peer. Its timer is only for
// its expiry then.
func (n *Node) offer(m *message) {
	if !m.waiting {
		m.waiting = true
		m.peer.waiting = append(m.peer.waiting, m)
	}
	n.arm(m, n.expiry(m))
}

// serveDue serves the timers whose time has come.
func (n *Node) serveDue(now time.Time, out *output) {
	var touched []*peer
	for range maxDuePerWake {
		t := n.schedule.due(now)
		if t == nil {
			break
		}
		switch m := t.message; {
		case m == nil:
			t.peer.answersDue = true
			touched = append(touched, t.peer)
		case !now.Before(n.expiry(m)):
			n.expire(now, m, out)
		case m.flying != nil:
			n.arm(m, n.expiry(m)) // the answer from below makes it due again
		default:
			n.offer(m)
			touched = append(touched, m.peer)
		}
	}
	for _, p := range touched {
		n.flush(now, p, out)
	}
}
