package shh

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// filters are all filters and subscriptions.
type filters struct {
	cfg    Config
	counts *counts

	mu      sync.Mutex
	byID    map[string]*filter
	byTopic map[transport.Topic][]*filter
	all     []*filter // those without topics
	locks   map[lockID]*lock
	bytes   int
	stopped bool
}

func newFilters(cfg Config, counts *counts) *filters {
	return &filters{
		cfg: cfg, counts: counts,
		byID: map[string]*filter{}, byTopic: map[transport.Topic][]*filter{}, locks: map[lockID]*lock{},
	}
}

// add puts in a filter, whose lock is that of key.
func (s *filters) add(f *filter, key keyed) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.byID) >= s.cfg.Filters {
		return fmt.Errorf("shh: there are %d filters already (filters)", s.cfg.Filters)
	}
	f.id, f.used, f.known = newID(), time.Now(), map[transport.Hash]bool{}
	f.lock = s.hold(key)
	s.byID[f.id] = f
	for _, t := range f.topics {
		s.byTopic[t] = append(s.byTopic[t], f)
	}
	if len(f.topics) == 0 {
		s.all = append(s.all, f)
	}
	if f.fresh == nil {
		f.timer = time.AfterFunc(s.cfg.FilterTimeout, func() { s.lapse(f) })
	}
	return nil
}

// hold returns the lock of a key, made once for all filters that have it.
func (s *filters) hold(key keyed) *lock {
	id := key.id()
	l := s.locks[id]
	if l == nil {
		l = key.open()
		l.id = id
		s.locks[id] = l
	}
	l.users++
	return l
}

// remove reports whether there was such a filter that clients poll.
func (s *filters) remove(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.byID[id]
	if f == nil || f.fresh != nil {
		return false
	}
	s.take(f)
	return true
}

// end removes the filter of a subscription.
func (s *filters) end(f *filter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.take(f)
}

// take removes f, once. The lock must be held.
func (s *filters) take(f *filter) {
	if f.gone {
		return
	}
	f.gone = true
	delete(s.byID, f.id)
	without := func(list []*filter) []*filter {
		return slices.DeleteFunc(list, func(o *filter) bool { return o == f })
	}
	for _, t := range f.topics {
		if s.byTopic[t] = without(s.byTopic[t]); len(s.byTopic[t]) == 0 {
			delete(s.byTopic, t)
		}
	}
	s.all = without(s.all)
	if f.lock.users--; f.lock.users == 0 {
		delete(s.locks, f.lock.id)
	}
	s.bytes -= f.bytes
	f.held, f.known, f.bytes = nil, nil, 0
	if f.timer != nil {
		f.timer.Stop()
	}
}

// lapse removes f if nobody has polled it for long enough. The timer may have
// gone off while somebody did.
func (s *filters) lapse(f *filter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.gone || s.stopped {
		return
	}
	if left := s.cfg.FilterTimeout - time.Since(f.used); left > 0 {
		f.timer.Reset(left)
		return
	}
	s.take(f)
	s.counts.lapsed.Add(1)
}

// unwind stops the timers and wind starts them again. While they are stopped no
// filter ends.
func (s *filters) unwind() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for _, f := range s.byID {
		if f.timer != nil {
			f.timer.Stop()
		}
	}
}

func (s *filters) wind() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = false
	for _, f := range s.byID {
		if f.timer != nil {
			f.used = time.Now()
			f.timer.Reset(s.cfg.FilterTimeout)
		}
	}
}

// topics returns what the filters ask for by name, sorted.
func (s *filters) topics() []transport.Topic {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]transport.Topic, 0, len(s.byTopic))
	for t := range s.byTopic {
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b transport.Topic) int { return bytes.Compare(a[:], b[:]) })
	return list
}

// count returns how many filters there are, how many of them are subscriptions
// and how many bytes they hold.
func (s *filters) count() (all, subscriptions, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.byID {
		if f.fresh != nil {
			subscriptions++
		}
	}
	return len(s.byID), subscriptions, s.bytes
}
