package transporttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

func publishTaken(ctx context.Context, b *bench) error {
	a, _, err := b.pair(ctx)
	if err != nil {
		return err
	}
	return a.send(ctx, a.envelope(newTopic(), 100))
}

func publishNotToSelf(ctx context.Context, b *bench) error {
	a, c, t, err := b.tuned(ctx)
	if err != nil {
		return err
	}
	if err := a.subscribe(ctx, transport.Filter{Topics: []transport.Topic{t}}); err != nil {
		return err
	}
	if err := c.hear(ctx, a, t); err != nil {
		return err
	}
	e := a.envelope(t, 100)
	if err := a.send(ctx, e); err != nil {
		return err
	}
	if err := c.arrives(ctx, e); err != nil {
		return err
	}
	if err := c.hear(ctx, a, t); err != nil {
		return err
	}
	pause(ctx, grace)
	if len(a.got(e)) > 0 {
		return fmt.Errorf("the node that published an envelope received it")
	}
	return nil
}

func publishBatch(ctx context.Context, b *bench) error {
	a, c, t, err := b.tuned(ctx)
	if err != nil {
		return err
	}
	batch := make([]transport.Envelope, transport.MaxBatch)
	for i := range batch {
		batch[i] = a.envelope(t, min(a.info.MaxData, 200))
	}
	errs, err := a.publish(ctx, batch...)
	if err != nil {
		return err
	}
	var again []transport.Envelope
	for i, err := range errs {
		if passing(err) {
			again = append(again, batch[i])
		} else if err != nil {
			return fmt.Errorf("Publish of %d envelopes: the one at %d was refused: %w", len(batch), i, err)
		}
	}
	if len(again) == len(batch) {
		return fmt.Errorf("Publish of %d envelopes: all were refused for now: %w", len(batch), errs[0])
	}
	if err := a.send(ctx, again...); err != nil {
		return err
	}
	return c.arrives(ctx, batch...)
}

func publishUnchanged(ctx context.Context, b *bench) error {
	a, c, t, err := b.tuned(ctx)
	if err != nil {
		return err
	}
	e := a.envelope(t, min(a.info.MaxData, 1000))
	data := bytes.Clone(e.Data)
	batch := []transport.Envelope{e}
	if _, err := a.publish(ctx, batch...); err != nil {
		return err
	}
	if err := a.hear(ctx, c, t); err != nil {
		return err
	}
	got := batch[0]
	if !bytes.Equal(got.Data, data) || got.Topic != e.Topic || !got.Sent.Equal(e.Sent) || got.TTL != e.TTL {
		return fmt.Errorf("the envelope was changed after Publish")
	}
	return nil
}

// tooLarge returns an envelope of one byte more than MaxData.
func (n *node) tooLarge(t transport.Topic) transport.Envelope { return n.envelope(t, n.info.MaxData+1) }

func publishTooLarge(ctx context.Context, b *bench) error {
	a, _, err := b.pair(ctx)
	if err != nil {
		return err
	}
	errs, err := a.publish(ctx, a.tooLarge(newTopic()))
	if err != nil {
		return err
	}
	if !errors.Is(errs[0], transport.ErrTooLarge) {
		return fmt.Errorf("Publish of %d bytes returned %s, want CodeTooLarge", a.info.MaxData+1, inWords(errs[0]))
	}
	return nil
}

func inWords(err error) string {
	if err == nil {
		return "no error"
	}
	return fmt.Sprintf("%q", err.Error())
}

func publishExpired(ctx context.Context, b *bench) error {
	a, c, t, err := b.tuned(ctx)
	if err != nil {
		return err
	}
	e := a.envelope(t, 100)
	e.Sent, e.TTL = e.Sent.Add(-time.Minute), 10*time.Second
	errs, err := a.publish(ctx, e)
	if err != nil {
		return err
	}
	if errs[0] != nil && !errors.Is(errs[0], transport.ErrExpired) {
		return fmt.Errorf("Publish of an envelope of a minute ago returned %s, want CodeExpired or no error", inWords(errs[0]))
	}
	if err := a.hear(ctx, c, t); err != nil {
		return err
	}
	pause(ctx, grace)
	if len(c.got(e)) > 0 {
		return fmt.Errorf("an envelope of a minute ago with a TTL of %v arrived", e.TTL)
	}
	return nil
}

func publishErrorsByIndex(ctx context.Context, b *bench) error {
	a, c, t, err := b.tuned(ctx)
	if err != nil {
		return err
	}
	batch := []transport.Envelope{a.envelope(t, 100), a.tooLarge(t), a.envelope(t, 101), a.envelope(t, 102)}
	errs, err := a.publish(ctx, batch...)
	if err != nil {
		return err
	}
	for i, err := range errs {
		if i == 1 && !errors.Is(err, transport.ErrTooLarge) || i != 1 && err != nil && !passing(err) {
			return fmt.Errorf("of four envelopes the second is too large; the error at index %d is %s", i, inWords(err))
		}
	}
	var taken []transport.Envelope
	for i := range batch {
		if errs[i] == nil {
			taken = append(taken, batch[i])
		}
	}
	return c.arrives(ctx, taken...)
}

func publishDoesNotBlock(ctx context.Context, b *bench) error {
	const batches, size, slow = 16, 64, time.Second
	net, err := b.network()
	if err != nil {
		return err
	}
	a, err := b.open(ctx, net, 0)
	if err != nil {
		return err
	}
	a.start()
	t, longest := newTopic(), time.Duration(0)
	for range batches {
		batch := make([]transport.Envelope, size)
		for i := range batch {
			batch[i] = a.envelope(t, min(a.info.MaxData, 1024))
		}
		start := time.Now()
		errs, err := a.publish(ctx, batch...)
		if err != nil {
			return err
		}
		longest = max(longest, time.Since(start))
		for _, err := range errs {
			if err != nil && !passing(err) {
				return fmt.Errorf("Publish without peers returned %s, want none, CodeBusy or CodeUnavailable", inWords(err))
			}
		}
	}
	if longest > slow {
		return warning("Publish of %d envelopes took %v without peers; it should not wait for the network", size, longest.Round(time.Millisecond))
	}
	return nil
}

func privacyOffered(ctx context.Context, b *bench) error {
	if len(b.info.Privacy) == 0 {
		return skipped("Info.Privacy offers nothing")
	}
	a, _, err := b.pair(ctx)
	if err != nil {
		return err
	}
	for _, p := range slices.Sorted(slices.Values(b.info.Privacy)) {
		e := a.envelope(newTopic(), 100)
		e.Privacy = p
		if err := a.send(ctx, e); err != nil {
			return fmt.Errorf("privacy %d: %w", p, err)
		}
	}
	return nil
}
