package devp2p

import (
	"context"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/stratanode/strata/actors"
)

// minWeight is what the shortest packet counts, in bytes: about what a decoded
// packet and its way through the mailboxes cost.
const minWeight = 2 << 10

// budget bounds the bytes in flight inside the node: of all links together, and
// of each, so that one flooding peer holds up only itself.
type budget struct {
	total *semaphore.Weighted
	size  int64 // of total
	share int64 // of one link: a quarter, but room for the longest packet
	used  atomic.Int64
}

func newBudget(size, longest int) *budget {
	b := &budget{size: int64(max(size, minWeight))}
	b.share = min(b.size, max(b.size/4, int64(longest), minWeight))
	b.total = semaphore.NewWeighted(b.size)
	return b
}

// account is the part of one link. A credit of actors tells nobody when it
// returns, so each packet gets one of its own, and collect waits for them in the
// order in which they were given. The layers work off a link in that order too.
type account struct {
	of  *budget
	own *semaphore.Weighted

	mu     sync.Mutex
	lent   []loan // own bounds it
	closed bool
	more   chan struct{} // has an element when lent or closed has changed
}

type loan struct {
	of     *actors.Credits // of weight one
	weight int64
}

func (b *budget) account() *account {
	return &account{of: b, own: semaphore.NewWeighted(b.share), more: make(chan struct{}, 1)}
}

// take waits until a packet of size bytes may enter the node.
func (a *account) take(ctx context.Context, size int) (*actors.Credit, error) {
	weight := min(max(int64(size), minWeight), a.of.share)
	if err := a.own.Acquire(ctx, weight); err != nil {
		return nil, err
	}
	if err := a.of.total.Acquire(ctx, weight); err != nil {
		a.own.Release(weight)
		return nil, err
	}
	one := actors.NewCredits(1)
	c := one.TryTake(1)
	a.of.used.Add(weight)
	a.change(func() { a.lent = append(a.lent, loan{one, weight}) })
	return c, nil
}

// close says that nothing more is taken.
func (a *account) close() { a.change(func() { a.closed = true }) }

func (a *account) change(f func()) {
	a.mu.Lock()
	f()
	a.mu.Unlock()
	select {
	case a.more <- struct{}{}:
	default:
	}
}

// collect gives back what the layers are done with, until close and all is given
// back, or ctx ends.
func (a *account) collect(ctx context.Context) {
	for {
		a.mu.Lock()
		lent, closed := a.lent, a.closed
		a.lent = nil
		a.mu.Unlock()
		for _, l := range lent {
			if _, err := l.of.Take(ctx, 1); err != nil {
				return
			}
			a.own.Release(l.weight)
			a.of.total.Release(l.weight)
			a.of.used.Add(-l.weight)
		}
		if closed {
			return
		}
		select {
		case <-a.more:
		case <-ctx.Done():
			return
		}
	}
}
