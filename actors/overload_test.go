package actors_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers"
)

func TestFullDiskStallsALayerAndLosesNothing(t *testing.T) {
	r := start(t, newCounter)
	defer r.kernel.Stop()
	r.store.Fail(errors.New("disk is full"))
	for range 10 {
		r.roof.Send(add{1})
	}
	waitFor(t, r, func() bool { return status(r, "middle").Degraded })
	if s := status(r, "middle"); s.Reason != "disk is full" || r.kernel.Healthy() {
		t.Errorf("status %+v, want degraded with the reason", s)
	}
	if n := len(r.floor.Got()); n != 0 {
		t.Errorf("%d commands went down unsaved", n)
	}
	r.store.Fail(nil)
	got := sums(r.roof.Wait(t, 10))
	if got[9] != 10 {
		t.Errorf("sums %v, want 1 to 10", got)
	}
	waitFor(t, r, r.kernel.Healthy)
	if s := status(r, "middle"); s.Restarts != 0 {
		t.Errorf("%d restarts, want none: the layer is not to blame", s.Restarts)
	}
}

// TestInputHeldDuringAStallSurvivesABrokenLayer fills the disk, and then has one
// of the inputs that waited break the layer.
func TestInputHeldDuringAStallSurvivesABrokenLayer(t *testing.T) {
	r := start(t, newCounter)
	defer r.kernel.Stop()
	r.store.Fail(errors.New("disk is full"))
	r.roof.Send(add{1})
	waitFor(t, r, func() bool { return status(r, "middle").Degraded })
	for _, n := range []uint64{2, poison, 3, 4} {
		r.roof.Send(add{n})
	}
	r.store.Fail(nil)
	if got := fmt.Sprint(sums(r.roof.Wait(t, 4))); got != "[1 3 6 10]" {
		t.Errorf("sums %s, want [1 3 6 10]", got)
	}
	waitFor(t, r, func() bool { return status(r, "middle").State == kernel.Running })
	if s := status(r, "middle"); s.Restarts != 1 {
		t.Errorf("%d restarts, want 1", s.Restarts)
	}
}

func TestCreditReturnsWhenAllLayersAreDone(t *testing.T) {
	gate := make(chan struct{})
	r := start(t, func(s layers.Saved) *counter {
		c := newCounter(s)
		c.onEvent = func() { <-gate }
		return c
	})
	defer r.kernel.Stop()
	credits := actors.NewCredits(2)
	for range 2 {
		c, err := credits.Take(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		r.floor.Outlet().SendCredited(told{1}, c)
	}
	if credits.TryTake(1) != nil {
		t.Error("a third credit while two inputs are in flight")
	}
	close(gate)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := credits.Take(ctx, 2); err != nil {
		t.Errorf("credits did not return: %v", err)
	}
}

func TestCreditOfABrokenStepReturns(t *testing.T) {
	r := start(t, newCounter)
	defer r.kernel.Stop()
	credits := actors.NewCredits(1)
	for _, e := range []fact{told{poison}, told{0}, many{[]fact{told{poison}, told{1}}}, many{}} {
		c, err := credits.Take(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		r.floor.Outlet().SendCredited(e, c)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		c, err = credits.Take(ctx, 1)
		cancel()
		if err != nil {
			t.Fatalf("%#v: credit did not return: %v", e, err)
		}
		c.Return()
	}
}
