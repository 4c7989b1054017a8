package bridge

import (
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
)

const (
	// maxQueueBytes bounds the data that waits in one direction.
	maxQueueBytes = 16 << 20

	// maxSlots bounds the publishes of one direction that the other transport
	// has not accepted yet: those it is still making a proof of work for.
	maxSlots = 32

	// slotTime is how long a transport may say nothing about a publish before
	// the next takes its place: as long as Whisper looks for a proof of work.
	slotTime = 5 * time.Second

	// maxUnanswered and maxUnansweredBytes bound what is published again when a
	// transport has restarted: the last so many publishes of one direction.
	maxUnanswered      = 4096
	maxUnansweredBytes = 16 << 20
)

// state is how far a parcel has come.
type state uint8

const (
	waiting state = iota // for its first publish
	out                  // published and not answered
	again                // to be published once more
	done                 // answered or given up
)

// parcel is an envelope on its way through the bridge.
type parcel struct {
	id     layers.Ref
	topic  transport.Topic
	data   []byte
	expiry time.Time
	slot   time.Time // until when it holds a slot; zero if it holds none
	size   int       // of data
	from   side
	state  state
}

// parcelCost is what a parcel takes besides its data, in bytes, here and in the
// pool of a transport.
const parcelCost = 256

func (p *parcel) cost() int { return p.size + parcelCost }

// remembered is until when the parcel must not be carried again.
func (p *parcel) remembered() time.Time { return p.expiry.Add(afterlife) }

// way is one direction.
type way struct {
	from   side
	limit  int // of queue
	budget budget
	counts Counts

	queue   fifo[*parcel] // waiting, and done ones between them
	bytes   int           // in queue
	waiting int           // in queue and not done

	sent       fifo[*parcel] // published, the oldest first, and done ones
	sentBytes  int           // in sent
	repeat     fifo[*parcel] // to be published again
	unanswered int           // in sent and repeat and not done

	slots fifo[*parcel] // holders of slots, and those who gave theirs up
	taken int           // slots
}

func newWay(from side, b Budget) way {
	return way{from: from, limit: b.Queue, budget: newBudget(b)}
}

func (w *way) enqueue(p *parcel) {
	p.from, p.state, p.size = w.from, waiting, len(p.data)
	w.queue.push(p)
	w.bytes += p.cost()
	w.waiting++
}

func (w *way) overfull() bool { return w.queue.len() > w.limit || w.bytes > maxQueueBytes }

// finish ends a parcel; it may stay where it is.
func (w *way) finish(p *parcel) {
	if p.state == waiting {
		w.waiting--
	} else {
		w.unanswered--
	}
	w.release(p)
	p.state, p.data = done, nil
}

// restart has everything unanswered published again, in order.
func (w *way) restart() {
	for w.sent.len() > 0 {
		p := w.sent.pop()
		if p.state == out {
			p.state = again
			w.repeat.push(p)
		}
	}
	w.sentBytes = 0
	for w.slots.len() > 0 {
		w.release(w.slots.pop())
	}
}

// release frees the slot of a parcel.
func (w *way) release(p *parcel) {
	if !p.slot.IsZero() {
		p.slot = time.Time{}
		w.taken--
	}
}

// timeOut frees the slots of publishes the transport says nothing about.
func (w *way) timeOut(now time.Time) {
	for w.slots.len() > 0 && !w.slots.front().slot.After(now) {
		w.release(w.slots.pop()) // one that has given it up has a zero time
	}
}

// dispatch publishes what waits, as far as slots and budget go.
func (c *Core) dispatch(now time.Time, w *way, o *Output) {
	for w.taken < maxSlots && w.repeat.len() > 0 {
		p := w.repeat.pop()
		switch {
		case p.state == done:
		case c.unfit(now, w, p) != nil:
			w.counts.Unrelayed++
			w.finish(p)
			delete(c.parcels, p.id)
		default:
			w.counts.Repeated++
			c.publish(now, w, p, o)
		}
	}
	for w.taken < maxSlots && w.queue.len() > 0 {
		p := w.queue.front()
		if p.state == waiting {
			if counter := c.unfit(now, w, p); counter != nil {
				w.finish(p)
				delete(c.parcels, p.id)
				c.turnAway(now, w, p, counter)
			} else if wait := w.budget.wait(now); wait > 0 {
				o.wakeAt(now.Add(wait))
				return
			} else {
				c.carry(now, w, p, o)
			}
		}
		w.queue.pop()
		w.bytes -= p.cost()
	}
}

// carry publishes a parcel for the first time.
func (c *Core) carry(now time.Time, w *way, p *parcel, o *Output) {
	w.waiting--
	w.unanswered++
	w.counts.Carried++
	w.budget.pay(p.size, c.publish(now, w, p, o))
	c.carried.add(now, p.id, near.set()|far.set(), p.remembered())
}

// publish hands a parcel to the other transport and returns the time to live it
// got. That ends where the envelope's own does, to the second below, so that an
// envelope does not grow older by being carried.
func (c *Core) publish(now time.Time, w *way, p *parcel, o *Output) time.Duration {
	to := &c.ends[w.from.other()].info
	ttl := w.budget.affordable(now, p.size, p.expiry.Sub(now))
	if to.MaxTTL > 0 {
		ttl = min(ttl, to.MaxTTL)
	}
	// The transport raises it to its least; what counts is what it comes to.
	ttl = max(ttl.Truncate(time.Second), time.Second, to.MinTTL)
	if end := now.Add(ttl); end.After(p.expiry) {
		p.expiry = end
	}
	p.state = out
	p.slot = now.Add(slotTime)
	w.slots.push(p)
	w.taken++
	w.sent.push(p)
	w.sentBytes += p.cost()
	for w.sent.len() > maxUnanswered || w.sentBytes > maxUnansweredBytes && w.sent.len() > 1 {
		c.forget(w)
	}
	o.add(w.from.other(), transport.Publish{Ref: p.id, Topic: p.topic, Data: p.data, TTL: ttl})
	return ttl
}

// forget stops waiting for the answer to the oldest publish.
func (c *Core) forget(w *way) {
	p := w.sent.pop()
	w.sentBytes -= p.cost()
	if p.state == out {
		w.finish(p)
		delete(c.parcels, p.id)
	}
}
