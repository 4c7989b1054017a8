package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers"
)

// Candidate is a layer or an edge that is to become the resident of a slot.
type Candidate struct {
	slot     string
	producer *producer
	exit     exit // of the resident before
	back     any  // C; see Phase
	err      error
}

// Phase says how the resident before is phased out: it still hears the slot
// below, of the commands only those that Heed wants, and what it reports still
// goes up if Keep wants it. So nothing is lost that others sent while they did
// not know. A layer that keeps records must not be phased out: its successor has
// them. One whose successor stands on the same slot is not: that slot has one
// master, who takes over what was begun if it is a layers.Heir.
//
// Several may be phased out at a time. The oldest ends if there are too many.
type Phase[C, E any] struct {
	Keep func(E) bool // nil: nothing
	Heed func(C) bool // nil: nothing
	Out  time.Duration

	// Back is what the candidate is told if it is an edge that is itself being
	// phased out, and so comes back as it is: what makes it say again what it says
	// at its start. May be nil.
	Back C
}

// LayerFor returns a layer as a candidate for slot, standing on below; see Stand.
func LayerFor[C, E, BC, BE any, P layers.Protocol[C, E, BC, BE]](
	s *Stack, slot Slot[C, E], below Slot[BC, BE], build func(layers.Saved) P, phase Phase[C, E],
) Candidate {
	c := candidate(s, slot, phase)
	switch {
	case c.err != nil:
	case s.places[string(below)] == nil:
		c.err = fmt.Errorf("it stands on the slot %s, which is empty", below)
	default:
		c.producer = layerProducer(s, s.places[string(slot)], below, build)
	}
	return c
}

// EdgeFor returns an edge as a candidate for slot; see StandEdge. A candidate may
// be used again. While the edge that it has brought is being phased out, this one
// comes back, and no other is opened.
func EdgeFor[C, E any](s *Stack, slot Slot[C, E], build func(Outlet[E]) Edge[C], phase Phase[C, E]) Candidate {
	c := candidate(s, slot, phase)
	if c.err == nil {
		c.producer = edgeProducer[C](s, s.places[string(slot)], build)
	}
	return c
}

// InPlace returns the resident of a slot as a candidate, to bring it back later.
func InPlace[C, E any](s *Stack, slot Slot[C, E], phase Phase[C, E]) Candidate {
	c := candidate(s, slot, phase)
	if c.err == nil {
		c.producer = s.places[string(slot)].seat.produce.Load()
	}
	return c
}

// candidate returns one that has no producer yet.
func candidate[C, E any](s *Stack, slot Slot[C, E], phase Phase[C, E]) Candidate {
	if phase.Keep == nil {
		phase.Keep = func(E) bool { return false }
	}
	if phase.Heed == nil {
		phase.Heed = func(C) bool { return false }
	}
	c := Candidate{slot: string(slot), exit: exit{phase.Keep, phase.Heed, phase.Out}, back: phase.Back}
	if p := s.places[string(slot)]; p == nil || p.seat.produce.Load() == nil {
		c.err = fmt.Errorf("there is no slot %s", slot)
	}
	return c
}

// newcomer is a candidate on its way into the seat.
type newcomer struct {
	tenant tenant
	from   *producer
	exit   exit
	back   any
	answer chan error  // has room for the one answer
	fate   atomic.Bool // decided: by the seat that takes it, or by who waits no longer
}

// decide reports whether the fate of n was open, which it is not from now on. So
// the seat does not take what nobody waits for, and nobody gives up what it takes.
func (n *newcomer) decide() bool { return n.fate.CompareAndSwap(false, true) }

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
	if ctx.Err() != nil {
		return ctx.Err()
	}
	p := s.places[c.slot]
	n := &newcomer{from: c.producer, exit: c.exit, back: c.back, answer: make(chan error, 1)}
	if there, err := s.recall(ctx, p, n); there {
		return err
	}
	err := n.prepare()
	for err != nil && s.dismissRetired(ctx, p) {
		err = n.prepare() // a retired one may have had the port it wants
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

// recall brings an edge back that is being phased out, and reports whether there
// is one.
func (s *Stack) recall(ctx context.Context, p *place, n *newcomer) (there bool, err error) {
	if n.from.below != "" || s.kernel.Broken(p.name) {
		return false, nil
	}
	r := recall{n, make(chan recalled, 1)}
	s.kernel.System().Root.Send(s.kernel.PID(p.name), r)
	select {
	case a := <-r.answer:
		return a.there, a.err
	case <-ctx.Done():
		if n.decide() {
			return true, ctx.Err()
		}
		return true, errTaken
	}
}

// dismissRetired ends the oldest retired edge, and reports whether there was one.
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

// wait waits for the answer of the seat. A seat that is busy, or that has ended
// with the node, does not take n after ctx has ended.
func (n *newcomer) wait(ctx context.Context, p *place) error {
	select {
	case err := <-n.answer:
		return err
	case <-ctx.Done():
		p.seat.waiting.CompareAndSwap(n, nil)
		if n.decide() {
			return ctx.Err()
		}
		return errTaken
	}
}

// exchange puts a new tenant in the place of the one there is.
func (s *seat) exchange(ctx actor.Context, n *newcomer) {
	if !n.decide() {
		return
	}
	err := s.tenant.settle()
	if err == nil {
		err = tryOpen(ctx, n.tenant)
	}
	if err != nil {
		n.tenant.close() // there may be nobody left who hears of it
		n.answer <- err
		return
	}
	s.retire(n.exit)
	s.tenant, s.from = n.tenant, n.from
	s.stack.moved(s.place, n.from)
	before := s.retiree(func(r *phased) bool { return r.from.below != "" && r.from.below == n.from.below })
	if before != nil {
		s.dismiss(before, "") // the two would both command the slot below
	}
	kernel.Announce(ctx, s.place.name)
	n.answer <- nil // should it break now, that is a matter of the kernel's
	s.tenant.begin()
	if before != nil {
		s.tenant.inherit(before.tenant)
	}
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

// standsOnly makes p hear no slots but those given.
func (s *Stack) standsOnly(p *place, below []string) {
	s.listening.Lock()
	defer s.listening.Unlock()
	for _, other := range s.order {
		if !slices.Contains(below, other.name) {
			other.over.remove(p.name)
		}
	}
}
