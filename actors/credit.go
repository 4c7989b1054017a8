package actors

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// Credits bounds what an edge has in flight inside the node: inputs that were
// read but not yet worked off by all layers they concern. An edge takes a credit
// before it reads on, so that a flood stays in the sender's socket and the
// mailboxes inside are bounded (DESIGN §4).
type Credits struct{ free *semaphore.Weighted }

// NewCredits returns credits of the given total weight; what a unit stands for
// (a packet, a byte) is the edge's choice.
func NewCredits(total int64) *Credits { return &Credits{semaphore.NewWeighted(total)} }

// Take waits for credit of the given weight. The edge passes the Credit to
// Outlet.SendCredited, or calls Return if there is nothing to send after all.
func (c *Credits) Take(ctx context.Context, weight int64) (*Credit, error) {
	if err := c.free.Acquire(ctx, weight); err != nil {
		return nil, err
	}
	return c.granted(weight), nil
}

// TryTake is Take for an edge that sheds load: it does not wait, and returns nil
// if there is no credit.
func (c *Credits) TryTake(weight int64) *Credit {
	if !c.free.TryAcquire(weight) {
		return nil
	}
	return c.granted(weight)
}

func (c *Credits) granted(weight int64) *Credit {
	g := &Credit{of: c, weight: weight}
	g.holders.Store(1)
	return g
}

// Credit is held by every message that came of one input, and returns by itself
// when the last of them is done with.
type Credit struct {
	of      *Credits
	weight  int64
	holders atomic.Int32
}

// share adds n holders. A nil Credit stands for an input that needs none.
func (c *Credit) share(n int) {
	if c != nil {
		c.holders.Add(int32(n))
	}
}

// Return gives up one hold on the credit.
func (c *Credit) Return() {
	if c != nil && c.holders.Add(-1) == 0 {
		c.of.free.Release(c.weight)
	}
}
