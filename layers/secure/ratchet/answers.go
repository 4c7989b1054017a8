package ratchet

import (
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/secure"
)

// What waits for the answer of the layer below, at most.
const (
	maxUnanswered      = 4096     // messages
	maxUnansweredBytes = 64 << 20 // bytes of them all
)

// codeRetry is how soon the contact code is published again if no peer took it.
const codeRetry = 2 * time.Minute

// cause says whose message a Seal carries.
type cause uint8

const (
	messageOfAbove cause = iota
	contactCodeMessage
	bundleAnswer
)

// sealed is a Seal that is not yet answered. It is repeated as it is: nothing
// is encrypted twice.
type sealed struct {
	seal  envelope.Seal
	cause cause
	order uint64
}

func (n *Node) emit(s envelope.Seal, c cause, out *output) {
	n.emitted++
	n.unanswered[s.Ref] = &sealed{seal: s, cause: c, order: n.emitted}
	n.bytes += len(s.Payload)
	out.Down = append(out.Down, s)
}

func (n *Node) accepted(ref layers.Ref, out *output) {
	if s, known := n.unanswered[ref]; known && s.cause == messageOfAbove {
		out.Up = append(out.Up, secure.Accepted{Ref: ref})
	}
}

// answer hands a final answer to who asked. One that nobody waits for belongs
// to an earlier life; the layer above asks again.
func (n *Node) answer(now time.Time, ref layers.Ref, e secure.Event, out *output) {
	s, known := n.unanswered[ref]
	if !known {
		return
	}
	delete(n.unanswered, ref)
	n.bytes -= len(s.seal.Payload)
	switch s.cause {
	case messageOfAbove:
		out.Up = append(out.Up, e)
	case contactCodeMessage:
		n.codeAnswered(now, e, out)
	}
}

func (n *Node) codeAnswered(now time.Time, e secure.Event, out *output) {
	n.publishing = false
	if _, ok := e.(secure.Relayed); ok {
		n.own.published, n.retryCode = now, time.Time{}
		out.Save = append(out.Save, numberRecord(keyCode, now.UnixNano()))
	} else {
		n.retryCode = now.Add(codeRetry)
	}
	n.nextCode = n.codeDue(now)
	out.WakeAt(n.nextCode)
}
