// Package actors runs layers: one generic actor for every pure protocol, typed
// ports between them, and edges for what waits. With kernel it is the only part
// of the node that knows protoactor.
package actors

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers"
)

// Slot is a place in the stack. Its type says what passes its upper face:
// commands C going in, events E coming out.
type Slot[C, E any] string

// Stack is a set of layers and edges that are to run together. It is filled by
// Stand, StandEdge and Hear, and then started once.
type Stack struct {
	kernel *kernel.Kernel
	store  Store
	tracer *Tracer
	log    *slog.Logger

	layers, edges []kernel.Child
	places        map[string]*place
	order         []*place

	replacing sync.Mutex // held by Replace
	listening sync.Mutex // guards changes of who stands where, once started
}

// place is what a stack knows about one resident.
type place struct {
	name  string
	below string  // the slot it stands on; empty for a bottom edge
	over  targets // who stands on it, in the order they were put there
	self  targets // its own address
	queue atomic.Int64
	steps atomic.Uint64
	bad   atomic.Uint64 // inputs refused
	held  atomic.Int64  // inputs in quarantine
	trace *ring

	carried []any // inputs a broken instance had held, for its successor
	seat    seating
}

// NewStack returns an empty stack. The tracer may be nil.
func NewStack(k *kernel.Kernel, store Store, tracer *Tracer, log *slog.Logger) *Stack {
	return &Stack{kernel: k, store: store, tracer: tracer, log: log, places: map[string]*place{}}
}

// Stand puts a layer into slot, on top of below. It does not compile unless the
// protocol speaks the languages of both. build is called at every start of the
// layer, with what the layer has saved; it must be pure.
func Stand[C, E, BC, BE any, P layers.Protocol[C, E, BC, BE]](
	s *Stack, slot Slot[C, E], below Slot[BC, BE], build func(layers.Saved) P,
) {
	p := s.add(string(slot), string(below))
	p.seat.produce.Store(layerProducer(s, p, below, build))
	s.layers = append(s.layers, s.child(p))
}

// layerProducer returns what makes a layer for the place p.
func layerProducer[C, E, BC, BE any, P layers.Protocol[C, E, BC, BE]](
	s *Stack, p *place, below Slot[BC, BE], build func(layers.Saved) P,
) *producer {
	return &producer{string(below), func() tenant {
		return newLayer(s, p, portTo[BC](s, &s.places[string(below)].self),
			func(saved layers.Saved) layers.Protocol[C, E, BC, BE] { return build(saved) })
	}}
}

// Start starts the layers, then the edges, and returns when all are open.
func (s *Stack) Start() error {
	for _, p := range s.order {
		if p.below == "" {
			continue
		}
		if s.places[p.below] == nil {
			return fmt.Errorf("%s stands on %s, which is empty", p.name, p.below)
		}
	}
	return s.kernel.Start(append(s.layers, s.edges...))
}

// Drill makes a layer panic in its next step, as if it were broken, so that one
// can see the node get over it. It returns false if there is no such layer.
func (s *Stack) Drill(name string) bool {
	if s.places[name] == nil {
		return false
	}
	s.kernel.System().Root.Send(s.kernel.PID(name), drill{})
	return true
}

// Load describes how busy a resident of the stack is.
type Load struct {
	Name        string `json:"name"`
	Queue       int64  `json:"queue"`       // messages on their way to it
	Steps       uint64 `json:"steps"`       // taken since the node started
	Refused     uint64 `json:"refused"`     // inputs refused as bad
	Quarantined int64  `json:"quarantined"` // inputs that broke it and are kept
}

// Loads describes all residents, from the first put into the stack to the last.
func (s *Stack) Loads() []Load {
	all := make([]Load, 0, len(s.order))
	for _, p := range s.order {
		all = append(all, Load{p.name, p.queue.Load(), p.steps.Load(), p.bad.Load(), p.held.Load()})
	}
	return all
}

// add enters a resident. A slot can have only one.
func (s *Stack) add(name, below string) *place {
	if s.places[name] != nil {
		panic(fmt.Sprintf("actors: slot %s is taken twice", name))
	}
	p := &place{name: name, below: below, trace: s.tracer.ring(name)}
	p.self.add(s.target(p))
	s.places[name] = p
	s.order = append(s.order, p)
	if below != "" {
		s.standOn(below, p)
	}
	return p
}

// standOn makes p hear the events of the slot below.
func (s *Stack) standOn(below string, p *place) {
	if s.places[below] == nil {
		panic(fmt.Sprintf("actors: %s stands on %s, which is empty; fill the stack from the bottom", p.name, below))
	}
	s.places[below].over.add(s.target(p))
}

func (s *Stack) target(p *place) target { return target{p.name, s.kernel.PID(p.name), &p.queue} }

func (s *Stack) child(p *place) kernel.Child {
	return kernel.Child{Name: p.name, Props: actor.PropsFromProducer(func() actor.Actor { return &seat{stack: s, place: p} })}
}

// portTo addresses residents of s.
func portTo[M any](s *Stack, to *targets) Port[M] { return Port[M]{s.kernel.System().Root, to} }

// now is the clock of all layers.
func now() time.Time { return time.Now() }
