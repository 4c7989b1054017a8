package actors_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers"
)

// meddler is a source that does something while it opens.
type meddler struct {
	source
	onOpen func()
}

func (m *meddler) Open() error {
	m.onOpen()
	return m.source.Open()
}

// busy returns a rig whose middle layer is held up by the event 1 until free is
// called.
func busy(t *testing.T) (r *rig, free func()) {
	wait := make(chan struct{})
	r = start(t, func(s layers.Saved) *counter {
		c := newCounter(s)
		c.onEvent = func() { <-wait }
		return c
	})
	return r, func() { close(wait) }
}

// Nobody would close what is taken after Replace has said that it is given up, or
// what is left in the mailbox of a seat that has ended.
func TestReplacementIsGivenUpWholeIfItsTimeEndsWhileTheSeatIsBusy(t *testing.T) {
	for name, stops := range map[string]bool{"and the seat goes on": false, "and the node ends": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, free := busy(t)
				var log events
				c := actors.EdgeFor(r.stack, midSlot, func(out actors.Outlet[fact]) actors.Edge[order] {
					return &meddler{source{out, nil, &log}, func() {
						r.floor.Outlet().Send(told{1})
						synctest.Wait()
					}}
				}, noPhase)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := r.stack.Replace(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error %v, want that of ctx", err)
				}
				if log.count("open") != 1 || log.count("close") != 1 {
					t.Errorf("the edge that was given up was opened and closed: %v", log.all)
				}
				free()
				if stops {
					r.kernel.Stop()
				}
				r.roof.Send(add{3})
				synctest.Wait()
				if got := sums(r.roof.Got()); slices.Contains(got, 1000) || log.count("close") != 1 || !stops && !slices.Contains(got, 4) {
					t.Errorf("the roof got %v, and the edge did %v: want the layer in place", got, log.all)
				}
				r.end()
			})
		})
	}
}

func TestRecallIsGivenUpWholeIfItsTimeEndsWhileTheSeatIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, free := busy(t)
		defer r.end()
		var log events
		c := r.withSource(&log, nil, keepAll(time.Hour))
		r.replace(t, c)
		hold := make(chan struct{})
		r.replace(t, r.withCounter(func(s layers.Saved) *counter {
			held := newCounter(s)
			held.onEvent = func() { <-hold }
			return held
		}, keepAll(time.Hour)))
		r.floor.Outlet().Send(told{1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.stack.Replace(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want that of ctx", err)
		}
		close(hold)
		free()
		synctest.Wait()
		r.roof.Send(add{3})
		synctest.Wait()
		if got := sums(r.roof.Got()); slices.Contains(got, 30) || !slices.Contains(got, 4) {
			t.Errorf("the roof got %v: want the layer in place", got)
		}
	})
}

// clumsy is an heir that breaks over what it is to go on with.
type clumsy struct{ *counter }

// Succeed implements layers.Heir.
func (clumsy) Succeed(time.Time, layers.Protocol[order, fact, order, fact]) layers.Output[fact, order] {
	panic("clumsy")
}

// What the one before held in memory is gone then, as after any failure, but
// nothing else is.
func TestHeirThatBreaksBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newCounter)
		defer r.end()
		r.roof.Send(add{5})
		synctest.Wait()
		built := 0
		r.replace(t, actors.LayerFor(r.stack, midSlot, floorSlot, func(s layers.Saved) clumsy {
			built++
			return clumsy{newCounter(s)}
		}, keepAll(time.Hour)))
		synctest.Wait()
		if s := status(r, "middle"); s.State != kernel.Running || s.Restarts != 1 || built != 2 {
			t.Fatalf("%+v, built %d times: want it running after one restart", s, built)
		}
		r.roof.Send(add{2})
		r.floor.Outlet().Send(told{3})
		synctest.Wait()
		if got := sums(r.roof.Got()); !slices.Equal(got, []uint64{5, 7, 10}) && !slices.Equal(got, []uint64{5, 8, 10}) {
			t.Errorf("the roof got %v, want every message heard once, and what was saved", got)
		}
	})
}
