package transporttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

func (n *node) listPeers(ctx context.Context) (peers []transport.Peer, err error) {
	p, ok := n.t.(transport.Peerer)
	if !ok {
		return nil, fmt.Errorf("there is no method Peers")
	}
	err = within(ctx, askTimeout, "Peers", func(ctx context.Context) (err error) {
		peers, err = p.Peers(ctx)
		return err
	})
	return peers, err
}

func (n *node) stats(ctx context.Context) (stats []transport.Stat, err error) {
	c, ok := n.t.(transport.Counter)
	if !ok {
		return nil, fmt.Errorf("there is no method Stats")
	}
	err = within(ctx, askTimeout, "Stats", func(ctx context.Context) (err error) {
		stats, err = c.Stats(ctx)
		return err
	})
	return stats, err
}

func receiptsOnce(ctx context.Context, b *bench) error {
	if !b.info.Receipts {
		return skipped("Info.Receipts is false")
	}
	a, c, t, err := b.tuned(ctx)
	if err != nil {
		return err
	}
	reached := make([]transport.Envelope, 10)
	for i := range reached {
		reached[i] = a.envelope(t, 100)
		reached[i].TTL = 3 * time.Second
	}
	first := a.nextID + 1
	if err := a.send(ctx, reached...); err != nil {
		return err
	}
	if err := c.arrives(ctx, reached...); err != nil {
		return err
	}
	if err := a.settled(ctx, first, a.nextID); err != nil {
		return fmt.Errorf("envelopes that arrived: %w", err)
	}
	alone, err := b.quiet(ctx)
	if err != nil {
		return err
	}
	alone.start()
	e := alone.envelope(t, 100)
	e.TTL = 2 * time.Second
	if errs, err := alone.publish(ctx, e); err != nil || errs[0] != nil {
		return err // not taken: no receipt is due
	}
	if err := alone.settled(ctx, alone.nextID, alone.nextID); err != nil {
		return fmt.Errorf("an envelope of a node without peers: %w", err)
	}
	return nil
}

// settled waits for a receipt of each id that was taken, and that there is no
// second one.
func (n *node) settled(ctx context.Context, first, last uint64) error {
	missing := func() (m uint64) {
		for id := first; id <= last; id++ {
			if len(n.receipts[id]) == 0 {
				m++
			}
		}
		return m
	}
	n.wait(ctx, 0, func() bool { return missing() == 0 })
	pause(ctx, grace)
	n.mu.Lock()
	defer n.mu.Unlock()
	if m := missing(); m > 0 {
		return fmt.Errorf("%d of %d have no receipt", m, last-first+1)
	}
	for id := first; id <= last; id++ {
		if k := len(n.receipts[id]); k > 1 {
			return fmt.Errorf("one has %d receipts", k)
		}
	}
	return nil
}

func receiptsDeclared(_ context.Context, b *bench) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.info.Receipts && b.receipts > 0 {
		return fmt.Errorf("%d receipts came though Info.Receipts is false", b.receipts)
	}
	return nil
}

func peersCounted(ctx context.Context, b *bench) error {
	a, _, _, err := b.tuned(ctx)
	if err != nil {
		return err
	}
	if a.can.Peers {
		peers, err := a.listPeers(ctx)
		if err != nil {
			return fmt.Errorf("Peers: %w", err)
		}
		if len(peers) > transport.MaxPeers {
			return fmt.Errorf("Peers lists %d, more than %d", len(peers), transport.MaxPeers)
		}
		for _, p := range peers {
			if p.ID == "" || len(p.ID) > transport.MaxText || len(p.Address) > transport.MaxText {
				return fmt.Errorf("Peers lists one with the ID %q and the address %q", p.ID, p.Address)
			}
		}
	}
	if !a.wait(ctx, 2*time.Second, func() bool { return a.peers != nil }) {
		return warning("no report had the number of peers: the node shows none")
	}
	if !a.wait(ctx, 2*time.Second, func() bool { return *a.peers > 0 }) {
		return fmt.Errorf("an envelope was carried to another node, but the number of peers is reported as 0")
	}
	return nil
}

func statsNames(ctx context.Context, b *bench) error {
	a, c, t, err := b.tuned(ctx)
	if err != nil {
		return err
	}
	if !a.can.Stats {
		return skipped("Stats is not declared")
	}
	before := map[string]float64{}
	for round := range 2 {
		stats, err := a.stats(ctx)
		if err != nil {
			return fmt.Errorf("Stats: %w", err)
		}
		if len(stats) > transport.MaxStats {
			return fmt.Errorf("Stats has %d counters, more than %d", len(stats), transport.MaxStats)
		}
		seen := map[string]float64{}
		for _, s := range stats {
			_, twice := seen[s.Name]
			old, known := before[s.Name]
			switch {
			case s.Name == "" || strings.Trim(s.Name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" || len(s.Name) > transport.MaxText:
				return fmt.Errorf("a counter is named %q, want a-z, 0-9 and _", s.Name)
			case twice:
				return fmt.Errorf("the counter %q is there twice", s.Name)
			case math.IsNaN(s.Value) || math.IsInf(s.Value, 0):
				return fmt.Errorf("the counter %q is %v", s.Name, s.Value)
			case round > 0 && !known:
				return fmt.Errorf("the counter %q was not there at first", s.Name)
			case strings.HasSuffix(s.Name, "_total") && known && s.Value < old:
				return fmt.Errorf("the counter %q fell from %v to %v", s.Name, old, s.Value)
			}
			seen[s.Name] = s.Value
		}
		before = seen
		if err := a.hear(ctx, c, t); err != nil {
			return err
		}
	}
	return nil
}

func queryPages(ctx context.Context, b *bench) error {
	a, c, t, err := b.tuned(ctx)
	if err != nil {
		return err
	}
	if _, ok := c.t.(transport.Querier); !c.can.Query || !ok {
		return skipped("Query is not declared")
	}
	var all []transport.Envelope
	for i := range 5 {
		e := a.envelope(t, 100)
		e.Sent = e.Sent.Add(-time.Duration(4-i) * time.Second)
		all = append(all, e)
	}
	if err := errors.Join(a.send(ctx, all...), c.arrives(ctx, all...)); err != nil {
		return err
	}
	if a.can.Serve { // it asks peers, so one must have an archive
		stop, err := a.serve(&store{all: all})
		if err != nil {
			return err
		}
		defer func() { _ = stop() }()
	}
	got, err := c.pages(ctx, transport.Query{
		Filter: transport.Filter{Topics: []transport.Topic{t}},
		From:   all[0].Sent, To: all[4].Sent.Add(time.Second), Limit: 2,
	})
	if err != nil {
		return err
	}
	return inOrder(got, all)
}

// inOrder checks that got goes by Sent and has all of want once.
func inOrder(got, want []transport.Envelope) error {
	for i, e := range got {
		if i > 0 && e.Sent.Before(got[i-1].Sent) {
			return fmt.Errorf("Query returned a newer envelope before an older one")
		}
	}
	for _, w := range want {
		n := 0
		for _, g := range got {
			if g.Topic == w.Topic && bytes.Equal(g.Data, w.Data) {
				n++
			}
		}
		if n != 1 {
			return fmt.Errorf("Query returned an envelope %d times, want once", n)
		}
	}
	return nil
}

func errorsTyped(ctx context.Context, b *bench) error {
	config, err := b.unknown()
	if err != nil {
		return err
	}
	refusal, err := b.refuses(ctx, config, unknownSetting)
	if refusal == nil {
		return err // which is about a missing or an untyped error
	}
	if refusal.Reason == "" && refusal.Field == "" || len(refusal.Reason) > transport.MaxText {
		return fmt.Errorf("the error about an unknown setting has a reason of %d bytes", len(refusal.Reason))
	}
	a, _, err := b.pair(ctx)
	if err != nil {
		return err
	}
	errs, err := a.publish(ctx, a.tooLarge(newTopic()))
	if err != nil {
		return err
	}
	if e := (*transport.Error)(nil); errs[0] != nil && !errors.As(errs[0], &e) {
		return fmt.Errorf("the error of Publish is a %T, want a *transport.Error", errs[0])
	}
	return nil
}
