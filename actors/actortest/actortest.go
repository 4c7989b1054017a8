// Package actortest has what tests of running layers need: a store in memory
// that can be made to fail, and probes at both ends of a stack.
package actortest

import (
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/layertest"
)

// Store is an actors.Store in memory. It is safe for concurrent use.
type Store struct {
	mu      sync.Mutex
	spaces  map[string]*layertest.Memory
	fail    error
	commits int
	before  func(n int, namespace string)
}

// NewStore returns an empty store.
func NewStore() *Store { return &Store{spaces: map[string]*layertest.Memory{}} }

// Fail makes every Commit fail with err until it is called with nil.
func (s *Store) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// BeforeCommit has f called before the n-th commit (from 1) that succeeds.
func (s *Store) BeforeCommit(f func(n int, namespace string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// Commits returns how many commits there were.
func (s *Store) Commits() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commits
}

// Namespace implements actors.Store.
func (s *Store) Namespace(name string) actors.Records {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spaces[name] == nil {
		s.spaces[name] = layertest.NewMemory()
	}
	return &records{s, name}
}

type records struct {
	store *Store
	name  string
}

func (r *records) Commit(batch []layers.Record) error {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	if r.store.fail != nil {
		return r.store.fail
	}
	r.store.commits++
	if r.store.before != nil {
		r.store.before(r.store.commits, r.name)
	}
	r.store.spaces[r.name].Commit(batch)
	return nil
}

func (r *records) Get(key string) ([]byte, bool, error) {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	v, ok := r.store.spaces[r.name].Get(key)
	return v, ok, nil
}

func (r *records) Scan(from, to string, reverse bool) iter.Seq2[layers.Record, error] {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	var all []layers.Record
	for k, v := range r.store.spaces[r.name].Scan(from, to, reverse) {
		all = append(all, layers.Record{Key: k, Value: v})
	}
	return func(yield func(layers.Record, error) bool) {
		for _, rec := range all {
			if !yield(rec, nil) {
				return
			}
		}
	}
}

// Floor is a bottom edge that records the commands it gets and lets the test
// send events up.
type Floor[C, E any] struct {
	mu    sync.Mutex
	got   []C
	fresh chan struct{}
	out   actors.Outlet[E]
	opens int
}

// NewFloor fills slot with a Floor.
func NewFloor[C, E any](s *actors.Stack, slot actors.Slot[C, E]) *Floor[C, E] {
	f := &Floor[C, E]{fresh: make(chan struct{}, 1)}
	actors.StandEdge(s, slot, func(out actors.Outlet[E]) actors.Edge[C] {
		f.out = out
		return f
	})
	return f
}

// Open implements actors.Edge.
func (f *Floor[C, E]) Open() error { f.opens++; return nil }

// Close implements actors.Edge.
func (f *Floor[C, E]) Close() {}

// FromAbove implements actors.Edge.
func (f *Floor[C, E]) FromAbove(c C) {
	f.mu.Lock()
	f.got = append(f.got, c)
	f.mu.Unlock()
	signal(f.fresh)
}

// Outlet returns where events of the test go up.
func (f *Floor[C, E]) Outlet() actors.Outlet[E] { return f.out }

// Got returns what has come down so far.
func (f *Floor[C, E]) Got() []C {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.got)
}

// Wait waits until at least n commands have come down and returns them.
func (f *Floor[C, E]) Wait(t testing.TB, n int) []C { return wait(t, n, f.fresh, f.Got) }

// Roof is a top edge that records the events of a slot and lets the test send
// commands down.
type Roof[C, E any] struct {
	mu    sync.Mutex
	got   []E
	fresh chan struct{}
	in    actors.Inlet[C]
}

// NewRoof puts a Roof on slot, which must be filled already.
func NewRoof[C, E any](s *actors.Stack, slot actors.Slot[C, E]) *Roof[C, E] {
	r := &Roof[C, E]{fresh: make(chan struct{}, 1)}
	top := actors.NewTop(s, "roof of "+string(slot))
	r.in = actors.Hear(top, slot, func(e E) {
		r.mu.Lock()
		r.got = append(r.got, e)
		r.mu.Unlock()
		signal(r.fresh)
	})
	top.Run(r)
	return r
}

// Open implements actors.Life.
func (r *Roof[C, E]) Open() error { return nil }

// Close implements actors.Life.
func (r *Roof[C, E]) Close() {}

// Send hands a command to the slot.
func (r *Roof[C, E]) Send(c C) { r.in.Send(c) }

// Got returns what has come up so far.
func (r *Roof[C, E]) Got() []E {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// Wait waits until at least n events have come up and returns them.
func (r *Roof[C, E]) Wait(t testing.TB, n int) []E { return wait(t, n, r.fresh, r.Got) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// within bounds the waiting for actors that do not do what they should.
const within = 30 * time.Second

func wait[M any](t testing.TB, n int, fresh chan struct{}, got func() []M) []M {
	t.Helper()
	limit := time.After(within)
	for {
		if all := got(); len(all) >= n {
			return all
		}
		select {
		case <-fresh:
		case <-limit:
			t.Fatalf("%d messages in %v, want %d", len(got()), within, n)
		}
	}
}
