package bridge

import "time"

// burst is for how long a budget saves up what is not used.
const burst = 2 * time.Second

// bucket is a token bucket. It lets something pass while there is a token in it,
// however many that costs, and then waits until the debt is paid: what is larger
// than the bucket passes too, at the same average rate.
type bucket struct {
	rate  float64 // tokens a second, at least 1; zero for no limit
	level float64
	at    time.Time // when level was right
}

// wait returns how long it takes until something may pass, zero for now.
func (b *bucket) wait(now time.Time) time.Duration {
	if b.rate == 0 {
		return 0
	}
	full := b.rate * burst.Seconds()
	if b.at.IsZero() {
		b.level = full
	} else if passed := now.Sub(b.at); passed > 0 { // the clock may be set back
		b.level = min(full, b.level+b.rate*passed.Seconds())
	}
	b.at = now
	if b.level >= 1 {
		return 0
	}
	// A nanosecond more, so that rounding cannot leave a little less in it.
	return time.Duration((1-b.level)/b.rate*float64(time.Second)) + 1
}

func (b *bucket) pay(cost float64) {
	if b.rate > 0 {
		b.level -= cost
	}
}

// budget is what is left of a Budget.
type budget struct{ envelopes, kib, work bucket }

func newBudget(b Budget) budget {
	return budget{
		envelopes: bucket{rate: float64(b.EnvelopesPerSecond)},
		kib:       bucket{rate: float64(b.KiBPerSecond)},
		work:      bucket{rate: float64(b.WorkPerSecond)},
	}
}

func (b *budget) wait(now time.Time) time.Duration {
	return max(b.envelopes.wait(now), b.kib.wait(now), b.work.wait(now))
}

func (b *budget) pay(size int, ttl time.Duration) {
	b.envelopes.pay(1)
	b.kib.pay(float64(size) / 1024)
	b.work.pay(occupied(size) * ttl.Seconds())
}

// affordable cuts a time to live to what half of the work that is left pays for.
// So an envelope that is both long and long-lived gives up some of its life
// instead of keeping others waiting, and the more of them there are the more.
func (b *budget) affordable(now time.Time, size int, ttl time.Duration) time.Duration {
	if b.work.rate == 0 {
		return ttl
	}
	b.work.wait(now) // brings the level up to date
	most := max(b.work.level, 0) / 2 / occupied(size)
	if ttl.Seconds() <= most {
		return ttl
	}
	return time.Duration(most * float64(time.Second))
}

// occupied is what an envelope takes of a transport's memory, in KiB.
func occupied(size int) float64 { return float64(size+parcelCost) / 1024 }
