package bridge

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
)

// side is one of the two transports.
type side uint8

const (
	near side = iota
	far
)

func (s side) other() side { return 1 - s }

// maxHeard bounds the envelopes that were heard and not carried, of which the
// bridge remembers on which side they are.
const maxHeard = 1 << 16

// Core decides what a bridge carries. It is a pure state machine of single
// steps: time is an argument, and what is to be done is the Output.
type Core struct {
	topics   map[transport.Topic]bool // nil for all
	interest transport.Subscribe
	hash     hash.Hash
	sum      layers.Ref // a buffer for hash

	ends    [2]end
	ways    [2]way // by the side they come from
	parcels map[layers.Ref]*parcel
	carried memory // what the bridge has published; only the budgets fill it
	heard   memory // what it has not; strangers fill it
}

// end is what is known of a transport.
type end struct {
	ready bool
	info  transport.Info
	peers int
}

// Output is what one step asks of the world.
type Output struct {
	Near, Far []transport.Command
	Wake      time.Time // when to be woken; zero leaves the alarm as it is
}

// add appends a command for one side.
func (o *Output) add(to side, c transport.Command) {
	if to == near {
		o.Near = append(o.Near, c)
	} else {
		o.Far = append(o.Far, c)
	}
}

func (o *Output) wakeAt(t time.Time) {
	if !t.IsZero() && (o.Wake.IsZero() || t.Before(o.Wake)) {
		o.Wake = t
	}
}

// NewCore returns a bridge that has seen nothing yet. The configuration must be
// valid.
func NewCore(cfg Config) *Core {
	c := &Core{
		interest: transport.Subscribe{All: true},
		hash:     sha256.New(),
		parcels:  map[layers.Ref]*parcel{},
		carried:  newMemory(cfg.Remember),
		heard:    newMemory(maxHeard),
	}
	c.ways[near] = newWay(near, cfg.NearToFar)
	c.ways[far] = newWay(far, cfg.FarToNear)
	if topics, _ := parseTopics(cfg.Topics); len(topics) > 0 {
		c.interest = transport.Subscribe{Topics: topics}
		c.topics = map[transport.Topic]bool{}
		for _, t := range topics {
			c.topics[t] = true
		}
	}
	return c
}

// Open is the first step: it asks both transports whether they are ready.
func (c *Core) Open() (out Output) {
	out.add(near, transport.Attach{})
	out.add(far, transport.Attach{})
	return out
}

// FromNear takes an event of the near transport.
func (c *Core) FromNear(now time.Time, e transport.Event) Output { return c.from(now, near, e) }

// FromFar takes an event of the far transport.
func (c *Core) FromFar(now time.Time, e transport.Event) Output { return c.from(now, far, e) }

// Wake goes on with what had to wait. An early call does nothing.
func (c *Core) Wake(now time.Time) (out Output) {
	c.settle(now, &out)
	return out
}

func (c *Core) from(now time.Time, s side, e transport.Event) (out Output) {
	switch e := e.(type) {
	case transport.Ready:
		c.ready(s, e.Info, &out)
	case transport.Peers:
		c.ends[s].peers = e.Count
	case transport.Received:
		for i := range e.Envelopes {
			c.receive(now, s, &e.Envelopes[i])
		}
	case transport.Accepted:
		c.answered(s, e.Ref, nil)
	case transport.Relayed:
		c.answered(s, e.Ref, &c.ways[s.other()].counts.Relayed)
	case transport.Expired:
		c.answered(s, e.Ref, &c.ways[s.other()].counts.Unrelayed)
	case transport.Refused:
		c.answered(s, e.Ref, &c.ways[s.other()].counts.Refused)
	case transport.Archives, transport.History, transport.Queried,
		transport.Admitted, transport.Asked, transport.Taken, transport.Abandoned,
		transport.Done, transport.Described, transport.Explained:
		// For others who stand there: an archive, an API. A bridge carries what is
		// new; history is fetched by those who want it.
		return out
	default:
		panic(fmt.Sprintf("bridge: unknown event %T", e))
	}
	c.settle(now, &out)
	return out
}

// ready begins anew with a transport that has opened.
func (c *Core) ready(s side, info transport.Info, out *Output) {
	c.ends[s].ready, c.ends[s].info = true, info
	out.add(s, c.interest)
	c.ways[s.other()].restart()
}

// receive takes an envelope that was heard on one side. It goes to the other
// unless it is there already.
func (c *Core) receive(now time.Time, from side, e *transport.Envelope) {
	w := &c.ways[from]
	w.counts.Seen++
	if c.topics != nil && !c.topics[e.Topic] {
		w.counts.OffTopic++
		return
	}
	id, end := c.identify(e), expiry(now, e)
	if c.known(now, from, id, end.Add(afterlife)) {
		w.counts.Duplicate++
		return
	}
	p := &parcel{id: id, topic: e.Topic, data: e.Data, expiry: end}
	if counter := c.unfit(now, w, p); counter != nil {
		c.turnAway(now, w, p, counter)
		return
	}
	if old := c.parcels[p.id]; old != nil {
		c.ways[old.from].finish(old) // its memory is over; nobody has answered
	}
	c.parcels[p.id] = p
	w.enqueue(p)
	for w.overfull() {
		c.drop(now, w)
	}
}

// expiry is when an envelope ends. One that says it comes from the future does
// not live for longer than one of now.
func expiry(now time.Time, e *transport.Envelope) time.Time {
	end := e.Sent.Add(e.TTL)
	if most := now.Add(e.TTL); end.After(most) {
		return most
	}
	return end
}

// known reports whether the envelope needs not be carried: it is on its way, or
// was carried before, or the other side has it by itself.
func (c *Core) known(now time.Time, from side, id layers.Ref, until time.Time) bool {
	if q := c.parcels[id]; q != nil && q.state == waiting {
		if q.from == from {
			return true
		}
		// Another bridge was faster.
		c.ways[q.from].counts.Duplicate++
		c.ways[q.from].finish(q)
		delete(c.parcels, q.id)
		c.heard.add(now, id, near.set()|far.set(), until)
		return true
	}
	if c.carried.on(now, id, until) != 0 {
		return true
	}
	if !c.heard.on(now, id, until).has(from.other()) {
		return false
	}
	c.heard.add(now, id, from.set(), until)
	return true
}

// unfit returns the counter of why the other side would not take p, nil if it
// would.
func (c *Core) unfit(now time.Time, w *way, p *parcel) *uint64 {
	to := &c.ends[w.from.other()]
	switch {
	case p.expiry.Sub(now) < leastLeft(to.info):
		return &w.counts.Expired
	case to.ready && len(p.data) > to.info.MaxData:
		return &w.counts.TooLarge
	}
	return nil
}

// turnAway counts an envelope that the other side would not take. What is as good
// as over says nothing about where a copy of it may be wanted.
func (c *Core) turnAway(now time.Time, w *way, p *parcel, counter *uint64) {
	*counter++
	if counter != &w.counts.Expired {
		c.heard.add(now, p.id, w.from.set(), p.remembered())
	}
}

// leastLeft is how much of its time to live an envelope must have. A transport
// raises what is below its least to it; what is as good as over is not to be
// raised by much.
func leastLeft(to transport.Info) time.Duration { return max(time.Second, to.MinTTL/2) }

// drop gives up the oldest envelope that waits. It may be carried if it is heard
// again, unless the other side has it by then.
func (c *Core) drop(now time.Time, w *way) {
	p := w.queue.pop()
	w.bytes -= p.cost()
	if p.state != waiting {
		return
	}
	w.counts.OverBudget++
	w.finish(p)
	delete(c.parcels, p.id)
	c.heard.add(now, p.id, w.from.set(), p.remembered())
}

// answered takes an answer of a transport. A final one has a counter.
func (c *Core) answered(s side, ref layers.Ref, final *uint64) {
	p := c.parcels[ref]
	if p == nil || p.from == s || p.state == waiting {
		return // an answer to somebody else, or to what was given up
	}
	w := &c.ways[p.from]
	w.release(p)
	if final == nil {
		return
	}
	*final++
	w.finish(p)
	delete(c.parcels, ref)
}

// settle ends every step: it publishes what may be, and sets the alarm.
func (c *Core) settle(now time.Time, out *Output) {
	for s := range c.ways {
		w := &c.ways[s]
		w.timeOut(now)
		if c.ends[w.from.other()].ready {
			c.dispatch(now, w, out)
		}
		if w.taken == maxSlots && w.waiting+w.repeat.len() > 0 {
			out.wakeAt(w.slots.front().slot)
		}
	}
}
