package actors_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers"
)

// source is an edge that answers each command with ten times its number.
type source struct {
	out     actors.Outlet[fact]
	openErr error
	log     *events
}

// events records what became of the edges of a test.
type events struct {
	mu      sync.Mutex
	all     []string
	outlets []actors.Outlet[fact]
}

func (e *events) speaks(out actors.Outlet[fact]) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.outlets = append(e.outlets, out)
}

// say has the latest edge report a number.
func (e *events) say(n uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.outlets[len(e.outlets)-1].Send(told{n})
}

func (e *events) add(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, what)
}

func (e *events) has(what string) bool { return e.count(what) > 0 }

func (e *events) count(what string) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, one := range e.all {
		if one == what {
			n++
		}
	}
	return n
}

func (s *source) Open() error {
	s.log.add("open")
	s.log.speaks(s.out)
	if s.openErr == nil {
		s.out.Send(told{1000}) // as a transport says Ready
	}
	return s.openErr
}

func (s *source) FromAbove(o order) {
	if o.(add).n == poison {
		s.out.Fail(errors.New("poison in the source"))
		return
	}
	s.out.Send(told{10 * o.(add).n})
}

func (s *source) Close() { s.log.add("close") }

func (r *rig) withSource(log *events, err error, phase actors.Phase[order, fact]) actors.Candidate {
	return actors.EdgeFor(r.stack, midSlot, func(out actors.Outlet[fact]) actors.Edge[order] {
		return &source{out, err, log}
	}, phase)
}

func (r *rig) withCounter(build func(layers.Saved) *counter, phase actors.Phase[order, fact]) actors.Candidate {
	return actors.LayerFor(r.stack, midSlot, floorSlot, build, phase)
}

func (r *rig) replace(t *testing.T, c actors.Candidate) {
	t.Helper()
	if err := r.stack.Replace(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

var noPhase actors.Phase[order, fact]

// contains waits until the roof has got the sum n.
func (r *rig) contains(t *testing.T, n uint64) {
	t.Helper()
	waitFor(t, r, func() bool { return slices.Contains(sums(r.roof.Got()), n) })
}

func TestLayerGivesWayToAnEdgeAndComesBack(t *testing.T) {
	r := start(t, newCounter)
	defer r.kernel.Stop()
	r.roof.Send(add{5})
	r.contains(t, 5)
	log := &events{}
	r.replace(t, r.withSource(log, nil, noPhase))
	r.contains(t, 1000)
	r.roof.Send(add{7})
	r.contains(t, 70)
	r.floor.Outlet().Send(told{3}) // an event of the slot below, for nobody now
	r.replace(t, r.withCounter(newCounter, noPhase))
	r.roof.Send(add{1})
	r.contains(t, 6) // it goes on from what the layer had saved
	waitFor(t, r, func() bool { return log.has("close") })
	for _, s := range r.kernel.Status() {
		if s.Restarts != 0 || s.State != kernel.Running {
			t.Errorf("%+v: a replacement is no restart", s)
		}
	}
}

func TestNothingQueuedIsLostInAReplacement(t *testing.T) {
	r := start(t, newCounter)
	defer r.kernel.Stop()
	done := make(chan struct{})
	const n = 3000
	go func() {
		defer close(done)
		for range n {
			r.roof.Send(add{1})
		}
	}()
	for range 20 {
		r.replace(t, r.withCounter(newCounter, noPhase))
	}
	<-done
	r.contains(t, n)
	if got := sums(r.roof.Wait(t, n)); len(got) != n {
		t.Errorf("%d answers to %d commands", len(got), n)
	}
}

func TestOneThatDoesNotOpenChangesNothing(t *testing.T) {
	r := start(t, newCounter)
	defer r.kernel.Stop()
	r.roof.Send(add{5})
	r.contains(t, 5)
	log := &events{}
	nobody := actors.Slot[order, fact]("nobody")
	for _, c := range []struct {
		name, want string
		candidate  actors.Candidate
	}{
		{"edge", "no such port", r.withSource(log, errors.New("no such port"), noPhase)},
		{"layer", "it broke: cannot be built", r.withCounter(func(layers.Saved) *counter { panic("cannot be built") }, noPhase)},
		{"first wake", "it broke: cannot wake", r.withCounter(func(s layers.Saved) *counter {
			c := newCounter(s)
			c.onWake = func() { panic("cannot wake") }
			return c
		}, noPhase)},
		{"slot", "there is no slot nobody", actors.LayerFor(r.stack, nobody, floorSlot, newCounter, noPhase)},
		{"below", "slot nobody, which is empty", actors.LayerFor(r.stack, midSlot, nobody, newCounter, noPhase)},
	} {
		if err := r.stack.Replace(t.Context(), c.candidate); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.stack.Replace(ended, r.withSource(log, nil, noPhase)); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of ctx: %v", err)
	}
	r.roof.Send(add{2})
	r.contains(t, 7)
	if got := sums(r.roof.Got()); !slices.Equal(got, []uint64{5, 7}) {
		t.Errorf("the roof got %v, want only what the first layer said", got)
	}
	if s := status(r, "middle"); s.Restarts != 0 || s.State != kernel.Running {
		t.Errorf("%+v: want an untouched layer", s)
	}
}

func TestRetiredLayerIsHeardUntilItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, func(s layers.Saved) *counter { c := newCounter(s); c.quiet = true; return c })
		r.roof.Send(add{5})
		synctest.Wait()
		phase := actors.Phase[order, fact]{Out: 10 * time.Second, Keep: func(f fact) bool { return f.(told).n < 100 }}
		r.replace(t, r.withSource(&events{}, nil, phase))
		r.floor.Outlet().Send(told{3})   // 8: wanted
		r.floor.Outlet().Send(told{300}) // 308: not wanted
		r.roof.Send(add{2})              // for the new one only
		time.Sleep(9 * time.Second)
		r.floor.Outlet().Send(told{0}) // refused by the retired layer
		synctest.Wait()
		if got := sums(r.roof.Got()); !slices.Equal(got, []uint64{5, 1000, 8, 20}) && !slices.Equal(got, []uint64{5, 1000, 20, 8}) {
			t.Errorf("the roof got %v", got)
		}
		time.Sleep(2 * time.Second)
		r.floor.Outlet().Send(told{3})
		synctest.Wait()
		if got := len(r.roof.Got()); got != 4 {
			t.Errorf("%d events after the time of the retired layer, want still 4", got)
		}
		r.kernel.Stop()
		time.Sleep(time.Minute) // protoactor's own timers
	})
}

func TestOneThatWantsWhatTheRetiredOneHasGetsIt(t *testing.T) {
	r := start(t, newCounter)
	defer r.kernel.Stop()
	var port sync.Mutex
	all := actors.Phase[order, fact]{Out: time.Hour, Keep: func(fact) bool { return true }}
	only := func() actors.Candidate {
		return actors.EdgeFor(r.stack, midSlot, func(out actors.Outlet[fact]) actors.Edge[order] {
			return &exclusive{source: source{out, nil, &events{}}, port: &port}
		}, all)
	}
	r.replace(t, only())
	if err := r.stack.Replace(t.Context(), only()); err == nil || err.Error() != "port is taken" {
		t.Errorf("beside itself: %v, want port is taken", err)
	}
	r.replace(t, r.withCounter(newCounter, all))
	r.replace(t, only()) // the first one is being phased out
	r.roof.Send(add{3})
	r.contains(t, 30)
}

// exclusive is a source of which there can be only one.
type exclusive struct {
	source
	port *sync.Mutex
	held bool
}

func (e *exclusive) Open() error {
	if e.held = e.port.TryLock(); !e.held {
		return errors.New("port is taken")
	}
	return e.source.Open()
}

func (e *exclusive) Close() {
	if e.held {
		e.port.Unlock()
	}
	e.source.Close()
}

func TestSlotBelowHasOneMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newCounter)
		r.replace(t, r.withCounter(newCounter, actors.Phase[order, fact]{Out: time.Hour, Keep: func(fact) bool { return true }}))
		r.floor.Outlet().Send(told{3})
		synctest.Wait()
		if got := sums(r.roof.Got()); !slices.Equal(got, []uint64{3}) || len(r.floor.Got()) != 1 {
			t.Errorf("up went %v, down %v: want the new layer alone to have heard it", got, r.floor.Got())
		}
		r.kernel.Stop()
		time.Sleep(time.Minute)
	})
}

func TestRetiredOneThatBreaksHarmsNobody(t *testing.T) {
	r := start(t, newCounter)
	defer r.kernel.Stop()
	all := actors.Phase[order, fact]{Out: time.Hour, Keep: func(fact) bool { return true }}
	r.replace(t, r.withSource(&events{}, nil, all))
	r.floor.Outlet().Send(told{poison})
	r.floor.Outlet().Send(told{1})
	r.roof.Send(add{2})
	r.contains(t, 20)
	if got := sums(r.roof.Got()); slices.Contains(got, 1) {
		t.Error("the retired layer was still heard after it broke")
	}
	if s := status(r, "middle"); s.Restarts != 0 || s.State != kernel.Running {
		t.Errorf("%+v: want the new one untouched", s)
	}
}

func TestReplacementIsWhatRestarts(t *testing.T) {
	r := start(t, newCounter)
	defer r.kernel.Stop()
	log := &events{}
	r.replace(t, r.withSource(log, nil, noPhase))
	r.roof.Send(add{poison})
	waitFor(t, r, func() bool { s := status(r, "middle"); return s.Restarts == 1 && s.State == kernel.Running })
	r.roof.Send(add{3})
	r.contains(t, 30)
}

func TestBrokenResidentIsReplacedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := false
		r := start(t, func(s layers.Saved) *counter {
			if broken {
				panic("for good")
			}
			return newCounter(s)
		})
		broken = true
		r.roof.Send(add{poison})
		synctest.Wait()
		time.Sleep(20 * time.Second)
		if s := status(r, "middle"); s.State != kernel.Backoff {
			t.Fatalf("%+v: want it backing off", s)
		}
		before := time.Now()
		r.replace(t, r.withSource(&events{}, nil, noPhase))
		if d := time.Since(before); d != 0 {
			t.Errorf("it took %v", d)
		}
		r.roof.Send(add{4})
		synctest.Wait()
		if got := sums(r.roof.Got()); !slices.Contains(got, 40) {
			t.Errorf("the roof got %v, want 40 from the new one", got)
		}
		time.Sleep(2 * time.Minute) // the back-off that was cut short
		if s := status(r, "middle"); s.State != kernel.Running {
			t.Errorf("%+v: want it running", s)
		}
		r.kernel.Stop()
		time.Sleep(time.Minute)
	})
}
