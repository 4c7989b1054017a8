package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/layers/payload"
)

// demoLine is one message that is to be sent.
type demoLine struct {
	kind     string
	from, to string // to is who must get it
	public   bool
}

// The kinds of message, in the order of the table.
const (
	kindFirst      = "1:1 first contact"
	kindPrivate    = "1:1"
	kindPublic     = "public"
	kindPrivateOff = "1:1 while dead"
	kindPublicOff  = "public while dead"
)

var demoKinds = []string{kindFirst, kindPrivate, kindPublic, kindPrivateOff, kindPublicOff, kindPrivateMail, kindPublicMail}

// plan lists what is said while both clients are up: first contact both ways,
// then private and public messages in turn.
func (d *demo) plan() []demoLine {
	lines := []demoLine{
		{kind: kindFirst, from: "alice", to: "bob"},
		{kind: kindFirst, from: "bob", to: "alice"},
	}
	for i := 0; len(lines) < d.messages; i++ {
		l := demoLine{kind: kindPrivate, from: "alice", to: "bob"}
		if i%2 == 1 {
			l.from, l.to = "bob", "alice"
		}
		if i%3 == 2 {
			l.kind, l.public = kindPublic, true
		}
		lines = append(lines, l)
	}
	return lines
}

// whileDead lists what alice says while bob is dead.
func (d *demo) whileDead(n int) []demoLine {
	var lines []demoLine
	for i := range n {
		l := demoLine{kind: kindPrivateOff, from: "alice", to: "bob"}
		if i%2 == 1 {
			l.kind, l.public = kindPublicOff, true
		}
		lines = append(lines, l)
	}
	return lines
}

// talk says the lines. Each waits until the one before has arrived, so that the
// latency is that of a conversation; with many messages several are under way.
func (d *demo) talk(ctx context.Context, lines []demoLine, wait bool) error {
	for _, n := range []*demoNode{d.alice, d.bob} {
		if n.cmd != nil {
			if err := n.connected(ctx); err != nil {
				return err
			}
		}
	}
	window := make(chan struct{}, 1+d.messages/100)
	var group sync.WaitGroup
	defer group.Wait()
	for _, l := range lines {
		select {
		case window <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		e := d.ledger.enter(l)
		if err := d.say(ctx, e); err != nil {
			return err
		}
		d.progress()
		group.Go(func() {
			if wait {
				select {
				case <-e.here:
				case <-ctx.Done():
				}
			}
			<-window
		})
	}
	return nil
}

func (d *demo) say(ctx context.Context, e *demoEntry) error {
	from, chat := d.node(e.from), payload.ChatID(d.channel)
	if !e.public {
		chat = payload.ChatID(d.node(e.to).self.Key)
	}
	m, err := from.client.Say(ctx, chat, e.text)
	if err != nil {
		return fmt.Errorf("%s could not say %q: %w", e.from, e.text, err)
	}
	d.ledger.said(e, m)
	return nil
}

func (d *demo) node(name string) *demoNode {
	switch name {
	case "alice":
		return d.alice
	case "bob":
		return d.bob
	}
	return d.relay
}

// readHistory takes a client's whole history into the ledger.
func (d *demo) readHistory(ctx context.Context, n *demoNode) error {
	for q := (rpc.Query{Limit: 1000}); ; {
		page, err := n.client.History(ctx, q)
		if err != nil {
			return err
		}
		for _, m := range page.Messages {
			if m.Own {
				d.ledger.moved(m.ID, m.Status, m.Reason)
			} else {
				d.ledger.arrived(n.name, m)
			}
		}
		if page.Next == "" {
			return nil
		}
		q.Before = page.Next
	}
}

// finish waits until everything has arrived and the senders know it, then counts
// what the histories hold.
func (d *demo) finish(ctx context.Context) error {
	d.ledger.settle(ctx, d.progress)
	// A doubled message may be late: what is in the histories decides.
	for _, n := range []*demoNode{d.alice, d.bob} {
		if err := d.readHistory(context.WithoutCancel(ctx), n); err != nil {
			return err
		}
	}
	return nil
}

// demoStep is one line of the life of a message.
type demoStep struct {
	Node string `json:"node"`
	actors.Step
}

// life collects what the three nodes did with one private message: its sender
// knows it by its id, everybody else by the hash of the envelope it left in.
func (d *demo) life(ctx context.Context) []demoStep {
	e := d.ledger.example()
	if e == nil {
		return nil
	}
	id := hex.EncodeToString(e.id[:])
	sent := traceOf(ctx, d.alice, id)
	ids := []string{id}
	saidIn := map[actors.Span]bool{}
	for _, s := range sent {
		if s.Input == "payload.Say" && s.mentions(id) {
			saidIn[s.Span] = true
		}
	}
	for _, s := range sent {
		if s.Input == "transport.Publish" && saidIn[s.Span] {
			ids = append(ids, s.Identity...)
		}
	}
	life := about(sent, ids)
	for _, n := range []*demoNode{d.relay, d.bob} {
		var steps []demoStep
		for _, id := range ids {
			steps = append(steps, traceOf(ctx, n, id)...)
		}
		life = append(life, about(steps, ids)...)
	}
	slices.SortStableFunc(life, func(a, b demoStep) int { return a.At.Compare(b.At) })
	return life
}

// traceOf asks a node for its steps. The demo does not fail for want of a
// picture.
func traceOf(ctx context.Context, n *demoNode, id string) []demoStep {
	steps, err := n.client.Trace(ctx, id)
	if err != nil {
		return nil
	}
	var all []demoStep
	for _, s := range steps {
		all = append(all, demoStep{n.name, s})
	}
	return all
}

// about keeps the steps of one node that have a cause in common with the
// message, each once, without what else came in the same packet.
func about(steps []demoStep, ids []string) []demoStep {
	spans := map[actors.Span]bool{}
	for _, s := range steps {
		if s.mentions(ids...) {
			spans[s.Span] = true
		}
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(steps, func(s demoStep) bool {
		key := fmt.Sprint(s.At.UnixNano(), s.Layer, s.Input)
		other := s.Layer == string(payloadSlot) && len(s.Identity) > 0 && !s.mentions(ids...)
		drop := !spans[s.Span] || other || seen[key]
		seen[key] = true
		return drop
	})
}

// mentions reports whether a step took or emitted something with one of the ids.
func (s demoStep) mentions(ids ...string) bool {
	return slices.ContainsFunc(s.Identity, func(i string) bool { return slices.Contains(ids, i) })
}

// settleTick is how often settle looks.
const settleTick = 20 * time.Millisecond

// settle waits until every message has arrived and every sender knows what
// became of it, or ctx is over.
func (l *demoLedger) settle(ctx context.Context, progress func()) {
	tick := time.NewTicker(settleTick)
	defer tick.Stop()
	for !l.settled() {
		select {
		case <-tick.C:
			progress()
		case <-ctx.Done():
			return
		}
	}
}
