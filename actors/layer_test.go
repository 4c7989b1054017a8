package actors_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/actortest"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers"
)

// The toy protocol of these tests: it counts, saves the count, and passes every
// number on, up and down.
type (
	order interface{ order() }
	fact  interface{ fact() }

	add  struct{ n uint64 } // a command
	told struct{ n uint64 } // an event
	many struct{ all []fact }
)

func (add) order() {}
func (told) fact() {}
func (many) fact() {}

func (m many) Parts() []fact { return m.all }

const poison = 666

type counter struct {
	saved   layers.Saved
	sum     uint64
	quiet   bool // saves nothing
	wakeIn  time.Duration
	woken   int
	onWake  func()
	onEvent func()
}

func newCounter(saved layers.Saved) *counter {
	c := &counter{saved: saved}
	if v, ok := saved.Get("sum"); ok {
		c.sum = binary.BigEndian.Uint64(v)
	}
	return c
}

func (c *counter) count(n uint64) (layers.Output[fact, order], error) {
	if n >= poison {
		panic("poison")
	}
	if n == 0 {
		return layers.Output[fact, order]{}, errors.New("toy: n: zero")
	}
	c.sum += n
	out := layers.Output[fact, order]{Down: []order{add{n}}, Up: []fact{told{c.sum}}}
	if !c.quiet {
		out.Save = []layers.Record{{Key: "sum", Value: binary.BigEndian.AppendUint64(nil, c.sum)}}
	}
	return out, nil
}

func (c *counter) FromAbove(_ time.Time, o order) (layers.Output[fact, order], error) {
	if n, ok := o.(named); ok {
		o = n.add
	}
	return c.count(o.(add).n)
}

func (c *counter) FromBelow(_ time.Time, f fact) (out layers.Output[fact, order], err error) {
	if c.onEvent != nil {
		c.onEvent()
	}
	switch f := f.(type) {
	case told:
		return c.count(f.n)
	case many:
		for _, part := range f.all {
			o, err := c.FromBelow(time.Time{}, part)
			if err != nil {
				return out, err
			}
			out.Add(o)
		}
	}
	return out, nil
}

func (c *counter) Wake(now time.Time) (out layers.Output[fact, order]) {
	c.woken++
	if c.onWake != nil {
		c.onWake()
	}
	if c.wakeIn > 0 {
		out.Wake = now.Add(c.wakeIn)
	}
	return out
}

const (
	floorSlot = actors.Slot[order, fact]("floor")
	midSlot   = actors.Slot[order, fact]("middle")
)

// rig is a kernel with the toy layer between a floor and a roof. Its command and
// event types are the same on both faces, so commands count as from above.
type rig struct {
	kernel *kernel.Kernel
	store  *actortest.Store
	tracer *actors.Tracer
	stack  *actors.Stack
	floor  *actortest.Floor[order, fact]
	roof   *actortest.Roof[order, fact]
}

func start(t testing.TB, build func(layers.Saved) *counter) *rig {
	t.Helper()
	return startLogged(t, io.Discard, build)
}

// startLogged is start with a log that is kept.
func startLogged(t testing.TB, w io.Writer, build func(layers.Saved) *counter) *rig {
	t.Helper()
	log := slog.New(slog.NewTextHandler(w, nil))
	r := &rig{kernel: kernel.New(log), store: actortest.NewStore(), tracer: actors.NewTracer(1000)}
	r.stack = actors.NewStack(r.kernel, r.store, r.tracer, log)
	r.floor = actortest.NewFloor(r.stack, floorSlot)
	actors.Stand(r.stack, midSlot, floorSlot, build)
	r.roof = actortest.NewRoof(r.stack, midSlot)
	if err := r.stack.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

func sums(facts []fact) []uint64 {
	var s []uint64
	for _, f := range facts {
		s = append(s, f.(told).n)
	}
	return s
}

func TestStepIsSavedBeforeItIsSent(t *testing.T) {
	r := start(t, newCounter)
	defer r.kernel.Stop()
	r.store.BeforeCommit(func(_ int, ns string) {
		if ns == "middle" && len(r.floor.Got()) > 0 {
			t.Error("a command went down before its step was saved")
		}
	})
	r.roof.Send(add{1})
	r.roof.Wait(t, 1)
	r.floor.Wait(t, 1)
	if v, ok, _ := r.store.Namespace("middle").Get("sum"); !ok || binary.BigEndian.Uint64(v) != 1 {
		t.Errorf("saved sum %x, want 1", v)
	}
}

func TestStepsOfAFullMailboxShareOneCommit(t *testing.T) {
	gate := make(chan struct{})
	r := start(t, func(s layers.Saved) *counter {
		c := newCounter(s)
		c.onEvent = func() { <-gate }
		return c
	})
	defer r.kernel.Stop()
	r.floor.Outlet().Send(told{1}) // occupies the layer until the mailbox is full
	for range 50 {
		r.roof.Send(add{1})
	}
	close(gate)
	got := sums(r.roof.Wait(t, 51))
	for i, n := range got {
		if n != uint64(i+1) {
			t.Fatalf("event %d carries %d: out of order", i, n)
		}
	}
	if c := r.store.Commits(); c > 3 {
		t.Errorf("%d commits for 51 steps that were waiting together, want at most 3", c)
	}
}

func TestBrokenLayerIsRebuiltFromWhatItSaved(t *testing.T) {
	r := start(t, newCounter)
	defer r.kernel.Stop()
	r.roof.Send(add{5})
	r.roof.Send(add{poison})
	r.roof.Send(add{2})
	if got := fmt.Sprint(sums(r.roof.Wait(t, 2))); got != "[5 7]" {
		t.Errorf("sums %s, want [5 7]", got)
	}
	waitFor(t, r, func() bool { return status(r, "middle").State == kernel.Running })
	s := status(r, "middle")
	if s.Restarts != 1 || s.State != kernel.Running || s.Reason != "poison" {
		t.Errorf("status %+v, want one restart, running, reason poison", s)
	}
	if s := status(r, "floor"); s.Restarts != 0 {
		t.Errorf("the sibling restarted %d times", s.Restarts)
	}
}

func TestDrillBreaksAnyResidentAndItComesBack(t *testing.T) {
	r := start(t, newCounter)
	defer r.kernel.Stop()
	r.roof.Send(add{5})
	r.roof.Wait(t, 1)
	for _, l := range r.stack.Loads() {
		if !r.stack.Drill(l.Name) {
			t.Fatalf("no resident %s", l.Name)
		}
		waitFor(t, r, func() bool { s := status(r, l.Name); return s.Restarts == 1 && s.State == kernel.Running })
	}
	if r.stack.Drill("nobody") {
		t.Error("drilled a layer that is not there")
	}
	r.roof.Send(add{2})
	if got := fmt.Sprint(sums(r.roof.Wait(t, 2))); got != "[5 7]" {
		t.Errorf("sums %s, want [5 7]", got)
	}
}

func TestInputThatBrokeALayerIsRefusedFromThenOn(t *testing.T) {
	r := start(t, newCounter)
	defer r.kernel.Stop()
	for range 5 {
		r.roof.Send(add{poison})
	}
	r.roof.Send(add{1})
	r.roof.Wait(t, 1)
	if s := status(r, "middle"); s.Restarts != 1 {
		t.Errorf("%d restarts, want 1: the same input may break a layer only once", s.Restarts)
	}
	q := r.stack.Quarantined()
	if len(q) != 1 || q[0].Layer != "middle" || q[0].Reason != "poison" {
		t.Errorf("quarantine %+v, want the one input with its reason", q)
	}
}

func TestOnlyTheGuiltyPartOfABundleIsQuarantined(t *testing.T) {
	r := start(t, newCounter)
	defer r.kernel.Stop()
	r.floor.Outlet().Send(many{[]fact{told{1}, told{poison}, told{2}}})
	if got := fmt.Sprint(sums(r.roof.Wait(t, 2))); got != "[1 3]" {
		t.Errorf("sums %s, want [1 3]: the honest parts", got)
	}
	if q := r.stack.Quarantined(); len(q) != 1 || !strings.HasSuffix(q[0].Type, "told") {
		t.Errorf("quarantine %+v, want one told", q)
	}
}

func TestRefusedInputChangesNothing(t *testing.T) {
	r := start(t, newCounter)
	defer r.kernel.Stop()
	r.roof.Send(add{0})
	r.roof.Send(add{1})
	r.roof.Wait(t, 1)
	for _, l := range r.stack.Loads() {
		if l.Name == "middle" && l.Refused != 1 {
			t.Errorf("%d refused, want 1", l.Refused)
		}
	}
	if c := r.store.Commits(); c != 1 {
		t.Errorf("%d commits, want 1", c)
	}
}

func TestRepeatedFailuresBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var built []time.Duration
		r := start(t, func(s layers.Saved) *counter {
			built = append(built, time.Since(begin))
			return newCounter(s)
		})
		defer stopInBubble(r)
		for i := range uint64(4) {
			r.roof.Send(add{poison + i})
			synctest.Wait()
			time.Sleep(10 * time.Second)
			synctest.Wait()
		}
		r.roof.Send(add{1})
		r.roof.Wait(t, 1)
		want := []time.Duration{0, 0, 11 * time.Second, 22 * time.Second, 34 * time.Second}
		if fmt.Sprint(built) != fmt.Sprint(want) {
			t.Errorf("built at %v, want %v", built, want)
		}
	})
}

func TestAlarmWakesInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var at []time.Duration
		r := start(t, func(s layers.Saved) *counter {
			c := newCounter(s)
			c.wakeIn = 5 * time.Second
			c.onWake = func() { at = append(at, time.Since(begin)) }
			return c
		})
		time.Sleep(12 * time.Second)
		synctest.Wait()
		stopInBubble(r)
		if got := fmt.Sprint(at); got != "[0s 5s 10s]" {
			t.Errorf("woken at %s, want [0s 5s 10s]", got)
		}
	})
}

func TestUncommittedRecordsAreSeenByLaterSteps(t *testing.T) {
	gate := make(chan struct{})
	var seen []string
	r := start(t, func(s layers.Saved) *counter {
		c := newCounter(s)
		c.onEvent = func() {
			<-gate
			if v, ok := s.Get("sum"); ok {
				seen = append(seen, fmt.Sprint(binary.BigEndian.Uint64(v)))
			}
			for k := range s.Scan("", "", false) {
				seen = append(seen, k)
			}
		}
		return c
	})
	defer r.kernel.Stop()
	r.floor.Outlet().Send(told{3})
	r.floor.Outlet().Send(told{4})
	close(gate)
	r.roof.Wait(t, 2)
	if got := strings.Join(seen, " "); got != "3 sum" {
		t.Errorf("the second step saw %q, want the record of the first", got)
	}
}

func TestTraceFollowsAMessageThroughTheLayers(t *testing.T) {
	r := start(t, newCounter)
	defer r.kernel.Stop()
	r.roof.Send(named{add{9}, []byte("nine")})
	r.roof.Wait(t, 1)
	waitFor(t, r, func() bool { return len(r.tracer.Find([]byte("nine"))) == 1 })
	s := r.tracer.Find([]byte("nine"))[0]
	if s.Layer != "middle" || s.Saved != 1 || len(s.Emitted) != 2 || s.Outcome != actors.Done {
		t.Errorf("step %+v, want one of middle with a record and two messages", s)
	}
}

// named is an add that can be found in the trace.
type named struct {
	add
	id []byte
}

func (n named) Identity() []byte { return n.id }

// stopInBubble stops the kernel and outlives what protoactor leaves behind for a
// second when a message had nobody to go to any more.
func stopInBubble(r *rig) {
	r.kernel.Stop()
	time.Sleep(2 * time.Second)
	synctest.Wait()
}

func status(r *rig, name string) kernel.Status {
	for _, s := range r.kernel.Status() {
		if s.Name == name {
			return s
		}
	}
	return kernel.Status{}
}

// waitFor polls for a state of the kernel that no message announces to a test.
func waitFor(t testing.TB, _ *rig, ok func() bool) {
	t.Helper()
	limit := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("waited in vain")
		}
	}
}
