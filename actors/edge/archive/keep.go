package archive

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/layers/transport"
)

// queue is what was admitted and is not yet durable, in order.
type queue struct {
	mu      *sync.Mutex
	parcels []parcel
	waiting int64 // bytes that were admitted, of what is being written too
	lost    bool  // there was no room: nothing is taken until there is
	closed  bool
	filled  chan struct{} // holds one when there may be something
}

// parcel is one Admitted, or a part of a page that another mail server sends.
type parcel struct {
	transport.Admitted // without a Mark if it is of a page
	at                 time.Time
	bytes              int64
	credit             *actors.Credit
	page               *page // that it is of; nil: it was admitted
}

func newQueue() queue { return queue{mu: new(sync.Mutex), filled: make(chan struct{}, 1)} }

// put reports whether the queue takes a parcel.
func (q *queue) put(p parcel, limit int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.lost || q.waiting > 0 && q.waiting+p.bytes > limit {
		q.lost = true
		return false
	}
	q.waiting += p.bytes
	q.add(p)
	return true
}

// putPage reports whether the queue takes a part of a page. Its bytes are
// bounded by who asks for pages: what is admitted must not be lost for them.
func (q *queue) putPage(p parcel) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.add(p)
	return true
}

func (q *queue) add(p parcel) {
	q.parcels = append(q.parcels, p)
	select {
	case q.filled <- struct{}{}:
	default:
	}
}

// take takes the first parcel and those behind it that are of the same page, or
// were admitted as it was, up to some envelopes. So it is known how many of each
// page were new, and what is left is of another kind and comes next.
func (q *queue) take(most int) (group []parcel) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, envelopes := 0, 0
	fits := func(p parcel) bool {
		envelopes += len(p.Envelopes)
		return n == 0 || envelopes <= most
	}
	for n < len(q.parcels) && q.parcels[n].page == q.parcels[0].page && fits(q.parcels[n]) {
		n++
	}
	group, rest := q.parcels[:n:n], q.parcels[n:]
	if len(rest) > 0 && rest[0].page != group[0].page {
		full := false
		rest = slices.DeleteFunc(rest, func(p parcel) bool {
			if p.page != group[0].page || full {
				return false
			}
			if full = !fits(p); !full {
				group = append(group, p)
			}
			return !full
		})
	}
	if q.parcels = rest; len(rest) == 0 {
		q.parcels = nil
	}
	return group
}

// finish forgets what take gave out. It reports whether there is room again
// after there was none.
func (q *queue) finish(group []parcel, limit int64) (again bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, p := range group {
		if p.page == nil {
			q.waiting -= p.bytes
		}
		p.credit.Return()
	}
	if again = q.lost && q.waiting <= limit/2; again {
		q.lost = false
	}
	return again
}

// abandon gives all credits back.
func (q *queue) abandon() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, p := range q.parcels {
		p.credit.Return()
	}
	q.parcels, q.waiting = nil, 0
}

func (q *queue) size() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting
}

// admit queues what is to be stored.
func (a *Archive) admit(l *life, e transport.Admitted, c *actors.Credit) {
	p := parcel{Admitted: e, at: time.Now(), credit: c, bytes: weight(e.Envelopes)}
	n := uint64(len(e.Envelopes))
	if l.queue.put(p, a.cfg.QueueBytes) {
		a.count(func(c *Counts) { c.Admitted += n })
		return
	}
	// The transport still has it, and reports it again when it is asked to
	// with another Watch. Until then nothing that comes after it is said to be
	// kept, because nothing is.
	c.Return()
	a.count(func(c *Counts) { c.Dropped += n })
}

// weight is what envelopes count in memory.
func weight(list []transport.Envelope) (bytes int64) {
	for i := range list {
		bytes += int64(len(list[i].Raw)+len(list[i].Data)) + rowCost
	}
	return bytes
}

// farewell is how long the last write may take when the archive closes.
const farewell = 3 * time.Second

// write makes durable what is queued, as much at a time as has gathered.
func (a *Archive) write(l *life, s Store) {
	for {
		group := l.queue.take(a.cfg.Batch)
		if len(group) == 0 {
			select {
			case <-l.queue.filled:
				continue
			case <-l.ctx.Done():
				return
			}
		}
		if err := a.store(l, s, group); err != nil {
			l.queue.finish(group, a.cfg.QueueBytes)
			return
		}
	}
}

// store writes a group, however long it takes, unless the archive is closed.
func (a *Archive) store(l *life, s Store, group []parcel) error {
	rows := rowsOf(group)
	for pause := leastPause; ; pause = min(2*pause, mostPause) {
		added, err := insert(l.ctx, s, rows)
		if err == nil {
			a.recovered()
			a.kept(l, group, len(rows), added)
			return nil
		}
		if l.ctx.Err() != nil {
			return err
		}
		a.degraded(err)
		if err := wait(l.ctx, pause); err != nil {
			return err
		}
	}
}

// insert is Insert that is not interrupted by the end of ctx at once.
func insert(ctx context.Context, s Store, rows []Row) (int, error) {
	patient, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(farewell, cancel) })()
	return s.Insert(patient, rows)
}

func rowsOf(group []parcel) (rows []Row) {
	for _, p := range group {
		for i := range p.Envelopes {
			rows = append(rows, rowOf(&p.Envelopes[i], p.at))
		}
	}
	return rows
}

// kept tells the transport what is durable.
func (a *Archive) kept(l *life, group []parcel, rows, added int) {
	a.count(func(c *Counts) {
		c.Kept += uint64(added)
		c.Duplicates += uint64(rows - added)
		c.Groups++
	})
	if p := group[0].page; p != nil {
		l.pages.stored(p, group, added)
	} else {
		a.send[near](transport.Kept{Mark: group[len(group)-1].Mark})
	}
	if l.queue.finish(group, a.cfg.QueueBytes) {
		a.watch(near)
	}
}

// How often the archive looks after itself.
const (
	retentionEvery = 10 * time.Minute
	lookEvery      = 10 * time.Second
	pruneRest      = 2 * time.Millisecond // between two batches, for what waits
)

// care loads what searches need, removes what is old and looks after asks that
// are not taken.
func (a *Archive) care(l *life, store Store) {
	if err := store.Load(l.ctx); err != nil && l.ctx.Err() == nil {
		a.log.Warn("blooms are answered the slow way", "err", withoutPassword(err, a.cfg.Database))
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for next := time.Now(); ; {
		if now := time.Now(); !now.Before(next) {
			next = now.Add(retentionEvery)
			if err := a.retain(l.ctx, store, now); err != nil && l.ctx.Err() == nil {
				a.log.Warn("old envelopes were not removed", "err", withoutPassword(err, a.cfg.Database))
			}
		}
		if c, err := store.Contents(l.ctx); err == nil {
			a.mu.Lock()
			a.last = c
			a.mu.Unlock()
		}
		select {
		case now := <-tick.C:
			a.expire(l, now)
		case <-l.ctx.Done():
			return
		}
	}
}

// retain removes what is too old, and the oldest of what is too much.
func (a *Archive) retain(ctx context.Context, s Store, now time.Time) error {
	if a.cfg.Retention > 0 {
		if err := a.remove(ctx, s, seconds(now.Add(-a.cfg.Retention)), func() (bool, error) { return true, nil }); err != nil {
			return err
		}
	}
	if a.cfg.MaxBytes == 0 {
		return nil
	}
	return a.remove(ctx, s, math.MaxUint32, func() (bool, error) {
		c, err := s.Contents(ctx)
		return c.Bytes > a.cfg.MaxBytes, err
	})
}

// remove prunes batch by batch while more says so.
func (a *Archive) remove(ctx context.Context, s Store, before uint32, more func() (bool, error)) error {
	for {
		if too, err := more(); err != nil || !too {
			return err
		}
		n, err := s.Prune(ctx, before, pruneBatch)
		a.count(func(c *Counts) { c.Pruned += uint64(n) })
		if err != nil || n < pruneBatch {
			return err
		}
		if err := wait(ctx, pruneRest); err != nil {
			return err
		}
	}
}
