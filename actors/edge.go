package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/stratanode/strata/kernel"
)

// Edge fills a slot with something that waits: sockets, a database, a process.
// Open, FromAbove and Close are called one at a time, and FromAbove must not
// wait; what waits are goroutines of the edge, which report through the Outlet
// it was built with. After Close none of them may be left.
type Edge[C any] interface {
	// Open starts the edge. It is called once, and may take seconds: only its
	// own slot waits for it. An error while the node starts ends the start;
	// later the edge is built again after a while.
	Open() error

	// FromAbove takes one command of those who stand on the slot.
	FromAbove(c C)

	// Close frees everything. It is called once, also after a failed Open.
	Close()
}

// Outlet is where an edge hands its events to those who stand on its slot. It is
// safe for concurrent use.
type Outlet[E any] struct {
	port  Port[E]
	valve *valve[E]
	fail  func(error)
}

// Send reports an event that needs no credit because its number is bounded by
// itself, such as an answer.
func (o Outlet[E]) Send(e E) {
	if o.valve.passes(e, nil) {
		o.port.send(e, newSpan(), nil)
	}
}

// SendCredited reports an input from outside. The credit returns when the
// layers are done with all that came of it.
func (o Outlet[E]) SendCredited(e E, c *Credit) {
	if o.valve.passes(e, c) {
		o.port.send(e, newSpan(), c)
		c.Return() // the edge's own hold
	}
}

// Fail says that the edge is broken; it will be closed and built again.
func (o Outlet[E]) Fail(err error) { o.fail(err) }

// failed brings the error of Outlet.Fail into the actor.
type failed struct {
	own
	err error
}

// StandEdge fills slot with an edge. build is called at every start of it.
func StandEdge[C, E any](s *Stack, slot Slot[C, E], build func(Outlet[E]) Edge[C]) {
	p := s.add(string(slot), "")
	p.seat.produce.Store(edgeProducer[C](s, p, build))
	s.edges = append(s.edges, s.child(p))
}

// edgeProducer returns what makes an edge for the place p.
func edgeProducer[C, E any](s *Stack, p *place, build func(Outlet[E]) Edge[C]) *producer {
	return &producer{"", func() tenant {
		b := &bottom[C, E]{place: p, valve: newValve[E]()}
		root, self := s.kernel.System().Root, s.kernel.PID(p.name)
		b.out = Outlet[E]{portTo[E](s, &p.over), b.valve, func(err error) { root.Send(self, failed{own{b}, err}) }}
		b.edge = build(b.out)
		return b
	}}
}

// bottom runs an Edge.
type bottom[C, E any] struct {
	place  *place
	edge   Edge[C]
	out    Outlet[E]
	valve  *valve[E]
	heed   func(C) bool // once it is retired: what it is still told
	opened bool
	closed bool
}

// takes implements tenant.
func (b *bottom[C, E]) takes(m any) (command, event bool) {
	c, command := m.(*stamped[C])
	return command && (b.heed == nil || b.heed(c.m)), false
}

// hear implements tenant.
func (b *bottom[C, E]) hear(m any) {
	switch m := m.(type) {
	case *stamped[C]:
		b.place.steps.Add(1)
		b.edge.FromAbove(m.m)
		m.credit.Return()
	case failed:
		panic(m.err)
	case drill:
		panic("drill")
	}
}

// open implements tenant. An edge that is to take over a slot is opened before
// it gets there.
func (b *bottom[C, E]) open(actor.Context) error {
	if b.opened {
		return nil
	}
	b.opened = true
	return b.edge.Open()
}

// begin implements tenant.
func (b *bottom[C, E]) begin() {
	b.valve.open(func(e E, c *Credit) {
		b.out.port.send(e, newSpan(), c)
		c.Return()
	})
}

// comeBack implements tenant.
func (b *bottom[C, E]) comeBack(back any) {
	b.heed = nil
	b.begin()
	if c, ok := back.(C); ok {
		b.edge.FromAbove(c)
	}
}

// inherit implements tenant. What an edge has begun goes on without the tenant.
func (b *bottom[C, E]) inherit(tenant) {}

// settle implements tenant.
func (b *bottom[C, E]) settle() error { return nil }

// retire implements tenant.
func (b *bottom[C, E]) retire(x exit) {
	b.heed = x.heed.(func(C) bool)
	b.valve.filter(x.keep.(func(E) bool))
}

// end implements tenant.
func (b *bottom[C, E]) end() { b.close() }

// close implements tenant.
func (b *bottom[C, E]) close() {
	if b.closed {
		return
	}
	b.closed = true
	b.valve.shut()
	b.edge.Close()
}

// Top is an edge that stands on one slot or several, such as the API: the end of
// the stack that users wait at.
type Top struct {
	stack *Stack
	place *place
	hear  []func(any) bool
	life  Life
}

// Life is the beginning and the end of a Top.
type Life interface {
	Open() error
	Close()
}

// NewTop puts an edge on top of the stack. What it hears is set by Hear.
func NewTop(s *Stack, name string) *Top {
	t := &Top{stack: s, place: s.add(name, "")}
	s.edges = append(s.edges, kernel.Child{
		Name: name, Props: actor.PropsFromProducer(func() actor.Actor { return &top{Top: t} }),
	})
	return t
}

// Run sets what the edge does; it is called before the stack starts.
func (t *Top) Run(life Life) { t.life = life }

// Inlet is where a Top hands its commands to a slot. It is safe for concurrent
// use.
type Inlet[C any] struct{ port Port[C] }

// Send hands a command to the slot.
func (i Inlet[C]) Send(c C) { i.port.send(c, newSpan(), nil) }

// Hear puts t on a slot that is filled already: f gets its events, one at a
// time, and must not wait.
func Hear[C, E any](t *Top, slot Slot[C, E], f func(E)) Inlet[C] {
	return HearCredited(t, slot, func(e E, c *Credit) {
		f(e)
		c.Return()
	})
}

// HearCredited is Hear for an edge that is not done with an event when f returns:
// f takes over the credit, which may be nil, and gives it back when it is. So
// what comes from outside waits outside while the edge is busy.
func HearCredited[C, E any](t *Top, slot Slot[C, E], f func(E, *Credit)) Inlet[C] {
	t.stack.standOn(string(slot), t.place)
	t.hear = append(t.hear, func(m any) bool {
		s, ok := m.(*stamped[E])
		if ok {
			f(s.m, s.credit)
		}
		return ok
	})
	return Inlet[C]{portTo[C](t.stack, &t.stack.places[string(slot)].self)}
}

// Has reports whether a slot is filled.
func Has[C, E any](s *Stack, slot Slot[C, E]) bool { return s.places[string(slot)] != nil }

// top runs a Top.
type top struct {
	*Top
	open bool
}

// Receive implements actor.Actor.
func (t *top) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		if err := t.life.Open(); err != nil {
			panic(err)
		}
		t.open = true
		kernel.Announce(ctx, t.place.name)
	case *actor.Stopping, *actor.Restarting:
		if t.open {
			t.open = false
			t.life.Close()
		}
	case drill:
		panic("drill")
	default:
		for _, hear := range t.hear {
			if hear(m) {
				t.place.queue.Add(-1)
				t.place.steps.Add(1)
				return
			}
		}
	}
}
