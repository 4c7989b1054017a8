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
)

// entry is one envelope in the pool. It is dead, and raw empty, once it has left.
// The RLP is a copy of its own, so that it does not hold on to a whole packet.
// There are tens of thousands: the fields take 96 bytes, as the allocator does.
type entry struct {
	hash   transport.Hash
	raw    string
	pow    float64 // as it was admitted, which is at most what a peer computes
	seq    uint64  // position in the order of arrival
	known  peerSet // peers it came from or was sent to
	expiry uint32
	worth  int32 // index in the heap by worth, or -1 if it must not be evicted
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

func (x *entry) dead() bool { return x.raw == "" }
func (x *entry) cost() int  { return len(x.raw) + entryCost }
func (x *entry) own() bool  { return x.life&markOwn != 0 }

// came is when the envelope was pooled, in unix seconds.
func (x *entry) came() int64 { return int64(x.expiry) - int64(x.life&^marks) }

// pool holds the envelopes that have not expired: by what they are, in the order of
// arrival, by expiry and by what they are worth keeping.
type pool struct {
	limit  int // bytes
	bytes  int
	owned  int // bytes of them that are own
	lookup lookup
	log    []*entry // ascending seq; with dead entries
	next   uint64   // the next seq
	dead   int      // in log
	out    []*entry // evicted, until somebody has looked
	due    dueHeap  // with dead entries, but none on top
	worth  worthHeap
}

func newPool(limit int) pool {
	return pool{limit: limit, lookup: lookup{first: map[uint64]*entry{}}}
}

// add puts e into the pool. It reports false if the pool is full of better
// envelopes. Own envelopes are not evicted, so they get no more than half of it.
func (p *pool) add(e *Envelope, pow float64, now time.Time, own bool) (*entry, bool) {
	x := &entry{
		hash: e.Hash, pow: pow, expiry: e.Expiry, topic: e.Topic, worth: -1, life: lifeOf(e.Expiry, now),
	}
	if !p.makeRoom(len(e.raw)+entryCost, pow, own) {
		return nil, false
	}
	x.raw = string(e.raw)
	x.seq = p.next
	p.next++
	p.bytes += x.cost()
	p.lookup.put(x)
	p.log = append(p.log, x)
	heap.Push(&p.due, x)
	heap.Push(&p.worth, x)
	if own {
		p.claim(x)
	}
	return x, true
}

// claim makes an envelope an own one, which is not evicted.
func (p *pool) claim(x *entry) {
	if x.own() {
		return
	}
	x.life |= markOwn
	p.owned += x.cost()
	heap.Remove(&p.worth, int(x.worth))
}

// makeRoom evicts what is worth less than a newcomer until that has room. If
// that cannot be, nothing is evicted.
func (p *pool) makeRoom(cost int, pow float64, own bool) bool {
	if own && p.owned+cost > p.limit/2 {
		return false
	}
	var out []*entry
	free := p.limit - p.bytes
	for free < cost && len(p.worth) > 0 && (own || p.worth[0].pow <= pow) {
		x := heap.Pop(&p.worth).(*entry)
		free += x.cost()
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
	p.bytes -= x.cost()
	if x.own() {
		p.owned -= x.cost()
	}
	p.lookup.drop(x)
	if x.worth >= 0 {
		heap.Remove(&p.worth, int(x.worth))
	}
	x.raw = ""
	x.known = peerSet{}
	for len(p.due) > 0 && p.due[0].dead() {
		heap.Pop(&p.due)
	}
	if p.dead++; p.dead > compactAfter && p.dead > len(p.log)/2 {
		p.compact()
	}
}

// compact clears the log and the heap by expiry of what is dead. Both are made
// small enough, because a pool of days grows with every burst.
func (p *pool) compact() {
	p.log = slices.Clip(slices.DeleteFunc(p.log, (*entry).dead))
	p.due = slices.DeleteFunc(p.due, (*entry).dead)
	heap.Init(&p.due)
	p.dead = 0
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
