package whisper

import (
	"container/heap"
	"slices"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

const (
	// entryCost is what a pooled envelope takes besides its RLP, in bytes: the
	// entry, its place in the map, the log and the heaps.
	entryCost = 256

	// compactAfter is how many dead entries the log may have at least before it
	// is cleared of them.
	compactAfter = 64

	// compactPart is which part of the log may be dead, one in so many.
	compactPart = 4
)

// entry is one envelope in the pool. It is dead, and nowhere, once it has left.
// There are tens of thousands: the fields take 80 bytes, as the allocator does,
// and have no pointers for the collector to follow.
type entry struct {
	hash   transport.Hash
	pow    float64 // as it was admitted, which is at most what a peer computes
	seq    uint64  // position in the order of arrival
	known  uint64  // peers with the first slots that it came from or was sent to
	spot   spot    // where its RLP is
	expiry uint32
	far    uint32 // the set of the other peers
	topic  transport.Topic
	life   life
}

// life is how many seconds an envelope had left to live when it came, and the
// marks on it in the upper bits. maxMaxTTL is much less than what fits.
type life uint32

const (
	markOwn      life = 1 << (31 - iota) // published by this node
	markReported                         // was reported as Received

	marks = markOwn | markReported
)

func lifeOf(expiry uint32, now time.Time) life {
	return life(min(max(int64(expiry)-now.Unix(), 0), int64(^marks)))
}

func (x *entry) dead() bool { return x.spot == spot{} }
func (x *entry) own() bool  { return x.life&markOwn != 0 }

// fixed reports whether x must not be evicted, or has left.
func (x *entry) fixed() bool { return x.own() || x.dead() }

// came is when the envelope was pooled, in unix seconds.
func (x *entry) came() int64 { return int64(x.expiry) - int64(x.life&^marks) }

// pool holds the envelopes that have not expired: by what they are, in the order of
// arrival, by expiry and by what they are worth keeping.
type pool struct {
	limit  int // bytes
	bytes  int
	owned  int // bytes of them that are own
	blocks blocks
	known  farPeers
	lookup lookup
	log    []*entry  // ascending seq; with dead entries
	next   uint64    // the next seq
	dead   int       // in log
	out    []*entry  // evicted, until somebody has looked
	due    dueHeap   // with dead entries, but none on top
	full   bool      // it has been full, not long ago
	worth  worthHeap // with fixed entries; empty unless full
}

func newPool(limit int) pool {
	return pool{limit: limit, lookup: lookup{first: map[uint64]*entry{}}}
}

// add puts e into the pool. It reports false if the pool is full of better
// envelopes. Own envelopes are not evicted, so they get no more than half of it.
func (p *pool) add(e *Envelope, pow float64, now time.Time, own bool) (*entry, bool) {
	x := &entry{
		hash: e.Hash, pow: pow, expiry: e.Expiry, topic: e.Topic, life: lifeOf(e.Expiry, now),
	}
	if !p.makeRoom(len(e.raw)+entryCost, pow, own) {
		return nil, false
	}
	x.seq = p.next
	x.spot = p.blocks.put(x.seq, e.raw)
	p.next++
	p.bytes += p.cost(x)
	p.lookup.put(x, e.raw)
	p.log = append(p.log, x)
	heap.Push(&p.due, x)
	if own {
		p.claim(x)
	} else if p.full {
		heap.Push(&p.worth, x)
	}
	return x, true
}

// raw returns the RLP of x, which must not be dead, to be read at once.
func (p *pool) raw(x *entry) []byte { return p.blocks.raw(x.spot) }

// size is the length of the RLP of x, which must not be dead.
func (p *pool) size(x *entry) int { return p.blocks.size(x.spot) }

func (p *pool) cost(x *entry) int { return p.size(x) + entryCost }

// find returns the pooled envelope that e is a copy of, or nil.
func (p *pool) find(e *Envelope) *entry { return p.lookup.find(&p.blocks, e) }

// claim makes an envelope an own one, which is not evicted. It reports false if
// there are too many of them.
func (p *pool) claim(x *entry) bool {
	switch {
	case x.own():
		return true
	case p.owned+p.cost(x) > p.limit/2:
		return false
	}
	x.life |= markOwn
	p.owned += p.cost(x)
	return true
}

// least returns the envelope that is worth least, or nil if all are fixed. Most
// pools are never full: the order is made when somebody asks for it.
func (p *pool) least() *entry {
	if !p.full {
		p.full = true
		p.worth = append(make(worthHeap, 0, len(p.log)), p.log...)
		heap.Init(&p.worth)
	}
	for len(p.worth) > 0 && p.worth[0].fixed() {
		heap.Pop(&p.worth)
	}
	if len(p.worth) == 0 {
		return nil
	}
	return p.worth[0]
}

// makeRoom evicts what is worth less than a newcomer until that has room. If
// that cannot be, nothing is evicted.
func (p *pool) makeRoom(cost int, pow float64, own bool) bool {
	if own && p.owned+cost > p.limit/2 {
		return false
	}
	var out []*entry
	free := p.limit - p.bytes
	for free < cost {
		x := p.least()
		if x == nil || !own && x.pow > pow {
			break
		}
		heap.Pop(&p.worth)
		free += p.cost(x)
		out = append(out, x)
	}
	if free < cost {
		for _, x := range out {
			heap.Push(&p.worth, x)
		}
		return false
	}
	for _, x := range out {
		p.remove(x)
	}
	p.out = append(p.out, out...)
	return true
}

// shrink evicts what is worth least until the pool is not above its limit, which
// has become lower. Own envelopes stay.
func (p *pool) shrink() {
	for p.bytes > p.limit {
		x := p.least()
		if x == nil {
			return
		}
		heap.Pop(&p.worth)
		p.remove(x)
		p.out = append(p.out, x)
	}
}

// expired removes and returns one envelope whose time is over, or nil.
func (p *pool) expired(now uint32) *entry {
	if len(p.due) == 0 || p.due[0].expiry >= now {
		return nil
	}
	x := p.due[0]
	p.remove(x)
	return x
}

func (p *pool) remove(x *entry) {
	p.bytes -= p.cost(x)
	if x.own() {
		p.owned -= p.cost(x)
	}
	p.lookup.drop(x, p.raw(x))
	p.blocks.drop(x.spot)
	x.spot = spot{}
	for len(p.due) > 0 && p.due[0].dead() {
		heap.Pop(&p.due)
	}
	if p.dead++; p.dead > compactAfter && p.dead > len(p.log)/compactPart {
		p.compact()
	}
	for i := p.blocks.worst(); i != 0; i = p.blocks.worst() {
		p.blocks.clear(i, p.spotOf)
	}
}

func (p *pool) spotOf(seq uint64) *spot {
	if x := p.at(seq); x != nil {
		return &x.spot
	}
	return nil
}

// compact clears the log and the heaps of what is dead. They are made small
// enough, because a pool of days grows with every burst.
func (p *pool) compact() {
	p.log = clipped(slices.DeleteFunc(p.log, (*entry).dead))
	p.due = clipped(slices.DeleteFunc(p.due, (*entry).dead))
	heap.Init(&p.due)
	if p.full = p.full && p.bytes > p.limit/2; p.full {
		p.worth = clipped(slices.DeleteFunc(p.worth, (*entry).fixed))
		heap.Init(&p.worth)
	} else {
		p.worth = nil
	}
	p.known.keep(p.log)
	p.dead = 0
}

// clipped returns list in memory of its own if it takes up less than half of
// what it has.
func clipped[L ~[]*entry](list L) L {
	if len(list) < cap(list)/2 {
		return append(make(L, 0, len(list)), list...)
	}
	return list
}

// byHash looks for an envelope through all of the pool; nil if there is none.
// Only those ask who ask seldom.
func (p *pool) byHash(h transport.Hash) *entry {
	for _, x := range p.log {
		if x.hash == h && !x.dead() {
			return x
		}
	}
	return nil
}

func (p *pool) len() int { return p.lookup.len() }

// since returns the log from seq on.
func (p *pool) since(seq uint64) []*entry {
	if seq >= p.next {
		return nil
	}
	// Where nothing was cleared from the log, and that is its end as a rule, the
	// distance from the end is that of the sequence numbers.
	low := max(0, len(p.log)-int(min(p.next-seq, uint64(len(p.log)))))
	i, _ := slices.BinarySearchFunc(p.log[low:], seq, func(x *entry, seq uint64) int {
		if x.seq < seq {
			return -1
		}
		return 1
	})
	return p.log[low+i:]
}

// at returns what is pooled at a position, or nil.
func (p *pool) at(seq uint64) *entry {
	if log := p.since(seq); len(log) > 0 && log[0].seq == seq && !log[0].dead() {
		return log[0]
	}
	return nil
}
