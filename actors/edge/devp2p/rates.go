package devp2p

import (
	"context"
	"time"

	"golang.org/x/time/rate"
)

// rates bounds what one peer may send, in bytes and in packets. A peer beyond
// them is read more slowly, so that its own buffers fill, but keeps its link.
type rates struct{ bytes, packets *rate.Limiter } // nil: no limit

func newRates(c Config) rates {
	return rates{
		bytes:   bucket(c.PeerBytesPerSecond, c.PeerBurstBytes),
		packets: bucket(c.PeerPacketsPerSecond, c.PeerBurstPackets),
	}
}

func bucket(perSecond, burst int) *rate.Limiter {
	if perSecond == 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(perSecond), burst)
}

// charge takes one packet of size bytes and returns how long to wait for it.
func (r rates) charge(now time.Time, size int) time.Duration {
	return max(draw(r.packets, now, 1), draw(r.bytes, now, size))
}

// draw takes n tokens. A packet longer than the burst is drawn in parts.
func draw(l *rate.Limiter, now time.Time, n int) (wait time.Duration) {
	if l == nil {
		return 0
	}
	for n > 0 {
		part := min(n, l.Burst())
		wait = l.ReserveN(now, part).DelayFrom(now)
		n -= part
	}
	return wait
}

// sleep waits, and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// slow waits if the peer is beyond its rates, and reports whether the link is
// to go on.
func (l *link) slow(size int) bool {
	wait := l.rates.charge(time.Now(), size)
	if wait <= 0 {
		return true
	}
	l.slowed.Add(1)
	l.edge.count.slowed.Add(1)
	l.edge.count.slowedFor.Add(int64(wait))
	return sleep(l.ctx, wait)
}
