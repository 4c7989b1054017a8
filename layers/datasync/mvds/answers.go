package mvds

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
	"github.com/stratanode/strata/layers/secure"
)

const expiredBelow = "no peer took it in its time to live"

// accepted notes that a datagram or broadcast has left this node's queue.
func (n *Node) accepted(now time.Time, ref layers.Ref, out *output) {
	if _, ok := n.broadcasts.get(ref); ok {
		out.Up = append(out.Up, datasync.Sent{Ref: ref})
		return
	}
	d, ok := n.unanswered.get(ref)
	if !ok || d.accepted {
		return
	}
	d.accepted = true
	d.peer.unaccepted--
	for _, m := range d.messages {
		n.reached(m, sent, datasync.Sent{Ref: m.ref}, out)
	}
	n.flush(now, d.peer, out)
}

// relayed notes that a peer of the transport has a datagram or broadcast.
func (n *Node) relayed(now time.Time, ref layers.Ref, out *output) {
	if _, ok := n.broadcasts.get(ref); ok {
		n.broadcasts.remove(ref)
		out.Up = append(out.Up, datasync.Relayed{Ref: ref})
		return
	}
	d, ok := n.unanswered.get(ref)
	if !ok {
		return
	}
	n.release(now, d)
	for _, m := range d.messages {
		n.reached(m, relayed, datasync.Relayed{Ref: m.ref}, out)
	}
	n.flush(now, d.peer, out)
}

// reached reports a state of m that is new. It becomes durable with the next
// transmission; until then a restart only makes the message look less far.
func (n *Node) reached(m *message, st state, e datasync.Event, out *output) {
	if n.messages[m.id] == m && m.state < st {
		m.state = st
		out.Up = append(out.Up, e)
	}
}

// unsent ends a broadcast. A datagram is not final: its messages are sent again
// after a pause, because whom or what could not be reached now may be later.
func (n *Node) unsent(now time.Time, ref layers.Ref, reason string, out *output) {
	if _, ok := n.broadcasts.get(ref); ok {
		n.broadcasts.remove(ref)
		out.Up = append(out.Up, datasync.Failed{Ref: ref, Reason: reason})
		return
	}
	d, ok := n.unanswered.get(ref)
	if !ok {
		return
	}
	n.release(now, d)
	for _, m := range d.messages {
		if n.messages[m.id] != m {
			continue
		}
		m.refusal = reason
		if m.wire().size() > n.info.MaxBody {
			n.finish(now, m, failed, tooLong(len(m.body), n.maxBody())+"; "+reason, out)
		}
	}
	n.flush(now, d.peer, out)
}

// release forgets d. Its messages may be sent again when they are due, which is
// not at once: the acknowledgement needs its time.
func (n *Node) release(now time.Time, d *datagram) {
	n.unanswered.remove(d.ref)
	d.peer.unanswered--
	if !d.accepted {
		d.peer.unaccepted--
	}
	for _, m := range d.messages {
		if m.flying != d {
			continue
		}
		m.flying = nil
		if n.messages[m.id] == m && !m.waiting && !m.retryAt.After(now) {
			n.arm(m, now.Add(n.firstWait()))
		}
	}
}

// forgetStale forgets datagrams that the layer below must have answered long
// ago.
func (n *Node) forgetStale(now time.Time, out *output) {
	var touched []*peer
	for d := n.unanswered.oldest(); d != nil && !d.at.Add(n.patience()).After(now); d = n.unanswered.oldest() {
		n.release(now, d)
		touched = append(touched, d.peer)
	}
	for _, p := range touched {
		n.flush(now, p, out)
	}
}

// broadcast is an unanswered message to a public chat.
type broadcast struct{ command secure.Broadcast }

func (b *broadcast) size() int { return len(b.command.Body) }

// broadcast passes a public message on; it is not synchronised.
func (n *Node) broadcast(c datasync.Broadcast, out *output) {
	if _, ok := n.broadcasts.get(c.Ref); ok {
		return
	}
	var reason string
	switch {
	case c.Channel == "":
		reason = "no channel"
	case n.known && len(c.Body) > n.maxBody():
		reason = tooLong(len(c.Body), n.maxBody())
	case n.broadcasts.len() >= maxBroadcasts || n.broadcasts.bytes+len(c.Body) > maxBroadcastBytes:
		reason = fmt.Sprintf("%d public messages are not yet sent", n.broadcasts.len())
	}
	if reason != "" {
		out.Up = append(out.Up, datasync.Failed{Ref: c.Ref, Reason: reason})
		return
	}
	b := &broadcast{secure.Broadcast(c)}
	n.broadcasts.add(c.Ref, b)
	if n.known {
		out.Down = append(out.Down, b.command)
	}
}

func sortPeers(ps []*peer) {
	slices.SortFunc(ps, func(a, b *peer) int { return bytes.Compare(a.key[:], b.key[:]) })
}
