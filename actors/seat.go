package actors

import (
	"slices"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/stratanode/strata/kernel"
)

// tenant is one instance of what fills a slot: a layer or an edge. Its methods
// are called by the seat, one at a time.
type tenant interface {
	// open makes it ready to work, and changes nothing outside of it. It may
	// panic instead of returning an error.
	open(ctx actor.Context) error

	// begin lets it take effect: what it said and asked for so far goes out.
	begin()

	// takes reports whether m is for a tenant of this kind: a command from
	// above or an event from below.
	takes(m any) (command, event bool)

	// hear takes one message. It panics if the tenant is broken.
	hear(m any)

	// settle finishes what it has begun, so that a successor that reads what it
	// saved finds all.
	settle() error

	// retire makes it a predecessor of another tenant: it takes only the commands
	// and reports only the events that x says.
	retire(x exit)

	// comeBack undoes retire. It hears back, a command, if that is not nil.
	comeBack(back any)

	// inherit makes it go on with what another one had begun, which has ended.
	inherit(from tenant)

	end()   // finishes what it has begun, then close
	close() // frees everything; harmless when repeated
}

// producer makes the tenants of a seat.
type producer struct {
	below  string // the slot they stand on; empty for an edge
	tenant func() tenant
}

// seating is what a seat shares with the stack.
type seating struct {
	produce atomic.Pointer[producer] // of the next tenant
	waiting atomic.Pointer[newcomer] // takes the place of a broken tenant; see Stack.Replace
}

// own is part of a message that a tenant sends to itself: it is not for its
// successor.
type own struct{ of tenant }

func (o own) owner() tenant { return o.of }

// seat is the actor of a slot. It hands on what it gets to the tenant, and can
// exchange the tenant while its address and what is queued for it stay
// (DESIGN §4).
type seat struct {
	stack *Stack
	place *place

	self    *actor.PID
	tenant  tenant
	from    *producer // of the tenant
	retired []*phased // those before, for a while; the oldest first
}

// Receive implements actor.Actor.
func (s *seat) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case addressed:
		s.place.queue.Add(-1)
		s.deliver(m)
	case farewell:
		if r := s.retireeOf(m.of); r != nil {
			s.dismiss(r, "")
		}
	case dismissal:
		s.makeRoom(m)
	case recall:
		s.recall(ctx, m)
	case interface{ owner() tenant }:
		if of := m.owner(); of == s.tenant {
			s.tenant.hear(m)
		} else if r := s.retireeOf(of); r != nil {
			s.toRetired(r, m)
		}
	case drill:
		s.tenant.hear(m)
	case *newcomer:
		s.exchange(ctx, m)
	case *actor.Started:
		s.start(ctx)
	case *actor.Stopping:
		s.dismissAll()
		if s.tenant != nil {
			s.tenant.end()
		}
	case *actor.Restarting:
		s.dismissAll()
		if s.tenant != nil {
			s.tenant.close()
		}
	}
}

// start makes the first tenant of this life of the actor.
func (s *seat) start(ctx actor.Context) {
	from := s.place.seat.produce.Load()
	if n := s.place.seat.waiting.Swap(nil); n != nil && n.decide() {
		s.tenant, from = n.tenant, n.from
		s.stack.moved(s.place, from)
		defer func() { n.answer <- nil }()
	} else {
		s.tenant = from.tenant()
	}
	s.self, s.from = ctx.Self(), from
	if err := s.tenant.open(ctx); err != nil {
		panic(err)
	}
	kernel.Announce(ctx, s.place.name)
	s.tenant.begin()
}

// deliver hands a message to the tenants that it is for. The credit of one that
// is for nobody returns.
func (s *seat) deliver(m addressed) {
	command, event := s.tenant.takes(m)
	var late []*phased
	for _, r := range s.retired {
		if command, event := r.takes(m); command || event {
			late = append(late, r)
		}
	}
	for range late {
		m.share()
	}
	for _, r := range late {
		if slices.Contains(s.retired, r) {
			s.toRetired(r, m)
		} else {
			m.done()
		}
	}
	if command || event {
		s.tenant.hear(m)
	} else {
		m.done()
	}
}
