package archive

import (
	"slices"
	"sync"

	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
)

// maxTopics is how many distinct topics are kept in memory, about 25 MB. Topics
// cost a sender nothing. With more of them bloom filters are answered by reading
// rows in the order of time.
const maxTopics = 2 << 20

// topicSet is a set of topics with counts, about 12 bytes each: the first half
// of a topic says which list its second half is in.
type topicSet struct {
	mu       sync.RWMutex
	lists    [][]topicCount // 1<<16, each in order; nil: not loaded
	distinct int
	rows     int
	loaded   bool // else more topics are to come
	overfull bool // there were too many: nothing is known until the next load
}

type topicCount struct {
	low  uint16
	rows uint32
}

// usable reports whether every topic of the store is in the set.
func (s *topicSet) usable() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.loaded && !s.overfull
}

// ready says that every topic is in the set.
func (s *topicSet) ready() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loaded = true
}

func (s *topicSet) count() (distinct, rows int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.distinct, s.rows
}

// begin empties the set, to be loaded.
func (s *topicSet) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists, s.distinct, s.rows, s.loaded, s.overfull = make([][]topicCount, 1<<16), 0, 0, false, false
}

// add counts rows of a topic, which may be less than zero. It reports whether
// the topic is new.
func (s *topicSet) add(t transport.Topic, rows int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lists == nil || s.overfull {
		return false
	}
	n := number(t)
	list := s.lists[n>>16]
	i, has := find(list, uint16(n))
	if !has {
		if rows <= 0 {
			return false
		}
		if s.distinct >= maxTopics {
			s.lists, s.overfull, s.distinct, s.rows = nil, true, 0, 0
			return false
		}
		s.distinct++
		s.rows += rows
		s.lists[n>>16] = slices.Insert(grown(list), i, topicCount{uint16(n), uint32(rows)})
		return true
	}
	left := int(list[i].rows) + rows
	s.rows += rows
	if left > 0 {
		list[i].rows = uint32(left)
		return false
	}
	s.rows -= left
	s.distinct--
	s.lists[n>>16] = slices.Delete(list, i, i+1)
	return false
}

// grown makes room for one more, a quarter at a time: doubling would waste
// more than the rest takes.
func grown(list []topicCount) []topicCount {
	if len(list) < cap(list) {
		return list
	}
	bigger := make([]topicCount, len(list), len(list)+max(4, len(list)/4))
	copy(bigger, list)
	return bigger
}

func find(list []topicCount, low uint16) (int, bool) {
	return slices.BinarySearchFunc(list, low, func(c topicCount, low uint16) int { return int(c.low) - int(low) })
}

// has reports whether a topic is in the set.
func (s *topicSet) has(t transport.Topic) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.lists == nil {
		return false
	}
	_, has := find(s.lists[number(t)>>16], uint16(number(t)))
	return has
}

// match returns the topics that a bloom filter lets through and how many rows
// they have, or complete = false if there are more than most topics or the set
// is not usable; rows is then counted all the same where it can be.
func (s *topicSet) match(b *whisper.Bloom, most int) (topics []transport.Topic, rows int, complete bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.loaded || s.overfull {
		return nil, 0, false
	}
	complete = true
	for high, list := range s.lists {
		for _, c := range list {
			t := topicOf(uint32(high)<<16 | uint32(c.low))
			if !b.Match(t) {
				continue
			}
			rows += int(c.rows)
			if len(topics) < most {
				topics = append(topics, t)
			} else {
				complete = false
			}
		}
	}
	return topics, rows, complete
}
