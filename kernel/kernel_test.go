package kernel_test

import (
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/goleak"

	"github.com/stratanode/strata/kernel"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// throttle is what protoactor leaves behind for a second when a message had
// nobody to go to any more.
var throttle = goleak.IgnoreTopFunction("github.com/asynkron/protoactor-go/actor.NewDeadLetter.NewThrottle.func4.1")

// child is an actor that opens, counts its lives and panics on demand.
type child struct {
	name  string
	lives *atomic.Int32
	open  func() error
}

func (c *child) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		c.lives.Add(1)
		if c.open != nil {
			if err := c.open(); err != nil {
				panic(err)
			}
		}
		kernel.Announce(ctx, c.name)
	case error:
		panic(m)
	case func():
		m()
	}
}

func born(name string, lives *atomic.Int32, open func() error) kernel.Child {
	return kernel.Child{Name: name, Props: actor.PropsFromProducer(func() actor.Actor {
		return &child{name, lives, open}
	})}
}

// stop stops k in a bubble and outlives the throttle.
func stop(k *kernel.Kernel) {
	k.Stop()
	time.Sleep(2 * time.Second)
	synctest.Wait()
}

func TestStartReturnsWhenAllChildrenAreOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := kernel.New(quiet)
		var lives atomic.Int32
		if err := k.Start([]kernel.Child{born("a", &lives, nil), born("b", &lives, nil)}); err != nil {
			t.Fatal(err)
		}
		if lives.Load() != 2 || !k.Healthy() {
			t.Errorf("%d children open, healthy %v; want 2, true", lives.Load(), k.Healthy())
		}
		stop(k)
	})
}

// TestNoChildRunsBeforeAllExist has every child write to the last one as it
// opens.
func TestNoChildRunsBeforeAllExist(t *testing.T) {
	for range 50 {
		k := kernel.New(quiet)
		var lives, got atomic.Int32
		greet := func() error {
			k.System().Root.Send(k.PID("last"), func() { got.Add(1) })
			return nil
		}
		children := []kernel.Child{born("a", &lives, greet), born("b", &lives, greet), born("c", &lives, greet), born("last", &lives, nil)}
		if err := k.Start(children); err != nil {
			t.Fatal(err)
		}
		k.Stop() // works off what is queued
		if got.Load() != 3 {
			t.Fatalf("%d of 3 messages arrived", got.Load())
		}
	}
}

func TestChildThatCannotOpenEndsTheStart(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent(), throttle)
	k := kernel.New(quiet)
	var lives atomic.Int32
	err := k.Start([]kernel.Child{
		born("a", &lives, nil),
		born("b", &lives, func() error { return errors.New("port is taken") }),
	})
	if err == nil || !strings.Contains(err.Error(), "b: port is taken") {
		t.Errorf("got %v, want the child and its reason", err)
	}
}

func TestTwoChildrenOfOneNameAreRefused(t *testing.T) {
	k := kernel.New(quiet)
	var lives atomic.Int32
	if err := k.Start([]kernel.Child{born("a", &lives, nil), born("a", &lives, nil)}); err == nil {
		t.Error("no error")
	}
}

func TestFailureLeavesSiblingsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := kernel.New(quiet)
		var changes []kernel.Status
		k.OnChange(func(s kernel.Status) { changes = append(changes, s) })
		var a, b atomic.Int32
		if err := k.Start([]kernel.Child{born("a", &a, nil), born("b", &b, nil)}); err != nil {
			t.Fatal(err)
		}
		k.System().Root.Send(k.PID("a"), errors.New("broken"))
		synctest.Wait()
		if a.Load() != 2 || b.Load() != 1 {
			t.Errorf("lives %d and %d, want 2 and 1", a.Load(), b.Load())
		}
		s := k.Status()[0]
		if s.Name != "a" || s.State != kernel.Running || s.Restarts != 1 || s.Reason != "broken" {
			t.Errorf("status %+v, want a running again, with the reason", s)
		}
		if !slices.ContainsFunc(changes, func(s kernel.Status) bool { return s.Name == "a" && s.State == kernel.Backoff }) {
			t.Errorf("changes %+v, want one to backing off", changes)
		}
		stop(k)
	})
}

func TestBackoffDoublesAndIsForgottenAfterAGoodRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := kernel.New(quiet)
		begin := time.Now()
		var lives atomic.Int32
		var at []time.Duration
		open := func() error { at = append(at, time.Since(begin)); return nil }
		if err := k.Start([]kernel.Child{born("a", &lives, open)}); err != nil {
			t.Fatal(err)
		}
		for range 4 { // at 0 s; each is read when the back-off before it is over
			k.System().Root.Send(k.PID("a"), errors.New("broken"))
		}
		time.Sleep(2 * time.Minute)
		k.System().Root.Send(k.PID("a"), errors.New("broken"))
		synctest.Wait()
		want := []time.Duration{0, 0, time.Second, 3 * time.Second, 7 * time.Second, 2 * time.Minute}
		if !slices.Equal(at, want) {
			t.Errorf("opened at %v, want %v", at, want)
		}
		stop(k)
	})
}

func TestBackoffIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := kernel.New(quiet)
		var lives atomic.Int32
		if err := k.Start([]kernel.Child{born("a", &lives, nil)}); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			k.System().Root.Send(k.PID("a"), errors.New("broken"))
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		before := lives.Load()
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		if n := lives.Load() - before; n != 1 {
			t.Errorf("%d restarts in a minute after an hour of failures, want 1", n)
		}
		stop(k)
	})
}

// forgiven is the panic of an orderly recovery.
type forgiven struct{ error }

func (forgiven) Forgiven() bool { return true }

func TestForgivenFailureCausesNoBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := kernel.New(quiet)
		var lives atomic.Int32
		if err := k.Start([]kernel.Child{born("a", &lives, nil)}); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			k.System().Root.Send(k.PID("a"), forgiven{errors.New("in parts")})
		}
		synctest.Wait() // and no time passes
		if lives.Load() != 11 {
			t.Errorf("%d lives, want 11 at once", lives.Load())
		}
		stop(k)
	})
}

func TestDegradedChildIsReportedUntilItIsWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := kernel.New(quiet)
		var lives atomic.Int32
		if err := k.Start([]kernel.Child{born("a", &lives, nil)}); err != nil {
			t.Fatal(err)
		}
		k.System().Root.Send(k.System().NewLocalPID("node"), kernel.Degraded{Name: "a", Reason: "disk is full"})
		synctest.Wait()
		if s := k.Status()[0]; k.Healthy() || !s.Degraded || s.Reason != "disk is full" || s.State != kernel.Running {
			t.Errorf("status %+v, want running but degraded", s)
		}
		k.System().Root.Send(k.System().NewLocalPID("node"), kernel.Degraded{Name: "a"})
		synctest.Wait()
		if !k.Healthy() {
			t.Error("not healthy after it was taken back")
		}
		stop(k)
	})
}

func TestStopLetsQueuedWorkFinish(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent(), throttle)
	k := kernel.New(quiet)
	var lives, done atomic.Int32
	if err := k.Start([]kernel.Child{born("a", &lives, nil)}); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		k.System().Root.Send(k.PID("a"), func() { done.Add(1) })
	}
	k.Stop()
	if done.Load() != 100 {
		t.Errorf("%d of 100 messages were worked off", done.Load())
	}
	k.Stop() // a second time does nothing
}

func TestStopDoesNotWaitForAChildThatBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := kernel.New(quiet)
		var lives atomic.Int32
		if err := k.Start([]kernel.Child{born("a", &lives, nil)}); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			k.System().Root.Send(k.PID("a"), errors.New("broken"))
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		begin := time.Now()
		stop(k)
		if took := time.Since(begin); took > 4*time.Second {
			t.Errorf("took %v", took)
		}
	})
}
