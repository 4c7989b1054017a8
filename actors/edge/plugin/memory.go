package plugin

import (
	"sync"
	"time"

	"github.com/stratanode/strata/layers"
	slot "github.com/stratanode/strata/layers/transport"
)

// hashes remembers envelopes for a while: two generations, of which the older is
// forgotten when the younger is full or old. It is safe for concurrent use.
type hashes struct {
	most  int           // of a generation
	atage time.Duration // a generation is closed at this age

	mu         sync.Mutex
	begun      time.Time
	young, old map[slot.Hash]int64 // Unix nanoseconds of when it was added
}

const (
	// rememberedHashes are at least so many envelopes: at the 100 000 in a second
	// that a process can deliver only the newest, at a usual load all that have
	// not expired. Twice as many take 12 MB.
	rememberedHashes = 1 << 16

	// hashAge is longer than any envelope that is not expired.
	hashAge = maxTTLOfAll + 2*skew
)

func newHashes(most int, age time.Duration) *hashes {
	return &hashes{most: most, atage: age, young: map[slot.Hash]int64{}}
}

// add remembers h and reports whether it is new.
func (s *hashes) add(h slot.Hash, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known(h) {
		return false
	}
	if len(s.young) >= s.most || now.Sub(s.begun) > s.atage {
		s.old, s.young, s.begun = s.young, map[slot.Hash]int64{}, now
	}
	s.young[h] = now.UnixNano()
	return true
}

func (s *hashes) has(h slot.Hash) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known(h)
}

func (s *hashes) known(h slot.Hash) bool {
	if _, ok := s.young[h]; ok {
		return true
	}
	_, ok := s.old[h]
	return ok
}

func (s *hashes) remove(h slot.Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.young, h)
	delete(s.old, h)
}

// record is what is remembered of a publication over the lives of a transport.
type record struct {
	breaks  int // times the transport broke while it was asked to take it
	carried int // times the transport broke while it carried it
	relayed bool
	hash    slot.Hash // if relayed
}

const (
	// maxBreaks: the first time others may have been asked about beside it, the
	// second time it was alone.
	maxBreaks = 2

	// maxCarried bounds how often a publication is carried from life to life. What
	// makes a transport break later cannot be told from what is there with it.
	maxCarried = 5

	// rememberedRecords bounds the records. They concern what is not answered,
	// and what was answered a moment ago.
	rememberedRecords = 1 << 13
)

// records remembers publications; the one that was changed first is forgotten
// first. It is safe for concurrent use.
type records struct {
	mu    sync.Mutex
	byRef map[layers.Ref]*entry
	ring  [rememberedRecords]layers.Ref
	next  uint64 // place in the ring, ever growing
}

type entry struct {
	record
	place uint64
}

func (r *records) of(ref layers.Ref) record {
	r.mu.Lock()
	defer r.mu.Unlock()
	if x := r.byRef[ref]; x != nil {
		return x.record
	}
	return record{}
}

// change makes or changes a record.
func (r *records) change(ref layers.Ref, f func(*record)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.byRef[ref]
	if x == nil {
		place := &r.ring[r.next%rememberedRecords]
		if old := r.byRef[*place]; old != nil && old.place+rememberedRecords == r.next {
			delete(r.byRef, *place)
		}
		*place = ref
		x = &entry{place: r.next}
		r.byRef[ref] = x
		r.next++
	}
	f(&x.record)
}

func (r *records) broke(ref layers.Ref) { r.change(ref, func(x *record) { x.breaks++ }) }
func (r *records) lost(ref layers.Ref)  { r.change(ref, func(x *record) { x.carried++ }) }

// acquit takes back a suspicion.
func (r *records) acquit(ref layers.Ref) { r.change(ref, func(x *record) { x.breaks = 0 }) }

// remember notes the final answer to a publication.
func (r *records) remember(ref layers.Ref, hash slot.Hash) {
	r.change(ref, func(x *record) { *x = record{relayed: true, hash: hash} })
}

func (r *records) forget(ref layers.Ref) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byRef, ref)
}
