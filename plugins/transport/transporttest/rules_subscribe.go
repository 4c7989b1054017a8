package transporttest

import (
	"context"
	"fmt"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

func subscribeNone(ctx context.Context, b *bench) error {
	_, c, err := b.pair(ctx)
	if err != nil {
		return err
	}
	return c.subscribe(ctx, transport.Filter{})
}

func subscribeMany(ctx context.Context, b *bench) error {
	a, c, err := b.pair(ctx)
	if err != nil {
		return err
	}
	topics := make([]transport.Topic, transport.MaxTopics)
	for i := range topics {
		topics[i] = transport.Topic{byte(i >> 8), byte(i), 0xa5, 0x5a}
	}
	if err := c.subscribe(ctx, transport.Filter{Topics: topics}); err != nil {
		return err
	}
	return a.hear(ctx, c, topics[len(topics)-1])
}

func subscribeAll(ctx context.Context, b *bench) error {
	a, c, err := b.pair(ctx)
	if err != nil {
		return err
	}
	if err := c.subscribe(ctx, transport.Filter{All: true}); err != nil {
		return err
	}
	if err := a.hear(ctx, c, newTopic()); err != nil {
		return err
	}
	// Transports that sort topics into shards must have joined them all.
	for range 16 {
		if err := a.hear(ctx, c, newTopic()); err != nil {
			return err
		}
	}
	return nil
}

func subscribeReplaces(ctx context.Context, b *bench) error {
	a, c, before, err := b.tuned(ctx)
	if err != nil {
		return err
	}
	now := newTopic()
	if err := c.subscribe(ctx, transport.Filter{Topics: []transport.Topic{now}}); err != nil {
		return err
	}
	if err := a.hear(ctx, c, now); err != nil {
		return fmt.Errorf("after the second Subscribe: %w", err)
	}
	// A transport may report more than was asked for. If it reports none of many
	// topics that were never asked for, but one that was, it has not forgotten.
	old := a.envelope(before, 100)
	never := make([]transport.Envelope, 64)
	for i := range never {
		never[i] = a.envelope(newTopic(), 100)
	}
	if err := a.send(ctx, append(never, old)...); err != nil {
		return err
	}
	if err := a.hear(ctx, c, now); err != nil {
		return err
	}
	pause(ctx, grace)
	if len(c.got(old)) == 0 {
		return nil
	}
	for _, e := range never {
		if len(c.got(e)) > 0 {
			return warning("a topic that was replaced is still reported, and so are others that were never subscribed to")
		}
	}
	return fmt.Errorf("topic %s is still reported after Subscribe with another, though topics never subscribed to are not", before)
}

func subscribeLate(ctx context.Context, b *bench) error {
	if b.info.Storage == transport.StorageNone {
		return skipped("Info.Storage promises none")
	}
	a, c, t, err := b.tuned(ctx)
	if err != nil {
		return err
	}
	e := a.envelope(newTopic(), 100)
	if err := a.send(ctx, e); err != nil {
		return err
	}
	if err := a.hear(ctx, c, t); err != nil {
		return err
	}
	if err := c.subscribe(ctx, transport.Filter{Topics: []transport.Topic{t, e.Topic}}); err != nil {
		return err
	}
	return c.arrives(ctx, e)
}

func storageLateNode(ctx context.Context, b *bench) error {
	if b.info.Storage == transport.StorageNone {
		return skipped("Info.Storage promises none")
	}
	net, err := b.network()
	if err != nil {
		return err
	}
	a, err := b.open(ctx, net, 0)
	if err != nil {
		return err
	}
	a.start()
	e := a.envelope(newTopic(), 100)
	e.TTL = min(a.info.MaxTTL, 2*usualTTL)
	if err := a.send(ctx, e); err != nil {
		return err
	}
	c, err := b.open(ctx, net, 1)
	if err != nil {
		return err
	}
	c.start()
	if err := c.subscribe(ctx, transport.Filter{Topics: []transport.Topic{e.Topic}}); err != nil {
		return err
	}
	return c.arrives(ctx, e)
}

func expiredNotDelivered(ctx context.Context, b *bench) error {
	const late = 500 * time.Millisecond // on the way from the transport to here
	a, c, t, err := b.tuned(ctx)
	if err != nil {
		return err
	}
	e := a.envelope(newTopic(), 100)
	e.TTL = 2 * time.Second
	if err := a.send(ctx, e); err != nil {
		return err
	}
	if err := a.hear(ctx, c, t); err != nil {
		return err
	}
	pause(ctx, time.Until(e.Expiry())+late)
	if err := c.subscribe(ctx, transport.Filter{Topics: []transport.Topic{t, e.Topic}}); err != nil {
		return err
	}
	if err := a.hear(ctx, c, e.Topic); err != nil {
		return err
	}
	pause(ctx, grace)
	for _, got := range c.got(e) {
		if over := got.at.Sub(e.Expiry()); over > late {
			return fmt.Errorf("an envelope with a TTL of %v was reported %v after it was over", e.TTL, over.Round(10*time.Millisecond))
		}
	}
	return nil
}
