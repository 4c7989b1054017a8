package actors

import (
	"slices"
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

// done gives up the credit of a message that is not worked off further.
func (s *stamped[M]) done() { s.credit.Return() }

// share implements addressed.
func (s *stamped[M]) share() { s.credit.share(1) }

// addressed is a stamped message of any kind.
type addressed interface {
	done()
	share()
}

// Port is a typed address: it takes an M and nothing else. The zero Port drops
// what it is sent. It is safe for concurrent use.
type Port[M any] struct {
	root *actor.RootContext
	to   *targets
}

// targets are who gets what is sent through a port. They may change while it is
// in use: a new resident of a slot may stand on another one.
type targets struct{ list atomic.Pointer[[]target] }

// target is one actor and the number of messages on their way to it.
type target struct {
	name  string
	pid   *actor.PID
	queue *atomic.Int64
}

func (t *targets) all() []target {
	if list := t.list.Load(); list != nil {
		return *list
	}
	return nil
}

// add makes t one of the targets. Changes are made one at a time.
func (t *targets) add(one target) {
	if slices.ContainsFunc(t.all(), func(o target) bool { return o.name == one.name }) {
		return
	}
	list := append(slices.Clone(t.all()), one)
	t.list.Store(&list)
}

// remove undoes add.
func (t *targets) remove(name string) {
	list := slices.DeleteFunc(slices.Clone(t.all()), func(o target) bool { return o.name == name })
	t.list.Store(&list)
}

// send hands m to every target. Each holds the credit until it is done with m.
func (p Port[M]) send(m M, span Span, credit *Credit) {
	if p.to == nil {
		return
	}
	to := p.to.all()
	if len(to) == 0 {
		return
	}
	s := &stamped[M]{m, span, credit}
	credit.share(len(to))
	for _, t := range to {
		t.queue.Add(1)
		p.root.Send(t.pid, s)
	}
}
