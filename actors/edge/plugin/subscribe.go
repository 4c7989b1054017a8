package plugin

import (
	"context"
	"errors"
	"fmt"
)

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
		if errors.Is(err, errOver) {
			return
		}
		if err != nil {
			e.fail(fmt.Errorf("Subscribe: %w", err))
			return
		}
	}
}
