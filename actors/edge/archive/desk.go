package archive

import (
	"context"
	"sync"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// askID tells a request from others.
type askID struct {
	on  side
	ask uint64
}

// ask is a request under way. Whoever works on it has it alone; between two
// pages nobody does, and nothing of the database is held.
type ask struct {
	id     askID
	asked  transport.Asked
	ctx    context.Context
	cancel context.CancelFunc

	searched bool
	keys     []Key // that are still to be sent
	next     *Key  // the cursor of the last page

	paused time.Time // since when it waits for Taken; zero while it does not. Guarded by the desk
}

// desk is where requests wait and are worked on.
type desk struct {
	mu    *sync.Mutex
	limit int
	asks  map[askID]*ask
	peers map[string]int
	jobs  chan *ask // each at most once, so there is room
}

func newDesk(limit int) desk {
	return desk{mu: new(sync.Mutex), limit: limit, asks: map[askID]*ask{}, peers: map[string]int{}, jobs: make(chan *ask, limit)}
}

// open takes a request in, unless there are too many.
func (d *desk) open(ctx context.Context, id askID, asked transport.Asked) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, twice := d.asks[id]; twice || len(d.asks) >= d.limit || d.peers[asked.Peer] >= max(1, d.limit/8) {
		return false
	}
	a := &ask{id: id, asked: asked}
	a.ctx, a.cancel = context.WithCancel(ctx)
	d.asks[id] = a
	d.peers[asked.Peer]++
	d.enqueue(a)
	return true
}

// enqueue gives a to the workers. One that was abandoned while it was queued
// still has its place there, so the room may be used up by such: they are
// taken out first.
func (d *desk) enqueue(a *ask) {
	for {
		select {
		case d.jobs <- a:
			return
		default:
		}
		select {
		case other := <-d.jobs:
			if other.ctx.Err() == nil {
				d.jobs <- other
			}
		default:
		}
	}
}

// taken goes on with a request whose page was taken.
func (d *desk) taken(id askID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.asks[id]; a != nil && !a.paused.IsZero() {
		a.paused = time.Time{}
		d.enqueue(a)
	}
}

// pause notes that a request waits for Taken. It must be called before the page
// is sent; it reports whether the request is still wanted.
func (d *desk) pause(a *ask, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	a.paused = now
	return d.asks[a.id] == a
}

// abandon ends a request without an answer. It reports whether it was there.
func (d *desk) abandon(id askID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.remove(d.asks[id])
}

// close ends a request that is to be answered.
func (d *desk) close(a *ask) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asks[a.id] == a && d.remove(a)
}

func (d *desk) remove(a *ask) bool {
	if a == nil {
		return false
	}
	a.cancel()
	delete(d.asks, a.id)
	if d.peers[a.asked.Peer]--; d.peers[a.asked.Peer] == 0 {
		delete(d.peers, a.asked.Peer)
	}
	return true
}

// stale returns the requests whose page has not been taken since a time.
func (d *desk) stale(since time.Time) (list []*ask) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.asks {
		if !a.paused.IsZero() && a.paused.Before(since) {
			list = append(list, a)
		}
	}
	return list
}

func (d *desk) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.asks)
}
