package plugin

import (
	"container/heap"
	"sync"
	"time"

	"github.com/stratanode/strata/layers"
	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/transport"
)

// state says where a publication is.
type state uint8

const (
	queued  state = iota // waits for its turn
	offered              // the transport has been asked and has not said yet
	delayed              // the transport had no room
	carried              // the transport has taken it; a receipt is to come
)

// publication is a Publish from its arrival until its final event.
type publication struct {
	ref      layers.Ref
	hash     slot.Hash
	envelope transport.Envelope // without Data once carried
	size     int                // what it costs while it is not carried, in bytes
	until    time.Time          // its TTL is over
	state    state
	suspect  bool               // an earlier life may have broken on it
	tries    int                // for which there was no room
	early    *transport.Receipt // came before the result

	at    time.Time // when it is due
	index int       // in the heap; -1: not in it
}

// outbox has the publications that are not answered.
type outbox struct {
	byRef    map[layers.Ref]*publication
	byID     map[uint64]*publication
	lastID   uint64
	unsent   int // bytes not carried yet
	queue    fifo
	suspects fifo
	admit    []slot.Envelope // taken just now, for those who watch
	calls    int             // of Publish, under way
	alone    bool            // one of them is of a suspect

	more  *sync.Cond // something has changed for the publishers
	heap  dues
	timer *time.Timer // for the first of heap
	armed time.Time   // what the timer is set to; zero: it is not
}

func newOutbox(mu *sync.Mutex, due func()) outbox {
	t := time.AfterFunc(time.Hour, due)
	t.Stop()
	return outbox{
		byRef: map[layers.Ref]*publication{},
		byID:  map[uint64]*publication{},
		more:  sync.NewCond(mu),
		timer: t,
	}
}

// add takes in a publication and gives it its number.
func (b *outbox) add(p *publication) {
	b.lastID++
	p.envelope.ID = b.lastID
	p.index = -1
	b.byRef[p.ref] = p
	b.byID[b.lastID] = p
	b.unsent += p.size
	b.enqueue(p)
}

// enqueue puts a publication at the end of its queue.
func (b *outbox) enqueue(p *publication) {
	p.state = queued
	if p.suspect {
		b.suspects = append(b.suspects, p)
	} else {
		b.queue = append(b.queue, p)
	}
	b.more.Signal()
}

// remove takes out a publication that is in no queue.
func (b *outbox) remove(p *publication) {
	if p.index >= 0 {
		heap.Remove(&b.heap, p.index)
	}
	if p.state != carried {
		b.unsent -= p.size
	}
	delete(b.byRef, p.ref)
	delete(b.byID, p.envelope.ID)
}

// schedule makes p due at a time.
func (b *outbox) schedule(p *publication, at time.Time) {
	p.at = at
	heap.Push(&b.heap, p)
	if b.armed.IsZero() || at.Before(b.armed) {
		b.arm(at)
	}
}

func (b *outbox) arm(at time.Time) {
	b.armed = at
	b.timer.Reset(time.Until(at))
}

// due takes out the first that is due.
func (b *outbox) due(now time.Time) *publication {
	if len(b.heap) == 0 || now.Before(b.heap[0].at) {
		return nil
	}
	return heap.Pop(&b.heap).(*publication)
}

// rearm sets the timer for what is left.
func (b *outbox) rearm() {
	b.armed = time.Time{}
	if len(b.heap) > 0 {
		b.arm(b.heap[0].at)
	}
}

// end wakes everybody up for the last time.
func (b *outbox) end() {
	b.timer.Stop()
	b.more.Broadcast()
}

// fifo is a queue.
type fifo []*publication

func (q *fifo) pop() {
	(*q)[0] = nil
	*q = (*q)[1:]
}

// dues is a heap by time; see container/heap.
type dues []*publication

func (d dues) Len() int           { return len(d) }
func (d dues) Less(i, j int) bool { return d[i].at.Before(d[j].at) }
func (d dues) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}

func (d *dues) Push(x any) {
	p := x.(*publication)
	p.index = len(*d)
	*d = append(*d, p)
}

func (d *dues) Pop() any {
	last := len(*d) - 1
	p := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	p.index = -1
	return p
}
