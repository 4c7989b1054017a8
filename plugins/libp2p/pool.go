package libp2p

import (
	"container/heap"
	"sync"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// Bounds of the pool.
const (
	maxKnown     = 1 << 18  // entries, most of them only remembered; about 250 bytes each
	maxInbox     = 1 << 14  // envelopes that wait for Receive
	maxInboxSize = 64 << 20 // bytes of the same
	maxLook      = 4096     // own unsettled entries skipped in the search for one to drop
	entryCost    = 256      // bytes added to each kept envelope for what is around it
	reportSize   = 1 << 20  // bytes of a Report, unless one envelope is longer
)

// pool is everything the transport knows of envelopes: what is unexpired and
// kept for those who come later, what has been seen, what waits for the host
// and what waits for the network. It starts no goroutine and opens nothing.
type pool struct {
	now     func() time.Time
	count   *counters
	limit   poolLimits
	arrived chan struct{} // capacity 1: Receive has something to do
	leaving chan struct{} // capacity 1: the sender has something to do

	mu       sync.Mutex
	byID     map[envelopeID]*entry
	due      expiries
	known    queue // all entries, by age
	kept     queue // those with wire
	keptN    int
	keptSize int

	topics map[transport.Topic]struct{}
	all    bool
	missed bool // an envelope found the inbox full

	inbox     []transport.Envelope
	inboxSize int
	receipts  []transport.Receipt
	peers     *int // not yet reported

	outbox   map[int][]*entry // by shard, own, not yet given to gossip
	flight   map[*byte]*entry // own, given to gossip, by the first byte of wire
	own      int              // not settled
	ownBytes int
}

type poolLimits struct {
	recent   int // bytes kept for those who come later
	own      int // own envelopes not settled
	ownBytes int
}

func newPool(now func() time.Time, limit poolLimits, count *counters) *pool {
	return &pool{
		now: now, count: count, limit: limit,
		arrived: make(chan struct{}, 1), leaving: make(chan struct{}, 1),
		byID:   map[envelopeID]*entry{},
		known:  queue{live: func(e *entry) bool { return e.known }},
		kept:   queue{live: func(e *entry) bool { return e.known && e.wire != nil }},
		outbox: map[int][]*entry{}, flight: map[*byte]*entry{},
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// verdict is what became of an envelope from the network.
type verdict uint8

const (
	fresh  verdict = iota // never seen
	spread                // seen, but not by gossip, which should forward it
	replay                // seen by the same way
)

// admit takes a checked envelope from the network.
func (p *pool) admit(e transport.Envelope, wire []byte, id envelopeID, shard int, gossip bool) verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.byID[id]; old != nil {
		first := gossip && !old.gossiped
		old.gossiped = old.gossiped || gossip
		if first {
			return spread
		}
		return replay
	}
	n := &entry{id: id, envelope: e, wire: wire, shard: shard, gossiped: gossip}
	p.insert(n)
	p.deliver(n)
	p.trim()
	return fresh
}

// has says whether the envelope is known.
func (p *pool) has(id envelopeID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byID[id] != nil
}

func (p *pool) insert(e *entry) {
	e.expiry, e.stored, e.known = e.envelope.Expiry(), p.now(), true
	p.byID[e.id] = e
	heap.Push(&p.due, e)
	p.known.push(e)
	p.kept.push(e)
	p.keptN++
	if !e.own {
		p.keptSize += len(e.wire) + entryCost
	}
}

// trim holds the bounds by dropping the oldest. What is own and not settled has
// bounds of its own.
func (p *pool) trim() {
	free := func(e *entry) bool { return !e.own || e.settled }
	for p.keptSize > p.limit.recent {
		e := p.kept.oldest(maxLook, free)
		if e == nil {
			break
		}
		p.drop(e)
		p.count.recentEvicted.Add(1)
	}
	for len(p.byID) > maxKnown {
		e := p.known.oldest(maxLook, free)
		if e == nil {
			break
		}
		p.forget(e)
	}
	p.kept.compact(p.keptN)
	p.known.compact(len(p.byID))
}

// drop keeps of an envelope only that it was seen.
func (p *pool) drop(e *entry) {
	if e.wire == nil {
		return
	}
	p.keptN--
	if !e.own || e.settled {
		p.keptSize -= len(e.wire) + entryCost
	}
	e.wire, e.envelope.Data = nil, nil
}

func (p *pool) forget(e *entry) {
	p.drop(e)
	e.known = false
	delete(p.byID, e.id)
	p.due.remove(e)
}

// expire forgets what has expired and settles what is own of it.
func (p *pool) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	for len(p.due) > 0 && !now.Before(p.due[0].expiry) {
		e := p.due[0]
		if e.own && !e.settled {
			p.count.expired.Add(1)
			p.settle(e, transport.OutcomeExpired, "")
		}
		p.forget(e)
	}
	p.kept.compact(p.keptN)
	p.known.compact(len(p.byID))
}

// deliver puts e into the inbox if it is wanted and there is room.
func (p *pool) deliver(e *entry) {
	if e.own || e.delivered || e.wire == nil {
		return
	}
	if _, ok := p.topics[e.envelope.Topic]; !ok && !p.all {
		return
	}
	if len(p.inbox) >= maxInbox || p.inboxSize+len(e.wire) > maxInboxSize {
		p.missed = true // it stays in the pool and is tried again, as long as it is kept
		p.count.inboxFull.Add(1)
		return
	}
	e.delivered = true
	p.inbox = append(p.inbox, e.envelope)
	p.inboxSize += len(e.envelope.Data)
	p.count.delivered.Add(1)
	signal(p.arrived)
}

// want sets what is delivered, and delivers what is here already.
func (p *pool) want(f transport.Filter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = f.All
	p.topics = make(map[transport.Topic]struct{}, len(f.Topics))
	for _, t := range f.Topics {
		p.topics[t] = struct{}{}
	}
	p.sweep()
}

// sweep delivers everything kept that is wanted and was not delivered.
func (p *pool) sweep() {
	p.missed = false
	now := p.now()
	for _, e := range p.kept.items {
		if p.kept.live(e) && now.Before(e.expiry) {
			p.deliver(e)
		}
	}
}

// report takes what there is for the host, and false if there is nothing.
func (p *pool) report() (transport.Report, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.inbox) == 0 && p.missed {
		p.sweep()
	}
	var r transport.Report
	n, size := 0, 0
	for n < len(p.inbox) && n < transport.MaxBatch {
		size += len(p.inbox[n].Data)
		if n > 0 && size > reportSize {
			break
		}
		p.inboxSize -= len(p.inbox[n].Data)
		n++
	}
	if n > 0 {
		r.Envelopes = p.inbox[:n:n]
		p.inbox = p.inbox[n:]
	}
	if m := min(len(p.receipts), transport.MaxBatch); m > 0 {
		r.Receipts = p.receipts[:m:m]
		p.receipts = p.receipts[m:]
	}
	r.Peers, p.peers = p.peers, nil
	if len(p.inbox) > 0 || len(p.receipts) > 0 {
		signal(p.arrived)
	}
	return r, n > 0 || len(r.Receipts) > 0 || r.Peers != nil
}

// setPeers reports the number of peers.
func (p *pool) setPeers(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peers = &n
	signal(p.arrived)
}

// recent returns what is kept and unexpired of the shards, stored at or after
// since, oldest first and at most limit of the newest.
func (p *pool) recent(shards []bool, since time.Time, limit int) []*kept {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	var list []*kept
	for _, e := range p.kept.items {
		if p.kept.live(e) && shards[e.shard] && now.Before(e.expiry) && !e.stored.Before(since) {
			list = append(list, &kept{e.id, e.wire, e.expiry})
		}
	}
	return list[max(0, len(list)-limit):]
}

// kept is what a peer is offered. It stays readable when the pool has dropped
// the entry.
type kept struct {
	id     envelopeID
	wire   []byte
	expiry time.Time
}

// size returns the number and the bytes of envelopes kept.
func (p *pool) size() (n, bytes, own int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keptN, p.keptSize, p.own
}
