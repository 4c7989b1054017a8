package mvds

import (
	"bytes"
	"cmp"
	"container/list"
	"slices"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
	"github.com/stratanode/strata/layers/secure"
)

// peer is what is pending with one person, or was lately.
type peer struct {
	key   layers.PublicKey
	short compressed
	group [32]byte
	place *list.Element // in Node.idle

	timer                           // when acks and requests are to be sent
	acks       []datasync.MessageID // waiting for company
	requests   []datasync.MessageID // likewise
	answersDue bool                 // they have waited long enough

	messages   list.List  // of *message, the one sent longest ago first
	waiting    []*message // to be sent as soon as the gate is open
	unaccepted int        // datagrams that have not left the node
	unanswered int        // datagrams without a final answer

	held, heldBytes int
	answers         bucket

	heard     time.Time // when the last datagram came; zero: not in this life
	back      bool      // after a silence; what waits is hurried in parts
	nextHurry time.Time
}

// busy reports whether forgetting p would lose anything but rates.
func (p *peer) busy() bool {
	return p.messages.Len() > 0 || p.held > 0 || p.unanswered > 0 || len(p.acks)+len(p.requests) > 0
}

// peerOf returns the peer of that key, made if need be.
func (n *Node) peerOf(key layers.PublicKey) *peer {
	if p := n.peers[key]; p != nil {
		n.idle.MoveToFront(p.place)
		return p
	}
	p := &peer{key: key, short: key.Compressed(), group: oneToOne(n.self, key)}
	p.timer.peer = p
	p.place = n.idle.PushFront(p)
	n.peers[key] = p
	n.forgetPeers()
	return p
}

// forgetPeers drops the least recently used idle peers beyond maxPeers. Busy
// ones are bounded elsewhere; a few of them are passed over in each call.
func (n *Node) forgetPeers() {
	for range 4 {
		if len(n.peers) <= maxPeers {
			return
		}
		p := n.idle.Back().Value.(*peer)
		if p.busy() {
			n.idle.MoveToFront(p.place)
			continue
		}
		n.idle.Remove(p.place)
		delete(n.peers, p.key)
	}
}

// hear notes that something private of a peer came, MVDS or not. If he was silent
// and is back, his messages that are on a long pause become due soon, some at a
// time.
func (n *Node) hear(now time.Time, e secure.Received) {
	p := n.peers[e.From]
	if p == nil || e.Channel != "" || e.From == n.self {
		return
	}
	silence := silentWaits * n.firstWait()
	if p.heard.IsZero() || now.Sub(p.heard) >= silence {
		p.back, p.nextHurry = true, now
	}
	p.heard = now
	if p.back && !now.Before(p.nextHurry) {
		p.nextHurry = now.Add(hurryEvery)
		p.back = n.hurry(now, p)
	}
}

// hurry brings the messages that were sent longest ago forward, and reports
// whether there may be more. With every time, a message must have waited twice
// as long: a peer who talks but never acknowledges is not answered with
// everything each time he says something.
func (n *Node) hurry(now time.Time, p *peer) (more bool) {
	soon, examined := now.Add(hurryWithin), 0
	for e := p.messages.Front(); e != nil; e = e.Next() {
		m := e.Value.(*message)
		if now.Sub(m.sentAt) < n.firstWait() {
			return false // and so are all that follow
		}
		if examined++; examined > maxHurried {
			return true
		}
		if m.waiting || m.flying != nil || !m.at.After(soon) || now.Sub(m.sentAt) < n.plainWait(m.hurries+1) {
			continue
		}
		m.attempts = m.hurries
		m.hurries++
		m.retryAt = soon
		n.arm(m, soon)
	}
	return false
}

// moved is called when the layers below carry messages by another way than
// before: what was sent the old way lately may have been lost in the change, and
// is not left to wait for its time. What is on a long pause stays there.
func (n *Node) moved(now time.Time) {
	var recent []*message
	for _, m := range n.messages {
		if !m.sentAt.IsZero() && !m.waiting && m.flying == nil && now.Sub(m.sentAt) < n.firstWait() {
			recent = append(recent, m)
		}
	}
	slices.SortFunc(recent, func(a, b *message) int {
		return cmp.Or(a.sentAt.Compare(b.sentAt), bytes.Compare(a.id[:], b.id[:]))
	})
	for i, m := range recent[:min(len(recent), maxHurried)] {
		n.arm(m, now.Add(movedAfter+time.Duration(i)*hurryWithin/maxHurried))
	}
}

// queueAck lets an acknowledgement wait for company.
func (n *Node) queueAck(now time.Time, p *peer, id datasync.MessageID) {
	if len(p.acks) < maxAcksWaiting && !slices.Contains(p.acks, id) {
		p.acks = append(p.acks, id)
		n.answerSoon(now, p)
	}
}

func (n *Node) queueRequest(now time.Time, p *peer, id datasync.MessageID) {
	if len(p.requests) < maxRequestsPeer && !slices.Contains(p.requests, id) {
		p.requests = append(p.requests, id)
		n.answerSoon(now, p)
	}
}

func (n *Node) answerSoon(now time.Time, p *peer) {
	switch {
	case len(p.acks) >= ackBatch || n.cfg.AckDelay == 0:
		p.answersDue = true
		n.schedule.disarm(&p.timer)
	case !p.answersDue && p.timer.pos == 0:
		n.schedule.arm(&p.timer, now.Add(n.cfg.AckDelay))
	}
}

// mayAnswer spends one of the answers that cost the peer nothing new.
func (n *Node) mayAnswer(now time.Time, p *peer) bool {
	return p.answers.take(now, peerAnswers, peerAnswersRate) && n.answers.take(now, allAnswers, allAnswersRate)
}
