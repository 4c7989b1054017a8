package transporttest

import (
	"context"
	"sync"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

func burstNoLoss(ctx context.Context, b *bench) error {
	const envelopes, size, batch, every = 200, 1024, 20, 10 * time.Millisecond
	a, c, t, err := b.tuned(ctx)
	if err != nil {
		return err
	}
	var all []transport.Envelope
	for range envelopes / batch {
		var some []transport.Envelope
		for range batch {
			some = append(some, a.envelope(t, min(a.info.MaxData, size)))
		}
		if err := a.send(ctx, some...); err != nil {
			return err
		}
		all = append(all, some...)
		pause(ctx, every)
	}
	return c.arrives(ctx, all...)
}

func concurrentCalls(ctx context.Context, b *bench) error {
	const rounds = 50
	a, c, t, err := b.tuned(ctx)
	if err != nil {
		return err
	}
	var wait sync.WaitGroup
	errs := make(chan error, 4)
	run := func(f func(i int) error) {
		wait.Go(func() {
			for i := range rounds {
				if err := f(i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	var all []transport.Envelope
	run(func(int) error {
		e := a.envelope(t, 100)
		all = append(all, e)
		return a.send(ctx, e)
	})
	run(func(i int) error {
		return c.subscribe(ctx, transport.Filter{Topics: []transport.Topic{t, {byte(i)}}})
	})
	if a.can.Peers {
		run(func(int) error { _, err := a.listPeers(ctx); return err })
	}
	if c.can.Stats {
		run(func(int) error { _, err := c.stats(ctx); return err })
	}
	wait.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return c.arrives(ctx, all...)
	}
}
