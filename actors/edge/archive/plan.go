package archive

import (
	"encoding/binary"

	"github.com/stratanode/strata/layers/transport"
)

// way is how a search is answered.
type way uint8

const (
	nothing way = iota // no topic of the store is wanted
	byTime             // reading keys in order
	byTopic            // looking up each topic
)

// plan is how a search is answered, and by what.
type plan struct {
	way    way
	topics []transport.Topic          // byTopic
	wanted func(transport.Topic) bool // byTime; nil: all
}

const (
	// maxLookups is how many topics are looked up one by one: beyond it, reading
	// in order is not slower by much even if nothing else is stored.
	maxLookups = 1 << 14

	// lookupCost is what it costs to look up a topic in a span, in rows read in
	// order.
	lookupCost = 8
)

// plan chooses the cheaper way, as far as can be told.
func (s *topicSet) plan(q *Search) plan {
	full := q.Bloom == nil || q.Bloom.Full()
	if len(q.Topics) > 0 {
		return s.planTopics(q, full)
	}
	if full {
		return plan{way: byTime}
	}
	topics, rows, complete := s.match(q.Bloom, maxLookups)
	if complete && len(topics) == 0 {
		return plan{}
	}
	if _, all := s.count(); complete && len(topics)*lookupCost < reading(all, rows, q.Limit) {
		return plan{way: byTopic, topics: topics}
	}
	return plan{way: byTime, wanted: q.Bloom.Match}
}

// reading estimates how many rows are read in order until limit of those that
// are wanted are found.
func reading(all, wanted, limit int) int {
	if wanted == 0 {
		return all
	}
	return int(min(float64(all), float64(limit+1)*float64(all)/float64(wanted)))
}

func (s *topicSet) planTopics(q *Search, full bool) plan {
	set := make(map[transport.Topic]struct{}, len(q.Topics))
	var topics []transport.Topic
	known := s.usable()
	for _, t := range q.Topics {
		if _, twice := set[t]; twice || !full && !q.Bloom.Match(t) || known && !s.has(t) {
			continue
		}
		set[t] = struct{}{}
		topics = append(topics, t)
	}
	switch {
	case len(topics) == 0:
		return plan{}
	case len(topics) <= maxLookups:
		return plan{way: byTopic, topics: topics}
	}
	return plan{way: byTime, wanted: func(t transport.Topic) bool { _, is := set[t]; return is }}
}

func bigEndian(b []byte) uint32 { return binary.BigEndian.Uint32(b) }
