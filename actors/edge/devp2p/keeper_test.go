package devp2p

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// remote is the far side of a keeper, in fake time.
type remote struct {
	*keeper
	// answer says who took the n-th connection, and how long the link lives that
	// comes of it; 0 is no link.
	answer func(n int) (reached netip.Addr, lives time.Duration)
	begin  time.Time

	mu          sync.Mutex
	up, inbound bool
	dialled     []time.Duration // since begin
}

func (r *remote) isLinked() (inbound, up bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inbound, r.up
}

func (r *remote) dial(context.Context) (netip.Addr, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dialled = append(r.dialled, time.Since(r.begin))
	reached, lives := r.answer(len(r.dialled))
	if lives > 0 {
		r.link(false, lives)
	}
	return reached, time.Now()
}

// link makes a link. mu is held.
func (r *remote) link(inbound bool, lives time.Duration) {
	r.up, r.inbound = true, inbound
	time.AfterFunc(lives, func() {
		r.mu.Lock()
		r.up = false
		r.mu.Unlock()
		tell(r.ended)
	})
}

// keepFor runs a keeper for a time and returns when it dialled.
func keepFor(t *testing.T, long time.Duration, answer func(int) (netip.Addr, time.Duration), meanwhile func(*remote)) (dialled []time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &remote{keeper: newKeeper(), answer: answer, begin: time.Now()}
		r.keeper.linked, r.keeper.attempt = r.isLinked, r.dial
		if meanwhile != nil {
			meanwhile(r)
		}
		ctx, cancel := context.WithTimeout(t.Context(), long)
		defer cancel()
		r.run(ctx)
		r.mu.Lock()
		defer r.mu.Unlock()
		dialled = r.dialled
	})
	return dialled
}

func gaps(dialled []time.Duration) (all []time.Duration) {
	for i := range len(dialled) - 1 {
		all = append(all, dialled[i+1]-dialled[i])
	}
	return all
}

func TestNodeThatIsAlreadyConnectedIsTriedAgainSoonAndThenWithPatience(t *testing.T) {
	got := keepFor(t, 10*time.Minute, func(int) (netip.Addr, time.Duration) { return loopback, 0 }, nil)
	if got[0] != 0 {
		t.Errorf("first attempt after %v", got[0])
	}
	for i, gap := range gaps(got) {
		if want := delay(i + 1); gap < want*3/4 || gap > want*5/4 {
			t.Errorf("gap %d is %v, want about %v", i, gap, want)
		}
	}
	if n := len(got); n < 15 || n > 35 {
		t.Errorf("%d attempts in 10 minutes", n)
	}
}

func TestNodeFarAwayIsNeverReachedTwiceWithinItsThrottle(t *testing.T) {
	for name, lives := range map[string]time.Duration{"no link": 0, "short links": 3 * time.Second, "links just below the throttle": throttle - 2*time.Second} {
		got := keepFor(t, 10*time.Minute, func(int) (netip.Addr, time.Duration) { return far, lives }, nil)
		if n := len(got); n < 15 {
			t.Errorf("%s: %d attempts", name, n)
		}
		for _, gap := range gaps(got) {
			if gap < throttle {
				t.Errorf("%s: tried again after %v", name, gap)
			}
		}
	}
}

func TestNodeThatRefusesTheConnectionMayBeTriedSoonerThanItsThrottle(t *testing.T) {
	got := keepFor(t, 10*time.Second, func(int) (netip.Addr, time.Duration) { return nowhere, 0 }, nil)
	if len(got) < 3 {
		t.Errorf("dialled at %v", got)
	}
}

func TestLinkThatLivedLongIsMadeAgainAtOnce(t *testing.T) {
	const lives = 2 * time.Minute
	for name, ip := range map[string]netip.Addr{"near": loopback, "far": far} {
		got := keepFor(t, 20*time.Minute, func(int) (netip.Addr, time.Duration) { return ip, lives }, nil)
		for _, gap := range gaps(got) {
			if gap < lives || gap > lives+lostSpread {
				t.Errorf("%s: dialled again after %v", name, gap-lives)
			}
		}
		if len(got) < 9 {
			t.Errorf("%s: %d links in 20 minutes", name, len(got))
		}
	}
}

func TestLinksThatEndAtOnceCauseNoFlood(t *testing.T) {
	got := keepFor(t, 10*time.Minute, func(int) (netip.Addr, time.Duration) { return loopback, time.Millisecond }, nil)
	if n := len(got); n < 15 || n > 35 {
		t.Errorf("%d attempts in 10 minutes", n)
	}
}

func TestEndsOfOtherLinksOfANodeCauseNoAttempts(t *testing.T) {
	got := keepFor(t, 10*time.Minute, func(int) (netip.Addr, time.Duration) { return loopback, 0 }, func(r *remote) {
		for i := range 1000 {
			time.AfterFunc(time.Duration(i)*100*time.Millisecond, func() { tell(r.ended) })
		}
	})
	if n := len(got); n < 15 || n > 35 {
		t.Errorf("%d attempts in 10 minutes", n)
	}
}

func TestNodeThatDialledUsIsNotDialledAndGetsTheTimeToDoSoAgain(t *testing.T) {
	inbound := func(r *remote) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.link(true, time.Minute)
		time.AfterFunc(time.Minute+firstDelay/2, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.link(true, time.Minute)
		})
	}
	got := keepFor(t, 10*time.Minute, func(int) (netip.Addr, time.Duration) { return loopback, time.Hour }, inbound)
	if len(got) != 1 || got[0] < 2*time.Minute+firstDelay || got[0] > 2*time.Minute+2*firstDelay {
		t.Errorf("dialled at %v", got)
	}
}

func TestNodeThatHasMovedIsDialledAtOnce(t *testing.T) {
	moves := []time.Duration{3 * time.Minute, 5 * time.Minute, 8 * time.Minute}
	got := keepFor(t, 10*time.Minute, func(int) (netip.Addr, time.Duration) { return far, 0 }, func(r *remote) {
		for _, at := range moves {
			time.AfterFunc(at, func() { tell(r.moved) })
		}
	})
	for _, at := range moves {
		if !slices.ContainsFunc(got, func(d time.Duration) bool { return d >= at && d <= at+firstDelay }) {
			t.Errorf("moved at %v, dialled at %v", at, got)
		}
	}
}

func TestNodeThatMovesAllTheTimeIsDialledWithPauses(t *testing.T) {
	got := keepFor(t, time.Minute, func(int) (netip.Addr, time.Duration) { return nowhere, 0 }, func(r *remote) {
		for i := range 1000 {
			time.AfterFunc(time.Duration(i)*50*time.Millisecond, func() { tell(r.moved) })
		}
	})
	if len(got) > 61 {
		t.Errorf("%d attempts in a minute", len(got))
	}
}
