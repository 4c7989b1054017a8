package transporttest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// quiet opens a node that nobody receives from.
func (b *bench) quiet(ctx context.Context) (*node, error) {
	net, err := b.network()
	if err != nil {
		return nil, err
	}
	return b.open(ctx, net, 0)
}

// receives calls Receive in the background and reports how it ended: with the
// first error, or with the first report that is empty.
func (n *node) receives(ctx context.Context) <-chan error {
	ended := make(chan error, 1)
	go func() {
		for {
			r, err := n.t.Receive(ctx)
			if err == nil {
				if fault := illegal(r, n.info); fault != "" {
					ended <- errors.New(fault)
					return
				}
				continue
			}
			ended <- err
			return
		}
	}()
	return ended
}

func receiveWaits(ctx context.Context, b *bench) error {
	n, err := b.quiet(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	select {
	case err := <-n.receives(ctx):
		return fmt.Errorf("Receive ended with nothing to report: %w", err)
	case <-time.After(2 * grace):
		return nil
	}
}

func receiveEndsOnCancel(ctx context.Context, b *bench) error {
	n, err := b.quiet(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := n.receives(ctx)
	time.AfterFunc(grace, cancel)
	defer cancel()
	select {
	case err := <-ended:
		if ctx.Err() == nil {
			return fmt.Errorf("Receive ended before its context did: %w", err)
		}
		return nil
	case <-time.After(grace + closeTimeout):
		return fmt.Errorf("Receive did not return in %v after its context was done", closeTimeout)
	}
}

func receiveEndsOnClose(ctx context.Context, b *bench) error {
	n, err := b.quiet(ctx)
	if err != nil {
		return err
	}
	ended := n.receives(context.WithoutCancel(ctx))
	pause(ctx, grace)
	if err := n.close(ctx); err != nil {
		return fmt.Errorf("Close: %w", err)
	}
	select {
	case <-ended:
	case <-time.After(closeTimeout):
		return fmt.Errorf("Receive did not return in %v after Close", closeTimeout)
	}
	return within(ctx, closeTimeout, "Receive after Close", func(ctx context.Context) error {
		for range 1000 { // what is left may be reported first
			if _, err := n.t.Receive(ctx); err != nil {
				return nil
			}
		}
		return fmt.Errorf("Receive after Close does not return an error")
	})
}

func closeInTime(ctx context.Context, b *bench) error {
	net, err := b.network()
	if err != nil {
		return err
	}
	a, c, err := b.freshPair(ctx, net)
	if err != nil {
		return err
	}
	batch := make([]transport.Envelope, 100)
	for i := range batch {
		batch[i] = a.envelope(newTopic(), min(a.info.MaxData, 10_000))
	}
	if _, err := a.publish(ctx, batch...); err != nil {
		return err
	}
	if err := a.close(ctx); err != nil {
		return fmt.Errorf("Close with envelopes on the way: %w", err)
	}
	if err := c.close(ctx); err != nil {
		return fmt.Errorf("Close: %w", err)
	}
	return nil
}

// gone waits for a process to end after Close.
func (n *node) gone(ctx context.Context) error {
	p, ok := n.t.(Process)
	if !ok {
		return nil
	}
	select {
	case <-p.Done():
		return nil
	case <-ctx.Done():
	case <-time.After(closeTimeout):
	}
	return fmt.Errorf("the process is there %v after Close", closeTimeout)
}

func closeFreesAddress(ctx context.Context, b *bench) error {
	if !strings.Contains(b.target.Configs[0], "$PORT") {
		return skipped("the target's settings have no port")
	}
	net, err := b.network()
	if err != nil {
		return err
	}
	for range 3 {
		n, err := b.open(ctx, net, 0)
		if err != nil {
			return fmt.Errorf("again, after Close: %w", err)
		}
		if err := errors.Join(n.close(ctx), n.gone(ctx)); err != nil {
			return err
		}
	}
	return nil
}

func restartWorks(ctx context.Context, b *bench) error {
	net, err := b.network()
	if err != nil {
		return err
	}
	a, c, err := b.freshPair(ctx, net)
	if err != nil {
		return err
	}
	t := newTopic()
	filter := transport.Filter{Topics: []transport.Topic{t}}
	if err := errors.Join(a.subscribe(ctx, filter), c.subscribe(ctx, filter)); err != nil {
		return err
	}
	if err := a.hear(ctx, c, t); err != nil {
		return err
	}
	if err := errors.Join(c.close(ctx), c.gone(ctx)); err != nil {
		return err
	}
	if c, err = b.open(ctx, net, 1); err != nil {
		return fmt.Errorf("again, after Close: %w", err)
	}
	c.start()
	if err := c.subscribe(ctx, filter); err != nil {
		return err
	}
	if err := a.hear(ctx, c, t); err != nil {
		return fmt.Errorf("to the node that was opened again: %w", err)
	}
	if err := c.hear(ctx, a, t); err != nil {
		return fmt.Errorf("from the node that was opened again: %w", err)
	}
	return nil
}

func timeUsesClock(ctx context.Context, b *bench) error {
	a, _, err := b.pair(ctx)
	if err != nil {
		return err
	}
	if _, ok := a.t.(Process); ok {
		return skipped("a process has a clock of its own")
	}
	if b.clock.Load() == 0 {
		return warning("Options.Now was never called: the transport cannot be run in virtual time")
	}
	return nil
}

func receiveLegal(_ context.Context, b *bench) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.illegal) > 0 {
		return errors.New(b.illegal[0])
	}
	return nil
}
