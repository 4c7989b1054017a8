package actors

import (
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
)

// Span follows one input through the layers: what a step emits carries the span
// of what it was given. Zero stands for none; a new one begins with whatever
// comes from outside and with every wake-up.
type Span uint64

var spans atomic.Uint64

// newSpan begins a span.
func newSpan() Span { return Span(spans.Add(1)) }

// stamped is how a message travels between actors: with its span, and with the
// credit of the input that caused it.
type stamped[M any] struct {
	m      M
	span   Span
	credit *Credit
}

// Port is a typed address: it takes an M and nothing else. The zero Port drops
// what it is sent. It is safe for concurrent use.
type Port[M any] struct {
	root *actor.RootContext
	to   []target
}

// target is one actor and the number of messages on their way to it.
type target struct {
	pid   *actor.PID
	queue *atomic.Int64
}

// send hands m to every target. Each holds the credit until it is done with m.
func (p Port[M]) send(m M, span Span, credit *Credit) {
	if len(p.to) == 0 {
		return
	}
	s := &stamped[M]{m, span, credit}
	credit.share(len(p.to))
	for _, t := range p.to {
		t.queue.Add(1)
		p.root.Send(t.pid, s)
	}
}
