package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"

	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/transport"
)

// topics is what the layers above have subscribed to.
type topics struct {
	wanted atomic.Pointer[interest] // the latest; nil: nothing yet
	fresh  chan struct{}            // wanted has changed
}

// interest is one Subscribe.
type interest struct {
	filter transport.Filter
	all    bool
	topics map[transport.Topic]struct{}
}

func (i *interest) has(t transport.Topic) bool {
	if i == nil {
		return false
	}
	_, ok := i.topics[t]
	return ok || i.all
}

// set replaces the subscription. It is carried out soon; one that is replaced
// before that never is.
func (t *topics) set(c slot.Subscribe, log *slog.Logger) {
	i := &interest{all: c.All, topics: make(map[transport.Topic]struct{}, len(c.Topics))}
	for _, topic := range c.Topics {
		i.topics[transport.Topic(topic)] = struct{}{}
	}
	switch {
	case c.All:
		i.filter.All = true
	case len(i.topics) > transport.MaxTopics:
		log.Warn("more topics than a transport can be asked for; asking for all", "topics", len(i.topics), "most", transport.MaxTopics)
		i.filter.All = true // the rest is dropped here
	default:
		for topic := range i.topics {
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

// subscriber tells the transport the latest subscription.
func (e *Edge) subscriber() {
	for {
		select {
		case <-e.topics.fresh:
		case <-e.ctx.Done():
			return
		}
		filter := e.topics.wanted.Load().filter
		err := e.call("Subscribe", subscribeLimit, func(ctx context.Context) error {
			if err := e.running.Subscribe(ctx, filter); err != nil {
				return errors.New(words(err))
			}
			return nil
		})
		if err == errOver {
			return
		}
		if err != nil {
			e.fail(fmt.Errorf("Subscribe: %w", err))
			return
		}
	}
}
