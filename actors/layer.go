package actors

import (
	"errors"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/stratanode/strata/layers"
)

// Group commit: a layer gathers what its steps save until everything that was
// in its mailbox has been worked off, at most this much, and commits once.
const (
	maxBatchSteps = 64
	maxBatchBytes = 1 << 20
)

// Layer is the one actor that runs any protocol. It carries out the steps:
// first to disk, then to the neighbours.
type Layer[C, E, BC, BE any] struct {
	stack *Stack
	place *place
	below Port[BC]
	above Port[E]
	build func(layers.Saved) layers.Protocol[C, E, BC, BE]

	self       *actor.PID
	parent     *actor.PID
	doCommit   any // messages to itself, made once
	doRetry    any
	keep       func(E) bool      // once it is retired: what it may still report,
	heed       func(C) bool      // and what it is still told
	first      *performed[E, BC] // the first Wake, until it is carried out
	protocol   layers.Protocol[C, E, BC, BE]
	saved      *saved
	quarantine *quarantine
	alarm      alarm

	batch     []performed[E, BC] // finished steps whose records wait for the commit
	bytes     int
	committed bool // false while a commit message is on its way
	stall     stall
}

// performed is a step that is done but for its consequences.
type performed[E, BC any] struct {
	out    layers.Output[E, BC]
	at     time.Time
	span   Span
	credit *Credit
	input  any
}

// commit makes the layer commit its batch. The layer sends it to itself, behind
// what is in the mailbox already.
type commit struct{ own }

func newLayer[C, E, BC, BE any](
	s *Stack, p *place, below Port[BC], build func(layers.Saved) layers.Protocol[C, E, BC, BE],
) *Layer[C, E, BC, BE] {
	l := &Layer[C, E, BC, BE]{stack: s, place: p, below: below, above: portTo[E](s, &p.over), build: build}
	l.doCommit, l.alarm.message, l.doRetry = commit{own{l}}, wake{own{l}}, retry{own{l}}
	return l
}

// takes implements tenant.
func (l *Layer[C, E, BC, BE]) takes(m any) (command, event bool) {
	c, command := m.(*stamped[C])
	_, event = m.(*stamped[BE])
	return command && (l.heed == nil || l.heed(c.m)), event
}

// hear implements tenant.
func (l *Layer[C, E, BC, BE]) hear(m any) {
	switch m := m.(type) {
	case *stamped[C]:
		if !l.stall.hold(m) {
			l.fromAbove(m)
		}
	case *stamped[BE]:
		if !l.stall.hold(m) {
			l.fromBelow(m)
		}
	case commit:
		l.committed = true
		l.commit()
	case wake:
		l.alarm.rang()
		if !l.stall.hold(m) {
			l.wake()
		}
	case retry:
		l.retry()
	case drill:
		l.drill()
	}
}

// open implements tenant: it builds the protocol from what it saved and gives it
// its first Wake.
func (l *Layer[C, E, BC, BE]) open(ctx actor.Context) error {
	l.self, l.parent, l.committed = ctx.Self(), ctx.Parent(), true
	l.saved = &saved{records: l.stack.store.Namespace(l.place.name)}
	l.quarantine = openQuarantine(l.stack.store.Namespace("quarantine/"+l.place.name), l.place)
	l.protocol = l.build(l.saved)
	at := now()
	l.first = &performed[E, BC]{l.protocol.Wake(at), at, newSpan(), nil, nil}
	return nil
}

// begin implements tenant: what the first Wake asked for is carried out.
func (l *Layer[C, E, BC, BE]) begin() {
	func() {
		defer l.guard(nil, nil)
		l.perform(*l.first)
	}()
	l.first = nil
	l.stall.held, l.place.carried = append(l.stall.held, l.place.carried...), nil
	l.resume()
}

// settle implements tenant.
func (l *Layer[C, E, BC, BE]) settle() error {
	if l.commit(); l.stall.on {
		return errors.New("the one in place cannot save what it has done")
	}
	return nil
}

// retire implements tenant.
func (l *Layer[C, E, BC, BE]) retire(x exit) {
	l.keep, l.heed = x.keep.(func(E) bool), x.heed.(func(C) bool)
}

// comeBack implements tenant. No layer comes back: its successor is its heir.
func (l *Layer[C, E, BC, BE]) comeBack(any) { l.keep, l.heed = nil, nil }

// inherit implements tenant.
func (l *Layer[C, E, BC, BE]) inherit(from tenant) {
	heir, able := l.protocol.(layers.Heir[C, E, BC, BE])
	before, same := from.(*Layer[C, E, BC, BE])
	if !able || !same {
		return
	}
	defer l.guard(nil, nil)
	at := now()
	l.perform(performed[E, BC]{heir.Succeed(at, before.protocol), at, newSpan(), nil, nil})
}

// end implements tenant.
func (l *Layer[C, E, BC, BE]) end() {
	l.commit()
	l.close()
}

// close implements tenant.
func (l *Layer[C, E, BC, BE]) close() {
	l.alarm.stop()
	l.stall.stop()
}

func (l *Layer[C, E, BC, BE]) fromAbove(m *stamped[C]) {
	defer l.guard(m.m, m.credit)
	if l.quarantine.holds(m.m) {
		l.refuse(m.m, m.span, m.credit, errQuarantined)
		return
	}
	at := now()
	out, err := l.protocol.FromAbove(at, m.m)
	if err != nil {
		l.refuse(m.m, m.span, m.credit, err)
		return
	}
	l.perform(performed[E, BC]{out, at, m.span, m.credit, m.m})
}

func (l *Layer[C, E, BC, BE]) fromBelow(m *stamped[BE]) {
	defer l.guardBundle(m)
	if l.quarantine.holds(m.m) {
		l.refuse(m.m, m.span, m.credit, errQuarantined)
		return
	}
	at := now()
	out, err := l.protocol.FromBelow(at, m.m)
	if err != nil {
		l.refuse(m.m, m.span, m.credit, err)
		return
	}
	l.perform(performed[E, BC]{out, at, m.span, m.credit, m.m})
}

func (l *Layer[C, E, BC, BE]) wake() {
	defer l.guard(nil, nil)
	at := now()
	l.perform(performed[E, BC]{l.protocol.Wake(at), at, newSpan(), nil, nil})
}

// drill breaks the layer on purpose; see Stack.Drill.
type drill struct{}

func (l *Layer[C, E, BC, BE]) drill() {
	defer l.guard(nil, nil)
	panic("drill")
}

// refuse drops an input that the protocol did not want. Whatever a stranger can
// cause is at most debug.
func (l *Layer[C, E, BC, BE]) refuse(input any, span Span, credit *Credit, err error) {
	l.place.steps.Add(1)
	l.place.bad.Add(1)
	l.stack.log.Debug("input refused", "layer", l.place.name, "type", typeName(input), "err", err)
	l.place.trace.refused(span, input, err)
	credit.Return()
}

// perform carries out one step: at once if nothing is to be saved, else behind
// the commit, in order.
func (l *Layer[C, E, BC, BE]) perform(p performed[E, BC]) {
	l.place.steps.Add(1)
	if len(p.out.Save) == 0 && len(l.batch) == 0 {
		l.emit(p)
		return
	}
	l.batch = append(l.batch, p)
	l.saved.pending = append(l.saved.pending, p.out.Save...)
	for _, r := range p.out.Save {
		l.bytes += len(r.Key) + len(r.Value)
	}
	if len(l.batch) >= maxBatchSteps || l.bytes >= maxBatchBytes {
		l.commit()
	} else if l.committed {
		l.committed = false
		l.stack.kernel.System().Root.Send(l.self, l.doCommit)
	}
}

// commit makes the batch durable and then emits it. If that fails, the layer
// stalls: it keeps the batch, takes no more input, and tries again.
func (l *Layer[C, E, BC, BE]) commit() {
	if len(l.batch) == 0 || l.stall.on {
		return
	}
	if err := l.saved.records.Commit(l.saved.pending); err != nil {
		l.stalled(err)
		return
	}
	batch := l.batch
	l.batch, l.saved.pending, l.bytes = nil, nil, 0
	for _, p := range batch {
		l.emit(p)
	}
}

// emit hands the output of a step to the neighbours.
func (l *Layer[C, E, BC, BE]) emit(p performed[E, BC]) {
	for _, c := range p.out.Down {
		l.below.send(c, p.span, p.credit)
	}
	for _, e := range p.out.Up {
		if l.keep == nil || l.keep(e) {
			l.above.send(e, p.span, p.credit)
		}
	}
	if !p.out.Wake.IsZero() {
		l.alarm.set(l.stack.kernel.System().Root, l.self, p.out.Wake)
	}
	trace(l.place.trace, &p)
	p.credit.Return()
}
