package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// playSwap has the nodes talk while their transport is replaced: by libp2p, and
// later by Whisper again.
func (d *demo) playSwap(ctx context.Context) error {
	d.show.phase("talking by Whisper")
	talked := make(chan error, 1)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { talked <- d.chatter(ctx) }()
	for _, step := range []struct {
		after int
		title string
		files func(context.Context, *demoNode) (string, error)
	}{
		{d.messages / 4, "replacing Whisper by libp2p", d.toLibp2p},
		{d.messages * 5 / 8, "replacing libp2p by Whisper", d.toWhisper},
	} {
		if err := d.reached(ctx, step.after, talked); err != nil {
			return err
		}
		d.show.phase(step.title)
		if d.swapped.IsZero() {
			d.swapped = time.Now()
		}
		for _, n := range []*demoNode{d.relay, d.alice, d.bob} {
			if err := d.replace(ctx, n, step.files); err != nil {
				return fmt.Errorf("%s: %w", n.name, err)
			}
		}
		d.show.phase("talking on")
	}
	if err := <-talked; err != nil {
		return err
	}
	d.show.phase("waiting for what is under way")
	return d.finish(ctx)
}

// chatter says one line after the other at a steady pace, whether those before
// have arrived or not.
func (d *demo) chatter(ctx context.Context) error {
	for _, n := range []*demoNode{d.alice, d.bob} {
		if err := n.connected(ctx); err != nil {
			return err
		}
	}
	pace := time.NewTicker(demoPace)
	defer pace.Stop()
	for _, l := range d.plan() {
		if err := d.say(ctx, d.ledger.enter(l)); err != nil {
			return err
		}
		d.progress()
		select {
		case <-pace.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// reached waits until so many messages have been said.
func (d *demo) reached(ctx context.Context, said int, talked chan error) error {
	tick := time.NewTicker(demoPace)
	defer tick.Stop()
	for {
		if sent, _ := d.ledger.counts(); sent >= said {
			return nil
		}
		select {
		case <-tick.C:
		case err := <-talked:
			talked <- err
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// replace gives a running node another transport, as "strata layer replace"
// does.
func (d *demo) replace(ctx context.Context, n *demoNode, section func(context.Context, *demoNode) (string, error)) error {
	transport, err := section(ctx, n)
	if err != nil {
		return err
	}
	file := n.path(".swap.yaml")
	text := []byte("layers:\n" + transport)
	if err := os.WriteFile(file, text, 0o600); err != nil { // kept for --keep
		return err
	}
	return n.client.ReplaceLayer(ctx, string(transportSlot), file, text)
}

func (d *demo) toLibp2p(ctx context.Context, n *demoNode) (string, error) {
	if n == d.relay {
		return demoLibp2p("relay: true"), nil
	}
	return d.libp2pClient(ctx)
}

func (d *demo) toWhisper(_ context.Context, n *demoNode) (string, error) {
	interest := "subscribed"
	if n == d.relay {
		interest = "everything"
	}
	return fmt.Sprintf("  transport: {use: whisper, settings: {interest: %s}}\n", interest), nil
}
