package transporttest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

const (
	grace      = 300 * time.Millisecond // for what should not come, after what came last
	probeEvery = 100 * time.Millisecond
	usualTTL   = 10 * time.Second
)

func (b *bench) patience() time.Duration {
	if b.deaf {
		return min(b.target.Patience, 2*time.Second)
	}
	return b.target.Patience
}

// pair returns two nodes that receive. They stay open for other rules, so they
// are not to be closed; they know other topics from before.
func (b *bench) pair(ctx context.Context) (*node, *node, error) {
	if b.pairA != nil && b.pairA.failed() == nil && b.pairB.failed() == nil {
		return b.pairA, b.pairB, nil
	}
	b.dropPair()
	net, err := b.network()
	if err != nil {
		return nil, nil, err
	}
	a, c, err := b.freshPair(ctx, net)
	if err != nil {
		return nil, nil, err
	}
	b.own = b.own[:len(b.own)-2]
	b.pairA, b.pairB = a, c
	return a, c, nil
}

// freshPair opens nodes 0 and 1 for one rule.
func (b *bench) freshPair(ctx context.Context, net network) (*node, *node, error) {
	a, err := b.open(ctx, net, 0)
	if err != nil {
		return nil, nil, err
	}
	c, err := b.open(ctx, net, 1)
	if err != nil {
		return nil, nil, err
	}
	a.start()
	c.start()
	return a, c, nil
}

func (b *bench) dropPair() {
	for _, n := range []*node{b.pairA, b.pairB} {
		if n != nil {
			n.end()
		}
	}
	b.pairA, b.pairB = nil, nil
}

func newTopic() transport.Topic {
	var t transport.Topic
	_, _ = rand.Read(t[:])
	return t
}

// envelope makes one with size bytes of random data.
func (n *node) envelope(t transport.Topic, size int) transport.Envelope {
	data := make([]byte, size)
	_, _ = rand.Read(data)
	return transport.Envelope{
		Topic: t, Data: data,
		Sent: time.Now().UTC().Truncate(time.Second), TTL: min(usualTTL, n.info.MaxTTL),
	}
}

func (n *node) subscribe(ctx context.Context, f transport.Filter) error {
	err := within(ctx, callTimeout, "Subscribe", func(ctx context.Context) error { return n.t.Subscribe(ctx, f) })
	if err != nil {
		return fmt.Errorf("Subscribe: %w", err)
	}
	return nil
}

// publish publishes once and returns an error for each envelope.
func (n *node) publish(ctx context.Context, batch ...transport.Envelope) ([]error, error) {
	for i := range batch {
		n.nextID++
		batch[i].ID = n.nextID
	}
	var errs []error
	err := within(ctx, callTimeout, "Publish", func(ctx context.Context) error {
		errs = n.t.Publish(ctx, batch)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(errs) > len(batch) {
		return nil, fmt.Errorf("Publish returned %d errors for %d envelopes", len(errs), len(batch))
	}
	return append(errs, make([]error, len(batch)-len(errs))...), nil
}

// send publishes until all are taken, again what is refused for now.
func (n *node) send(ctx context.Context, batch ...transport.Envelope) error {
	deadline := time.Now().Add(n.bench.patience())
	for {
		errs, err := n.publish(ctx, batch...)
		if err != nil {
			return err
		}
		var again []transport.Envelope
		for i, err := range errs {
			switch {
			case err == nil:
			case passing(err) && time.Now().Before(deadline):
				again = append(again, batch[i])
			default:
				return fmt.Errorf("Publish refused an envelope of %d bytes: %w", len(batch[i].Data), err)
			}
		}
		if len(again) == 0 {
			return nil
		}
		pause(ctx, probeEvery)
		batch = again
	}
}

// passing reports whether the host would try again.
func passing(err error) bool {
	return errors.Is(err, transport.ErrBusy) || errors.Is(err, transport.ErrUnavailable)
}

// hear sends probes from n until to receives one: the two have found each
// other, and the topic is subscribed to. It also tells that what n sent before
// has likely arrived.
func (n *node) hear(ctx context.Context, to *node, t transport.Topic) error {
	deadline := time.Now().Add(n.bench.patience())
	var probes []transport.Envelope
	for time.Now().Before(deadline) && ctx.Err() == nil {
		probe := n.envelope(t, min(n.info.MaxData, 32))
		if errs, err := n.publish(ctx, probe); err != nil {
			return err
		} else if errs[0] != nil && !passing(errs[0]) {
			return fmt.Errorf("Publish: %w", errs[0])
		}
		probes = append(probes, probe)
		heard := to.wait(ctx, probeEvery, func() bool {
			for _, p := range probes {
				if len(to.find(p)) > 0 {
					return true
				}
			}
			return false
		})
		if heard {
			return nil
		}
		if err := errors.Join(n.failed(), to.failed()); err != nil {
			return err
		}
	}
	n.bench.deaf = true
	return fmt.Errorf("none of %d envelopes sent with a subscribed topic in %v arrived at the other node", len(probes), n.bench.target.Patience)
}

// arrives waits for envelopes at n and says which are missing.
func (n *node) arrives(ctx context.Context, all ...transport.Envelope) error {
	missing := func() (m []transport.Envelope) {
		for _, e := range all {
			if len(n.find(e)) == 0 {
				m = append(m, e)
			}
		}
		return m
	}
	if n.wait(ctx, 0, func() bool { return len(missing()) == 0 }) {
		return nil
	}
	if err := n.failed(); err != nil {
		return err
	}
	n.bench.deaf = true
	n.mu.Lock()
	defer n.mu.Unlock()
	m := missing()
	if len(m) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d envelopes did not arrive intact, the first with topic %s and %d bytes", len(m), len(all), m[0].Topic, len(m[0].Data))
}

// tuned returns the pair with the second node subscribed to a new topic, on
// which it hears the first.
func (b *bench) tuned(ctx context.Context) (a, c *node, t transport.Topic, err error) {
	if a, c, err = b.pair(ctx); err != nil {
		return nil, nil, t, err
	}
	t = newTopic()
	if err = c.subscribe(ctx, transport.Filter{Topics: []transport.Topic{t}}); err != nil {
		return nil, nil, t, err
	}
	return a, c, t, a.hear(ctx, c, t)
}
