package plugin

import (
	"bytes"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/transport"
)

// topics is what those above are interested in.
type topics struct {
	wanted atomic.Pointer[interest] // the latest; nil: nothing yet
	fresh  chan struct{}            // wanted has changed
}

// interest is the latest Subscribe and all that was watched.
type interest struct {
	filter     transport.Filter // what the transport is asked for
	subscribed set              // is reported as Received
	watched    set              // is asked for because of a Watch
	watch      bool             // everything taken in is reported as Admitted
}

// set is a set of topics.
type set struct {
	all    bool
	topics map[transport.Topic]struct{}
}

func (s *set) has(t transport.Topic) bool {
	if s.all {
		return true
	}
	_, ok := s.topics[t]
	return ok
}

// has reports whether somebody asked for the topic.
func (i *interest) has(t transport.Topic) bool {
	return i != nil && (i.subscribed.has(t) || i.watched.has(t))
}

// set replaces the subscription. It is carried out soon; one that is replaced
// before that never is.
func (t *topics) set(c slot.Subscribe, log *slog.Logger) {
	next := t.copy()
	next.subscribed = set{all: c.All, topics: make(map[transport.Topic]struct{}, len(c.Topics))}
	for _, topic := range c.Topics {
		next.subscribed.topics[transport.Topic(topic)] = struct{}{}
	}
	t.want(next, log)
}

// watch adds what a Watch asks for. An archive, which answers by Kept or serves,
// has nobody but the transport to get envelopes from: it gets all of them.
func (t *topics) watch(c slot.Watch, log *slog.Logger) {
	next := t.copy()
	next.watch = true
	grown := set{next.watched.all || c.Keeps || c.Serves, make(map[transport.Topic]struct{}, len(next.watched.topics)+len(c.Topics))}
	for topic := range next.watched.topics {
		grown.topics[topic] = struct{}{}
	}
	for _, topic := range c.Topics {
		grown.topics[transport.Topic(topic)] = struct{}{}
	}
	more := grown.all != next.watched.all || len(grown.topics) > len(next.watched.topics)
	next.watched = grown
	if !more {
		t.wanted.Store(next) // the transport need not be told
		return
	}
	t.want(next, log)
}

// copy returns a copy of the latest interest. Its sets are not to be changed.
func (t *topics) copy() *interest {
	if old := t.wanted.Load(); old != nil {
		next := *old
		return &next
	}
	return &interest{}
}

// want lets an interest count, and has the transport told.
func (t *topics) want(i *interest, log *slog.Logger) {
	union := make(map[transport.Topic]struct{}, len(i.subscribed.topics)+len(i.watched.topics))
	for topic := range i.subscribed.topics {
		union[topic] = struct{}{}
	}
	for topic := range i.watched.topics {
		union[topic] = struct{}{}
	}
	i.filter = transport.Filter{All: i.subscribed.all || i.watched.all}
	if len(union) > transport.MaxTopics && !i.filter.All {
		log.Warn("more topics than a transport can be asked for; asking for all", "topics", len(union), "most", transport.MaxTopics)
		i.filter.All = true // the rest is dropped here
	}
	if !i.filter.All {
		for topic := range union {
			i.filter.Topics = append(i.filter.Topics, topic)
		}
		slices.SortFunc(i.filter.Topics, func(a, b transport.Topic) int { return bytes.Compare(a[:], b[:]) })
	}
	t.wanted.Store(i)
	select {
	case t.fresh <- struct{}{}:
	default:
	}
}

// numbers are given out in growing order, over the lives of a transport. They
// begin with the time, so that they grow over restarts of the node too, as long
// as its clock does not go back.
type numbers struct{ last atomic.Uint64 }

func (n *numbers) begin(now time.Time) { n.last.Store(uint64(now.UnixNano())) }

// next takes so many numbers and returns the last of them.
func (n *numbers) next(count int) uint64 { return n.last.Add(uint64(count)) }

// watching reports whether somebody wants to hear of what is taken in.
func (e *Edge) watching() bool {
	i := e.topics.wanted.Load()
	return i != nil && i.watch
}

// admitted makes the report of envelopes. It is to be sent before mu, which is
// held, is let go: marks grow.
func (e *Edge) admitted(all []slot.Envelope) slot.Admitted {
	return slot.Admitted{Mark: e.home.marks.next(len(all)), Envelopes: all}
}
