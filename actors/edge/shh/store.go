package shh

import (
	"slices"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// poll returns what a filter holds and empties it; false if there is no such
// filter.
func (s *filters) poll(id string) ([]*Message, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.byID[id]
	if f == nil || f.fresh != nil {
		return nil, false
	}
	f.used = time.Now()
	f.timer.Reset(s.cfg.FilterTimeout)
	return s.empty(f), true
}

// drain returns what the filter of a subscription holds and empties it.
func (s *filters) drain(f *filter) []*Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.empty(f)
}

func (s *filters) empty(f *filter) []*Message {
	held := f.held
	s.bytes -= f.bytes
	f.held, f.bytes = nil, 0
	if len(f.known) > 0 {
		f.known = map[transport.Hash]bool{}
	}
	return held
}

// wants reports whether a filter may take envelopes of a topic.
func (s *filters) wants(t transport.Topic, direct bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.byID) == 0 {
		return false
	}
	may := func(f *filter) bool { return f.direct || !direct }
	return slices.ContainsFunc(s.byTopic[t], may) || slices.ContainsFunc(s.all, may)
}

// candidates appends to list the filters that may take envelopes of a topic.
func (s *filters) candidates(list []*filter, t transport.Topic, direct bool) []*filter {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, from := range [][]*filter{s.byTopic[t], s.all} {
		for _, f := range from {
			if f.direct || !direct {
				list = append(list, f)
			}
		}
	}
	return list
}

// deliver puts a message into filters, once into each while it is there.
func (s *filters) deliver(m *Message, to []*filter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hash, size := transport.Hash(m.Hash), m.size()
	for _, f := range to {
		if f.gone || f.known[hash] {
			continue
		}
		if size > s.cfg.FilterBytes || size > s.cfg.StoredBytes {
			s.counts.dropped.Add(1)
			continue
		}
		f.known[hash] = true
		f.held = append(f.held, m)
		f.bytes += size
		s.bytes += size
		for len(f.held) > s.cfg.FilterMessages || f.bytes > s.cfg.FilterBytes {
			s.shed(f)
		}
		for s.bytes > s.cfg.StoredBytes {
			s.shed(s.fullest())
		}
		if f.fresh != nil {
			select {
			case f.fresh <- struct{}{}:
			default:
			}
		}
	}
}

// shed drops the oldest message of f and counts it.
func (s *filters) shed(f *filter) {
	before := f.bytes
	f.drop()
	s.bytes += f.bytes - before
	s.counts.dropped.Add(1)
}

// fullest returns the filter that holds most bytes.
func (s *filters) fullest() *filter {
	var most *filter
	for _, f := range s.byID {
		if most == nil || f.bytes > most.bytes || f.bytes == most.bytes && f.id < most.id {
			most = f
		}
	}
	return most
}
