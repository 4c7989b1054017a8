// Package status is the payload layer of the Status clients: chats, the formats
// of their messages, the clocks that order them, what became of each, and their
// history (Status 6/PAYLOADS).
//
// It speaks the protobuf format of the clients of 2020; every format is a file
// of its own behind decode.
package status

import (
	"fmt"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
	"github.com/stratanode/strata/layers/payload"
)

type output = layers.Output[payload.Event, datasync.Command]

var _ layers.Protocol[payload.Command, payload.Event, datasync.Command, datasync.Event] = (*Node)(nil)

// Node is the payload layer of one identity.
type Node struct {
	cfg      Config
	identity layers.PrivateKey
	self     layers.PublicKey
	saved    layers.Saved

	chats     map[payload.ChatID]*chat // all that were ever opened, also the left ones
	strangers int                      // open chats of people this node never wrote to
	seq       uint64                   // of the next message that becomes durable
	said      said
	outbox    outbox

	opened bool // the first Wake was there
	ready  bool // data sync is open
	info   datasync.Info
	alarm  time.Time // last asked for
}

// New returns the payload layer of identity, which signs every message, with
// what it saved in an earlier life. It panics if there is no identity, and on a
// record that it did not write.
func New(cfg Config, identity layers.PrivateKey, saved layers.Saved) *Node {
	if identity.IsZero() {
		panic("status: no identity")
	}
	n := &Node{
		cfg: cfg, identity: identity, self: identity.Public(), saved: saved,
		chats:  map[payload.ChatID]*chat{},
		said:   newSaid(),
		outbox: newOutbox(),
	}
	n.load()
	return n
}

// FromAbove implements layers.Protocol. Every command but Attach is answered by
// one event in the same step; what is wrong with a command is said in a Refused.
func (n *Node) FromAbove(now time.Time, c payload.Command) (output, error) {
	var out output
	switch c := c.(type) {
	case payload.Attach:
		out.Up = append(out.Up, payload.Ready{Self: n.self})
	case payload.Say:
		n.answer(&out, c.Ref, n.say(&out, now, c))
	case payload.Join:
		n.answer(&out, c.Ref, n.join(&out, c))
	case payload.Leave:
		n.answer(&out, c.Ref, n.leave(&out, c))
	case payload.History:
		n.answer(&out, c.Ref, n.history(&out, c))
	case payload.ListChats:
		out.Up = append(out.Up, payload.Chats{Ref: c.Ref, Chats: n.list()})
	default:
		panic(fmt.Sprintf("status: unknown command %T", c))
	}
	n.setAlarm(&out)
	return out, nil
}

// answer turns the refusal of a command into the event that says so.
func (n *Node) answer(out *output, ref layers.Ref, refusal error) {
	if refusal != nil {
		*out = output{Up: []payload.Event{payload.Refused{Ref: ref, Reason: refusal.Error()}}}
	}
}

// FromBelow implements layers.Protocol.
func (n *Node) FromBelow(now time.Time, e datasync.Event) (output, error) {
	var (
		out output
		err error
	)
	switch e := e.(type) {
	case datasync.Ready:
		n.resume(&out, now, e.Info)
	case datasync.Received:
		err = n.received(&out, now, e)
	case datasync.Queued:
		err = n.queued(&out, payload.MessageID(e.Ref))
	case datasync.Sent:
		err = n.moved(&out, payload.MessageID(e.Ref), payload.Sent, "")
	case datasync.Relayed:
		err = n.moved(&out, payload.MessageID(e.Ref), payload.Relayed, "")
	case datasync.Delivered:
		err = n.moved(&out, payload.MessageID(e.Ref), payload.Delivered, "")
	case datasync.Failed:
		err = n.failed(&out, now, payload.MessageID(e.Ref), e.Reason)
	default:
		panic(fmt.Sprintf("status: unknown event %T", e))
	}
	if err != nil {
		return output{}, err
	}
	n.setAlarm(&out)
	return out, nil
}

// Wake implements layers.Protocol.
func (n *Node) Wake(now time.Time) output {
	var out output
	if !n.opened {
		n.opened = true
		out.Down = append(out.Down, datasync.Attach{})
		out.Up = append(out.Up, payload.Ready{Self: n.self})
	}
	n.alarm = time.Time{}
	n.retry(&out, now)
	n.setAlarm(&out)
	return out
}

// setAlarm asks for the wake-up that is due first, unless that was done already.
func (n *Node) setAlarm(out *output) {
	if due := n.outbox.next(); !due.Equal(n.alarm) {
		n.alarm = due
		out.WakeAt(due)
	}
}

// resume repeats everything that data sync may have forgotten.
func (n *Node) resume(out *output, now time.Time, info datasync.Info) {
	n.ready, n.info = true, info
	out.Down = append(out.Down, n.watch())
	for _, p := range n.outbox.inOrder() {
		if p.attempts == 0 || p.inFlight {
			n.offer(out, now, p)
		}
	}
}
