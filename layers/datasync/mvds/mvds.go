// Package mvds is data sync by MVDS, the minimum viable data synchronisation of
// Vac, in the wire format of v0.0.23 as Status uses it: batch mode, one group
// for every two people.
//
// A message is sent at once, and again with growing pauses until its receiver
// acknowledges it or it expires. A received message is reported until the layer
// above has taken it, and only then acknowledged, so that an acknowledgement
// means that it is safe there.
package mvds

import (
	"cmp"
	"container/list"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
	"github.com/stratanode/strata/layers/secure"
)

type output = layers.Output[datasync.Event, secure.Command]

// Node synchronises the private messages of one identity with its peers.
type Node struct {
	cfg    Config
	self   layers.PublicKey
	random io.Reader

	opened bool        // the first Wake has been
	known  bool        // secure has said Ready, and info is what it said
	report bool        // the layer above is owed a Ready and all that is open
	info   secure.Info // zero until known
	alarm  time.Time   // what was asked for last

	peers    map[layers.PublicKey]*peer
	idle     list.List // of *peer, the most recently used first
	schedule schedule

	messages    map[datasync.MessageID]*message // queued, not yet acknowledged
	byRef       map[layers.Ref]*message
	queuedBytes int
	done        *results

	held     *ordered[datasync.MessageID, *held]
	sequence uint64 // of the next message held
	seen     *seenIDs
	answers  bucket // over all peers

	unanswered *ordered[layers.Ref, *datagram]
	datagrams  uint64 // made in this life
	broadcasts *ordered[layers.Ref, *broadcast]
	watch      *secure.Watch // nil: none was set
}

// New returns the node of the identity self, with what an earlier life saved.
// The configuration must be valid. Random only spreads retransmissions; nil
// stands for no chance.
func New(cfg Config, self layers.PublicKey, random io.Reader, saved layers.Saved) *Node {
	n := &Node{
		cfg: cfg, self: self, random: random,
		report:     true,
		peers:      map[layers.PublicKey]*peer{},
		messages:   map[datasync.MessageID]*message{},
		byRef:      map[layers.Ref]*message{},
		done:       newResults(),
		held:       newOrdered[datasync.MessageID, *held](),
		seen:       newSeenIDs(),
		unanswered: newOrdered[layers.Ref, *datagram](),
		broadcasts: newOrdered[layers.Ref, *broadcast](),
	}
	n.load(saved)
	return n
}

// FromAbove implements layers.Protocol.
func (n *Node) FromAbove(now time.Time, c datasync.Command) (output, error) {
	var out output
	switch c := c.(type) {
	case datasync.Attach:
		n.attach(&out)
	case datasync.Watch:
		n.setWatch(c, &out)
	case datasync.Publish:
		n.publish(now, c, &out)
	case datasync.Broadcast:
		n.broadcast(c, &out)
	case datasync.Taken:
		n.taken(now, c.ID, &out)
	default:
		panic(fmt.Sprintf("mvds: unknown command %T", c))
	}
	return n.alarmed(out), nil
}

// FromBelow implements layers.Protocol.
func (n *Node) FromBelow(now time.Time, e secure.Event) (output, error) {
	var out output
	switch e := e.(type) {
	case secure.Ready:
		n.ready(now, e.Info, &out)
	case secure.Received:
		if e.From.IsZero() {
			return out, fmt.Errorf("mvds: received: from is nobody")
		}
		n.receive(now, e, &out)
		n.hear(now, e)
	case secure.Accepted:
		n.accepted(now, e.Ref, &out)
	case secure.Relayed:
		n.relayed(now, e.Ref, &out)
	case secure.Expired:
		n.unsent(now, e.Ref, expiredBelow, &out)
	case secure.Refused:
		n.unsent(now, e.Ref, e.Reason, &out)
	default:
		panic(fmt.Sprintf("mvds: unknown event %T", e))
	}
	return n.alarmed(out), nil
}

// Wake implements layers.Protocol.
func (n *Node) Wake(now time.Time) output {
	var out output
	if !n.opened {
		n.open(now)
		out.Down = append(out.Down, secure.Attach{})
	}
	n.forgetStale(now, &out)
	n.serveDue(now, &out)
	out.Save = append(out.Save, n.seen.sweep(now)...)
	out.Save = append(out.Save, n.done.sweep(now)...)
	n.alarm = time.Time{} // the one asked for is spent
	return n.alarmed(out)
}

// open puts right what a clock that went back since the last life made of the
// times of that life: no message waits longer than it would from now.
func (n *Node) open(now time.Time) {
	n.opened = true
	for _, m := range n.messages {
		if m.created.After(now) {
			m.created = now
		}
		if latest := now.Add(n.cfg.RetransmitMax); m.retryAt.After(latest) {
			m.retryAt = latest
		}
		n.arm(m, m.retryAt)
	}
}

// ready takes what the layer below says about itself, and offers it again what
// it has not answered.
func (n *Node) ready(now time.Time, info secure.Info, out *output) {
	changed := n.info != info
	if changed && n.known {
		n.moved(now)
	}
	n.info = info
	// A layer that can carry nothing now is waited for, not failed upon.
	if n.known = n.maxBody() > 0; !n.known {
		return
	}
	if n.report {
		n.reportAll(out)
	} else if changed {
		out.Up = append(out.Up, n.readyEvent())
	}
	if n.watch != nil {
		out.Down = append(out.Down, *n.watch)
	}
	for b := range n.broadcasts.all() {
		out.Down = append(out.Down, b.command)
	}
	for d := range n.unanswered.all() {
		out.Down = append(out.Down, d.command())
	}
	n.flushAll(now, out)
}

func (n *Node) readyEvent() datasync.Ready {
	return datasync.Ready{Info: datasync.Info{MaxBody: n.maxBody()}}
}

// maxBody is the longest body that fits one datagram whatever its envelope of
// MVDS takes.
func (n *Node) maxBody() int { return max(0, n.info.MaxBody-wireOverhead) }

func (n *Node) attach(out *output) {
	n.report = true
	if n.known {
		n.reportAll(out)
	}
}

// reportAll tells the layer above everything it may have missed: what it has not
// taken, how far its messages are, and what became of the finished ones.
func (n *Node) reportAll(out *output) {
	n.report = false
	out.Up = append(out.Up, n.readyEvent())
	for h := range n.held.all() {
		out.Up = append(out.Up, h.received)
	}
	for _, m := range n.queued() {
		m.reportState(out)
	}
	for f := range n.done.all() {
		out.Up = append(out.Up, f.event())
	}
}

// queued returns the queued messages in the order of their creation.
func (n *Node) queued() []*message {
	all := make([]*message, 0, len(n.messages))
	for _, m := range n.messages {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *message) int {
		return cmp.Or(a.created.Compare(b.created), slices.Compare(a.id[:], b.id[:]))
	})
	return all
}

func (n *Node) setWatch(c datasync.Watch, out *output) {
	n.watch = &secure.Watch{Channels: c.Channels, Contacts: c.Contacts}
	if n.known {
		out.Down = append(out.Down, *n.watch)
	}
}
