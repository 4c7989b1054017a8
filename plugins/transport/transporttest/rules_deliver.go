package transporttest

import (
	"context"
	"fmt"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

func deliverReceived(ctx context.Context, b *bench) error {
	_, _, _, err := b.tuned(ctx)
	return err
}

func deliverBothWays(ctx context.Context, b *bench) error {
	a, c, t, err := b.tuned(ctx)
	if err != nil {
		return err
	}
	if err := a.subscribe(ctx, transport.Filter{Topics: []transport.Topic{t}}); err != nil {
		return err
	}
	if err := c.hear(ctx, a, t); err != nil {
		return fmt.Errorf("from node 1 to node 0: %w", err)
	}
	return nil
}

func deliverToAll(ctx context.Context, b *bench) error {
	if len(b.target.Configs) < maxNodes {
		return skipped("the target has settings for two nodes only")
	}
	net, err := b.network()
	if err != nil {
		return err
	}
	var nodes []*node
	t := newTopic()
	for i := range maxNodes {
		n, err := b.open(ctx, net, i)
		if err != nil {
			return err
		}
		n.start()
		if err := n.subscribe(ctx, transport.Filter{Topics: []transport.Topic{t}}); err != nil {
			return err
		}
		nodes = append(nodes, n)
	}
	for _, to := range nodes[1:] {
		if err := nodes[0].hear(ctx, to, t); err != nil {
			return err
		}
	}
	e := nodes[0].envelope(t, 100)
	if err := nodes[0].send(ctx, e); err != nil {
		return err
	}
	for i, to := range nodes[1:] {
		if err := to.arrives(ctx, e); err != nil {
			return fmt.Errorf("node %d: %w", i+1, err)
		}
	}
	return nil
}

func deliverTopicIntact(ctx context.Context, b *bench) error {
	a, c, err := b.pair(ctx)
	if err != nil {
		return err
	}
	topics := []transport.Topic{{}, {0xff, 0xff, 0xff, 0xff}, {1, 2, 3, 4}, {0, 0, 0, 1}, {1, 0, 0, 0}, {0x80, 0x7f, 0x0a, 0x22}}
	// Everything is asked for, so that what arrives with a wrong topic is seen.
	if err := c.subscribe(ctx, transport.Filter{Topics: topics, All: true}); err != nil {
		return err
	}
	if err := a.hear(ctx, c, topics[2]); err != nil {
		if seen := c.wrongTopic(); seen != "" {
			return fmt.Errorf("sent with topic %s, %s", topics[2], seen)
		}
		return err
	}
	var all []transport.Envelope
	for i, t := range topics {
		all = append(all, a.envelope(t, 100+i))
	}
	if err := a.send(ctx, all...); err != nil {
		return err
	}
	return c.arrives(ctx, all...)
}

// wrongTopic says what the last arrival's topic is.
func (n *node) wrongTopic() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.arrivals) == 0 {
		return ""
	}
	return fmt.Sprintf("the last envelope received has topic %s", n.arrivals[len(n.arrivals)-1].Topic)
}

// sizes returns lengths of Data that are worth trying.
func sizes(most int) []int {
	var all []int
	for _, n := range []int{1, 2, 15, 16, 17, 31, 255, 256, 257, 1000, 1024, 1400, 1500, 4096, 9000, 16384, 1<<16 - 1, 1 << 16, 1 << 18} {
		if n < most-1 {
			all = append(all, n)
		}
	}
	return append(all, max(most-1, 1), most)
}

func deliverDataIntact(ctx context.Context, b *bench) error {
	a, c, t, err := b.tuned(ctx)
	if err != nil {
		return err
	}
	var all []transport.Envelope
	for _, size := range sizes(a.info.MaxData) {
		all = append(all, a.envelope(t, size))
	}
	for _, fill := range []func(int) byte{
		func(int) byte { return 0 }, func(int) byte { return 0xff }, func(i int) byte { return byte(i) },
	} {
		e := a.envelope(t, min(a.info.MaxData, 300))
		for i := range e.Data {
			e.Data[i] = fill(i)
		}
		all = append(all, e)
	}
	for _, e := range all {
		if err := a.send(ctx, e); err != nil {
			return err
		}
		if err := c.arrives(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

func deliverTimesIntact(ctx context.Context, b *bench) error {
	a, c, t, err := b.tuned(ctx)
	if err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	for i, e := range []transport.Envelope{
		{Sent: now, TTL: 10 * time.Second},
		{Sent: now.Add(-5 * time.Second), TTL: a.info.MaxTTL.Truncate(time.Second)},
		{Sent: now.Add(3 * time.Second), TTL: 7 * time.Second},
	} {
		e.Topic, e.Data = t, a.envelope(t, 100+i).Data
		if err := a.send(ctx, e); err != nil {
			return err
		}
		if err := c.arrives(ctx, e); err != nil {
			return err
		}
		got := c.got(e)[0]
		if !got.Sent.Equal(e.Sent) || got.TTL != e.TTL {
			return fmt.Errorf("sent with Sent %s and TTL %v, received with %s and %v",
				e.Sent.Format(time.RFC3339), e.TTL, got.Sent.UTC().Format(time.RFC3339Nano), got.TTL)
		}
	}
	return nil
}

func deliverOnce(ctx context.Context, b *bench) error {
	a, c, t, err := b.tuned(ctx)
	if err != nil {
		return err
	}
	all := make([]transport.Envelope, 20)
	for i := range all {
		all[i] = a.envelope(t, 100)
	}
	if err := a.send(ctx, all...); err != nil {
		return err
	}
	if err := c.arrives(ctx, all...); err != nil {
		return err
	}
	if err := a.hear(ctx, c, t); err != nil {
		return err
	}
	pause(ctx, 2*grace)
	for _, e := range all {
		if n := len(c.got(e)); n != 1 {
			return fmt.Errorf("an envelope that was published once was reported %d times", n)
		}
	}
	return nil
}

func deliverOnlySubscribed(ctx context.Context, b *bench) error {
	a, c, t, err := b.tuned(ctx)
	if err != nil {
		return err
	}
	other := a.envelope(newTopic(), 100)
	if err := a.send(ctx, other); err != nil {
		return err
	}
	if err := a.hear(ctx, c, t); err != nil {
		return err
	}
	pause(ctx, grace)
	if len(c.got(other)) > 0 {
		return warning("topic %s was reported without having been subscribed to; the host drops it", other.Topic)
	}
	return nil
}

func deliverInOrder(ctx context.Context, b *bench) error {
	if b.info.Ordering != transport.OrderingSender {
		return skipped("Info.Ordering promises none")
	}
	a, c, t, err := b.tuned(ctx)
	if err != nil {
		return err
	}
	all := make([]transport.Envelope, 100)
	for i := range all {
		all[i] = a.envelope(t, 100)
		if err := a.send(ctx, all[i]); err != nil {
			return err
		}
	}
	if err := c.arrives(ctx, all...); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	next := 0
	for _, got := range c.arrivals {
		if next < len(all) && got.Topic == t && string(got.Data) == string(all[next].Data) {
			next++
		}
	}
	if next < len(all) {
		return fmt.Errorf("the envelope sent as number %d did not arrive after the one before it", next)
	}
	return nil
}
