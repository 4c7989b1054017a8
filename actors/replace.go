package actors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers"
)

// Candidate is a layer or an edge that is to become the resident of a slot.
type Candidate struct {
	slot     string
	producer *producer
	keep     any // func(E) bool; see Phase
	phase    time.Duration
	err      error
}

// Phase says how long the resident before is phased out: it gets no more
// commands, but still hears the slot below, and what it reports still goes up if
// keep wants it. So nothing is lost that others sent while they did not know. A
// layer that keeps records must not be phased out: its successor has them. One
// whose successor stands on the same slot is not: that slot has one master.
type Phase[E any] struct {
	Keep func(E) bool
	Out  time.Duration
}

// LayerFor returns a layer as a candidate for slot, standing on below; see Stand.
func LayerFor[C, E, BC, BE any, P layers.Protocol[C, E, BC, BE]](
	s *Stack, slot Slot[C, E], below Slot[BC, BE], build func(layers.Saved) P, phase Phase[E],
) Candidate {
	c := Candidate{slot: string(slot), keep: phase.wants(), phase: phase.Out}
	switch p := s.places[string(slot)]; {
	case p == nil || p.seat.produce.Load() == nil:
		c.err = fmt.Errorf("there is no slot %s", slot)
	case s.places[string(below)] == nil:
		c.err = fmt.Errorf("it stands on the slot %s, which is empty", below)
	default:
		c.producer = layerProducer(s, p, below, build)
	}
	return c
}

// wants returns the filter of a phase, never nil.
func (p Phase[E]) wants() func(E) bool {
	if p.Keep == nil {
		return func(E) bool { return false }
	}
	return p.Keep
}

// EdgeFor returns an edge as a candidate for slot; see StandEdge.
func EdgeFor[C, E any](s *Stack, slot Slot[C, E], build func(Outlet[E]) Edge[C], phase Phase[E]) Candidate {
	c := Candidate{slot: string(slot), keep: phase.wants(), phase: phase.Out}
	if p := s.places[string(slot)]; p == nil || p.seat.produce.Load() == nil {
		c.err = fmt.Errorf("there is no slot %s", slot)
	} else {
		c.producer = edgeProducer[C](s, p, build)
	}
	return c
}

// newcomer is a candidate on its way into the seat.
type newcomer struct {
	tenant tenant
	from   *producer
	keep   any
	phase  time.Duration
	answer chan error // has room for the one answer
}

// Replace exchanges the resident of a running slot. Its address and what is
// queued for it stay; those above get Ready from the new resident and offer
// again what is not yet confirmed. An edge is opened before the one in place is
// touched. If the new resident does not open, or ctx ends before, an error says
// why and nothing has changed. A resident that is broken is replaced at once.
func (s *Stack) Replace(ctx context.Context, c Candidate) error {
	if c.err != nil {
		return c.err
	}
	s.replacing.Lock()
	defer s.replacing.Unlock()
	p := s.places[c.slot]
	n := &newcomer{from: c.producer, keep: c.keep, phase: c.phase, answer: make(chan error, 1)}
	err := n.prepare()
	if err != nil && s.dismissRetired(ctx, p) {
		err = n.prepare() // the retired one may have had the port it wants
	}
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		n.tenant.close()
		return ctx.Err()
	}
	if s.kernel.Broken(p.name) {
		p.seat.waiting.Store(n)
		s.kernel.Hurry(p.name)
	} else {
		s.kernel.System().Root.Send(s.kernel.PID(p.name), n)
	}
	err = n.wait(ctx, p)
	if err != nil && !errors.Is(err, errTaken) {
		n.tenant.close()
	}
	return err
}

// dismissal ends the time of a retired tenant early, and answers whether there
// was one.
type dismissal struct{ answer chan bool }

func (s *Stack) dismissRetired(ctx context.Context, p *place) bool {
	if s.kernel.Broken(p.name) {
		return false // the failure has ended it already
	}
	d := dismissal{make(chan bool, 1)}
	s.kernel.System().Root.Send(s.kernel.PID(p.name), d)
	select {
	case was := <-d.answer:
		return was
	case <-ctx.Done():
		return false
	}
}

var errTaken = errors.New("the slot is busy; the exchange will still take place")

// prepare makes the tenant, and opens it if that can be done outside the seat.
func (n *newcomer) prepare() (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("it broke: %v", reason)
		}
		if err != nil && n.tenant != nil {
			n.tenant.close()
		}
	}()
	n.tenant = n.from.tenant()
	if n.from.below == "" {
		return n.tenant.open(nil)
	}
	return nil
}

// wait waits for the answer of the seat.
func (n *newcomer) wait(ctx context.Context, p *place) error {
	select {
	case err := <-n.answer:
		return err
	case <-ctx.Done():
		if p.seat.waiting.CompareAndSwap(n, nil) {
			return ctx.Err()
		}
		return errTaken
	}
}

// exchange puts a new tenant in the place of the one there is.
func (s *seat) exchange(ctx actor.Context, n *newcomer) {
	err := s.tenant.settle()
	if err == nil {
		err = tryOpen(ctx, n.tenant)
	}
	if err != nil {
		n.answer <- err
		return
	}
	s.dismiss()
	s.tenant.retire(n.keep)
	old, below := s.tenant, s.below
	s.retired, s.tenant, s.below = old, n.tenant, n.from.below
	root, self := s.stack.kernel.System().Root, ctx.Self()
	s.timer = time.AfterFunc(n.phase, func() { root.Send(self, farewell{own{old}}) })
	if below != "" && below == s.below {
		s.dismiss() // the two would both command the slot below
	}
	s.stack.moved(s.place, n.from)
	kernel.Announce(ctx, s.place.name)
	n.answer <- nil // should it break now, that is a matter of the kernel's
	s.tenant.begin()
}

// tryOpen opens a tenant; if it breaks over that, nobody else does.
func tryOpen(ctx actor.Context, t tenant) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("it broke: %v", reason)
		}
	}()
	return t.open(ctx)
}

// moved notes who makes the tenants of p from now on, and makes p hear the slot
// they stand on.
func (s *Stack) moved(p *place, from *producer) {
	p.seat.produce.Store(from)
	if from.below != "" {
		s.listening.Lock()
		s.standOn(from.below, p)
		s.listening.Unlock()
	}
}

// standsOnly makes p hear no slot but the one given.
func (s *Stack) standsOnly(p *place, below string) {
	s.listening.Lock()
	defer s.listening.Unlock()
	for _, other := range s.order {
		if other.name != below {
			other.over.remove(p.name)
		}
	}
}
