package whisper

import (
	"container/heap"
	"slices"
	"strings"

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
type entry struct {
	hash   transport.Hash
	raw    string
	pow    float64 // as it was admitted, which is at most what a peer computes
	seq    uint64  // position in the order of arrival
	known  peerSet // peers it came from or was sent to
	expiry uint32
	due    int32 // index in the heap by expiry
	worth  int32 // index in the heap by worth, or -1 if it must not be evicted
	topic  transport.Topic
	marks  marks
}

type marks uint8

const (
	markOwn      marks = 1 << iota // published by this node
	markReported                   // was reported as Received
)

func (x *entry) dead() bool { return x.raw == "" }
func (x *entry) cost() int  { return len(x.raw) + entryCost }
func (x *entry) own() bool  { return x.marks&markOwn != 0 }

// pool holds the envelopes that have not expired: by hash, in the order of
// arrival, by expiry and by what they are worth keeping.
type pool struct {
	limit  int // bytes
	bytes  int
	owned  int // bytes of them that are own
	byHash map[transport.Hash]*entry
	log    []*entry // ascending seq; with dead entries
	next   uint64   // the next seq
	dead   int      // in log
	due    dueHeap
	worth  worthHeap
}

func newPool(limit int) pool {
	return pool{limit: limit, byHash: map[transport.Hash]*entry{}}
}

// add puts e into the pool. It reports false if the pool is full of better
// envelopes. Own envelopes are not evicted, so they get no more than half of it.
func (p *pool) add(e *Envelope, pow float64, own bool) (*entry, bool) {
	x := &entry{
		hash: e.Hash, pow: pow, expiry: e.Expiry, topic: e.Topic, worth: -1,
	}
	if !p.makeRoom(len(e.raw)+entryCost, pow, own) {
		return nil, false
	}
	x.raw = string(e.raw)
	x.seq = p.next
	p.next++
	p.bytes += x.cost()
	p.byHash[x.hash] = x
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
	x.marks |= markOwn
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
	delete(p.byHash, x.hash)
	heap.Remove(&p.due, int(x.due))
	if x.worth >= 0 {
		heap.Remove(&p.worth, int(x.worth))
	}
	x.raw = ""
	x.known = peerSet{}
	if p.dead++; p.dead > compactAfter && p.dead > len(p.log)/2 {
		p.log = slices.Clip(slices.DeleteFunc(p.log, (*entry).dead))
		p.dead = 0
	}
}

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

// peerSet is a set of peers by their slots.
type peerSet struct {
	low  [2]uint64
	more *[]uint64 // slots from 128 on
}

func (s *peerSet) has(slot int) bool {
	if slot < 128 {
		return s.low[slot/64]>>(slot%64)&1 != 0
	}
	slot -= 128
	return s.more != nil && slot/64 < len(*s.more) && (*s.more)[slot/64]>>(slot%64)&1 != 0
}

func (s *peerSet) set(slot int) {
	if slot < 128 {
		s.low[slot/64] |= 1 << (slot % 64)
		return
	}
	slot -= 128
	if s.more == nil {
		s.more = new([]uint64)
	}
	for slot/64 >= len(*s.more) {
		*s.more = append(*s.more, 0)
	}
	(*s.more)[slot/64] |= 1 << (slot % 64)
}

func (s *peerSet) clear(slot int) {
	if slot < 128 {
		s.low[slot/64] &^= 1 << (slot % 64)
	} else if slot -= 128; s.more != nil && slot/64 < len(*s.more) {
		(*s.more)[slot/64] &^= 1 << (slot % 64)
	}
}

// dueHeap has the envelope that expires first on top.
type dueHeap []*entry

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].before(h[j]) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].due, h[j].due = int32(i), int32(j)
}

func (h *dueHeap) Push(x any) {
	x.(*entry).due = int32(len(*h))
	*h = append(*h, x.(*entry))
}

func (h *dueHeap) Pop() any { return pop((*[]*entry)(h)) }

func (x *entry) before(y *entry) bool {
	if x.expiry != y.expiry {
		return x.expiry < y.expiry
	}
	return x.seq < y.seq
}

// worthHeap has the envelope on top that is worth least: that with the least
// proof of work per byte and second, the oldest of those.
type worthHeap []*entry

func (h worthHeap) Len() int { return len(h) }
func (h worthHeap) Less(i, j int) bool {
	if h[i].pow != h[j].pow {
		return h[i].pow < h[j].pow
	}
	return h[i].seq < h[j].seq
}

func (h worthHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].worth, h[j].worth = int32(i), int32(j)
}

func (h *worthHeap) Push(x any) {
	x.(*entry).worth = int32(len(*h))
	*h = append(*h, x.(*entry))
}

func (h *worthHeap) Pop() any {
	x := pop((*[]*entry)(h))
	x.worth = -1
	return x
}

func pop(h *[]*entry) *entry {
	n := len(*h) - 1
	x := (*h)[n]
	(*h)[n] = nil
	*h = (*h)[:n]
	return x
}

// envelope returns x as it is reported upwards, with a copy of its data.
func (x *entry) envelope() transport.Envelope {
	e, _, err := parseEnvelope([]byte(x.raw))
	if err != nil {
		panic("whisper: pooled envelope: " + strings.TrimPrefix(err.Error(), "whisper: "))
	}
	e.Hash = x.hash
	return e.report()
}
