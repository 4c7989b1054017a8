package actors_test

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/layers"
)

// text is a log that may be read while it is written.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *text) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// keepAll lets everything through that a retired one says, for a while.
func keepAll(d time.Duration) actors.Phase[order, fact] {
	return actors.Phase[order, fact]{Out: d, Keep: func(fact) bool { return true }}
}

// end stops a rig in a bubble, with protoactor's own timers.
func (r *rig) end() {
	r.kernel.Stop()
	time.Sleep(time.Minute)
}

func TestSeveralRetiredOnesAreHeardEachUntilItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newCounter)
		defer r.end()
		var edges [4]events
		for i := range edges { // edge i is retired after i+1 turns of 2 s
			r.replace(t, r.withSource(&edges[i], nil, keepAll(10*time.Second)))
			time.Sleep(2 * time.Second)
		}
		// The first was retired at 2 s, the second at 4 s, the third at 6 s; now it is 8 s.
		time.Sleep(3 * time.Second)
		for turn, want := range [][]uint64{{1, 2, 3, 4}, {2, 3, 4}, {3, 4}, {4}} {
			before := len(r.roof.Got())
			for i := range edges {
				edges[i].say(uint64(i + 1))
			}
			synctest.Wait()
			got := sums(r.roof.Got()[before:])
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("at %d s the roof heard %v, want %v", 11+2*turn, got, want)
			}
			time.Sleep(2 * time.Second)
		}
		for i := range edges {
			if closed := edges[i].has("close"); closed != (i < 3) {
				t.Errorf("edge %d closed: %t", i+1, closed)
			}
		}
	})
}

func TestOldestOfTooManyEndsFirstAndTheLogSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log text
		r := startLogged(t, &log, newCounter)
		defer r.end()
		var edges [7]events
		for i := range edges {
			r.replace(t, r.withSource(&edges[i], nil, keepAll(time.Hour)))
		}
		synctest.Wait()
		for i := range edges {
			if closed := edges[i].has("close"); closed != (i < 2) {
				t.Errorf("edge %d of 7 closed: %t, want the last and the four before it open", i+1, closed)
			}
		}
		if n := strings.Count(log.String(), "too many are being phased out"); n != 3 { // the layer and two edges
			t.Errorf("the log says %d times that too many are being phased out:\n%s", n, log.String())
		}
	})
}

func TestCandidateThatIsUsedAgainComesBackAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newCounter)
		defer r.end()
		phase := keepAll(10 * time.Second)
		phase.Back = add{9}
		var port sync.Mutex
		var seen events
		only := actors.EdgeFor(r.stack, midSlot, func(out actors.Outlet[fact]) actors.Edge[order] {
			return &exclusive{source: source{out, nil, &seen}, port: &port}
		}, phase)
		for range 3 {
			r.replace(t, only)
			r.replace(t, r.withCounter(newCounter, keepAll(10*time.Second)))
		}
		r.replace(t, only)
		time.Sleep(time.Minute) // it is not phased out any more
		r.roof.Send(add{5})
		synctest.Wait()
		if opened, closed := seen.count("open"), seen.count("close"); opened != 1 || closed != 0 {
			t.Errorf("it was opened %d times and closed %d times, want once and never", opened, closed)
		}
		got := sums(r.roof.Got())
		if back := len(slices.DeleteFunc(slices.Clone(got), func(n uint64) bool { return n != 90 })); back != 3 || !slices.Contains(got, 50) {
			t.Errorf("the roof got %v, want 90 each of the three times it came back, and 50", got)
		}
		// It does what any resident does: it is retired, and ends.
		r.replace(t, r.withCounter(newCounter, keepAll(10*time.Second)))
		time.Sleep(11 * time.Second)
		if !seen.has("close") {
			t.Error("it is open long after it was replaced")
		}
		r.replace(t, only)
		if seen.count("open") != 2 {
			t.Error("a candidate whose edge has ended opens no other")
		}
	})
}

func TestFirstResidentComesBackToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newCounter)
		defer r.end()
		var seen, other events
		r.replace(t, r.withSource(&seen, nil, noPhase))
		first := actors.InPlace(r.stack, midSlot, keepAll(time.Hour))
		r.replace(t, r.withSource(&other, nil, keepAll(time.Hour)))
		r.replace(t, first)
		r.roof.Send(add{5})
		synctest.Wait()
		if got := sums(r.roof.Got()); seen.count("open") != 1 || !slices.Contains(got, 50) || slices.Contains(got, 1050) {
			t.Errorf("opened %d times, the roof got %v", seen.count("open"), got)
		}
		other.say(7)
		synctest.Wait()
		if got := sums(r.roof.Got()); !slices.Contains(got, 7) {
			t.Errorf("the roof got %v, want 7 from the one that was replaced by its predecessor", got)
		}
	})
}

func TestRetiredOneHeedsWhatItIsMeantToAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, func(s layers.Saved) *counter { c := newCounter(s); c.quiet = true; return c })
		defer r.end()
		phase := keepAll(time.Hour)
		phase.Heed = func(o order) bool { return o.(add).n < 100 }
		r.replace(t, r.withSource(&events{}, nil, phase))
		r.replace(t, r.withSource(&events{}, nil, phase))
		r.roof.Send(add{5})
		r.roof.Send(add{500})
		synctest.Wait()
		got := sums(r.roof.Got())
		slices.Sort(got)
		// Of the layer 5, of the retired edge 50, of the one in place 50 and 5000.
		if want := []uint64{5, 50, 50, 1000, 1000, 5000}; !slices.Equal(got, want) {
			t.Errorf("the roof got %v, want %v", got, want)
		}
	})
}

func TestCreditReturnsWhenAllTenantsAreDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newCounter)
		defer r.end()
		all := actors.NewCredits(10)
		send := func() {
			credit, err := all.Take(t.Context(), 10)
			if err != nil {
				t.Fatal(err)
			}
			r.floor.Outlet().SendCredited(told{3}, credit)
			synctest.Wait()
			if credit = all.TryTake(10); credit == nil {
				t.Fatal("the credit is not back")
			}
			credit.Return()
		}
		send()
		r.replace(t, r.withSource(&events{}, nil, keepAll(time.Hour))) // only the retired one hears it
		send()
		r.replace(t, r.withCounter(newCounter, keepAll(time.Hour))) // only the one in place
		send()
		r.replace(t, r.withSource(&events{}, nil, noPhase)) // nobody, soon
		synctest.Wait()
		send()
	})
}

// heir is a counter that goes on where another one was, without a store.
type heir struct{ *counter }

func newHeir(s layers.Saved) heir { c := newCounter(s); c.quiet = true; return heir{c} }

// Succeed implements layers.Heir.
func (h heir) Succeed(_ time.Time, before layers.Protocol[order, fact, order, fact]) (out layers.Output[fact, order]) {
	b, ok := before.(heir)
	if !ok {
		return out
	}
	h.sum = b.sum
	out.Up = []fact{told{7000 + h.sum}}
	return out
}

func TestHeirGoesOnWithWhatWasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newCounter)
		defer r.end()
		next := func() actors.Candidate {
			return actors.LayerFor(r.stack, midSlot, floorSlot, newHeir, keepAll(time.Hour))
		}
		expect := func(what string, n uint64) {
			t.Helper()
			synctest.Wait()
			if got := sums(r.roof.Got()); len(got) == 0 || got[len(got)-1] != n {
				t.Errorf("%s: the roof got %v, want %d last", what, got, n)
			}
		}
		r.replace(t, next()) // a counter is not of its kind
		r.roof.Send(add{5})
		expect("no heir", 5)
		r.replace(t, next())
		expect("of the one in place", 7005)
		r.roof.Send(add{1})
		expect("of the one in place", 6)
		r.replace(t, r.withSource(&events{}, nil, keepAll(time.Hour)))
		r.floor.Outlet().Send(told{4})
		expect("retired", 10)
		r.replace(t, r.withSource(&events{}, nil, keepAll(time.Hour)))
		r.floor.Outlet().Send(told{1})
		expect("retired for long", 11)
		r.replace(t, next())
		expect("of a retired one", 7011)
		r.floor.Outlet().Send(told{2})
		expect("in place of a retired one", 13)
		if n := len(slices.DeleteFunc(sums(r.roof.Got()), func(n uint64) bool { return n != 13 })); n != 1 {
			t.Errorf("the event was heard %d times: the one before is still there", n)
		}
	})
}
