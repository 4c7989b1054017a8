package main

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers/payload"
)

// backWithin is how soon a layer must run again after it broke the first time.
const backWithin = time.Second

// talkEvery is the pause between two messages of each side.
const talkEvery = 40 * time.Millisecond

// talk is a conversation that goes on whatever happens to the nodes.
type talk struct {
	ctx context.Context

	mu      sync.Mutex
	said    []*saying
	byText  map[string]*saying
	refused []error
}

// saying is one message that its sender's node has acknowledged, or is asked to.
type saying struct {
	from, to *party
	chat     payload.ChatID // as the sender names it
	text     string
	public   bool
	acked    bool
	arrived  bool // was reported by the receiver's node
	perhaps  bool // was in a relay that lost its memory
}

// run has p say private messages to other and public ones, in turn.
func (k *talk) run(p, other *party, name string) {
	tick := time.NewTicker(talkEvery)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-k.ctx.Done():
			return
		}
		s := &saying{from: p, to: other, chat: other.key(), text: fmt.Sprint(name, " ", i)}
		if i%2 == 1 {
			s.chat, s.public = channel, true
		}
		k.say(s)
	}
}

// say has a message said, and notes it before.
func (k *talk) say(s *saying) {
	k.mu.Lock()
	k.said = append(k.said, s)
	k.byText[s.text] = s
	k.mu.Unlock()
	// Not k.ctx: what was begun is waited for.
	_, err := s.from.api.Say(context.Background(), s.chat, s.text)
	k.mu.Lock()
	defer k.mu.Unlock()
	s.acked = err == nil
	if err != nil {
		k.refused = append(k.refused, fmt.Errorf("%s: %w", s.text, err))
	}
}

// hear notes what p receives, until its connection ends.
func (k *talk) hear(t *testing.T, p *party) {
	t.Helper()
	sub, err := p.api.Messages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			n, err := sub.Next(context.Background())
			if err != nil || n.Message == nil {
				return
			}
			k.mu.Lock()
			if s := k.byText[n.Message.Text]; s != nil && s.to == p {
				s.arrived = true
			}
			k.mu.Unlock()
		}
	}()
}

// flows waits until a private message said from now on has arrived at both.
func (k *talk) flows(t *testing.T, parties ...*party) {
	t.Helper()
	k.mu.Lock()
	from := len(k.said)
	k.mu.Unlock()
	for _, p := range parties {
		eventually(t, "a private message after the drill", func() bool {
			k.mu.Lock()
			defer k.mu.Unlock()
			for _, s := range k.said[from:] {
				if s.to == p && s.arrived && !s.public {
					return true
				}
			}
			return false
		})
	}
}

// excuse marks the public messages that are under way: a relay that forgets them
// may have been the only one to have them.
func (k *talk) excuse() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.said {
		if s.public && !s.arrived {
			s.perhaps = true
		}
	}
}

// It is alone, because it measures how soon a layer is back.
func TestNodeSurvivesEachLayerBreakingUnderLoad(t *testing.T) {
	n := startTrio(t, "layer broken")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	k := &talk{ctx: ctx, byText: map[string]*saying{}}
	k.hear(t, n.alice)
	k.hear(t, n.bob)
	var talkers sync.WaitGroup
	talkers.Go(func() { k.run(n.alice, n.bob, "alice") })
	talkers.Go(func() { k.run(n.bob, n.alice, "bob") })
	k.flows(t, n.alice, n.bob)

	above := []string{"payload", "datasync", "secure", "envelope", "transport", "overlay"}
	for _, d := range []struct {
		name  string
		who   *party
		slots []string
	}{{"alice", n.alice, above}, {"bob", n.bob, above}, {"relay", n.relay, above[4:]}} {
		for i, slot := range d.slots {
			if d.who == n.relay && slot == "transport" {
				k.excuse()
			}
			breakLayer(t, d.name, d.who, slot)
			for _, s := range d.who.kernel.Status() {
				want := 0
				for _, broken := range d.slots[:i+1] {
					if s.Name == broken {
						want = 1
					}
				}
				if s.Restarts != want {
					t.Errorf("%s: %s has %d restarts after the drill of %s, want %d", d.name, s.Name, s.Restarts, slot, want)
				}
			}
			k.flows(t, n.alice, n.bob)
		}
	}
	stop()
	talkers.Wait()
	for _, err := range k.refused {
		t.Errorf("not acknowledged: %v", err)
	}
	k.arrivedOnce(t)
	for _, p := range []*party{n.alice, n.bob, n.relay} {
		for _, s := range p.kernel.Status() {
			if s.State != kernel.Running || s.Degraded {
				t.Errorf("%s is %s: %s", s.Name, s.State, s.Reason)
			}
		}
	}
}

// breakLayer has a layer panic and waits until it runs again.
func breakLayer(t *testing.T, name string, p *party, slot string) {
	t.Helper()
	begin := time.Now()
	if !p.stack.Drill(slot) {
		t.Fatalf("%s: there is no %s", name, slot)
	}
	eventually(t, name+"'s "+slot, func() bool {
		for _, s := range p.kernel.Status() {
			if s.Name == slot {
				return s.Restarts == 1 && s.State == kernel.Running
			}
		}
		return false
	})
	if took := time.Since(begin); took > backWithin {
		t.Errorf("%s: %s runs again after %v, want %v", name, slot, took, backWithin)
	}
}

// arrivedOnce waits until all messages have arrived, and checks that none has
// twice.
func (k *talk) arrivedOnce(t *testing.T) {
	t.Helper()
	counts := func(p *party, public bool) map[string]int {
		chat := payload.ChatID(channel)
		for _, s := range k.said {
			if s.to == p && !public {
				chat = s.from.key()
			}
		}
		c, err := p.texts(context.Background(), chat, false)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	type box struct {
		of     *party
		public bool
	}
	boxes := map[box]map[string]int{}
	lost := func() (all []*saying) {
		clear(boxes)
		for _, s := range k.said {
			b := box{s.to, s.public}
			if boxes[b] == nil {
				boxes[b] = counts(s.to, s.public)
			}
			if s.acked && !s.perhaps && boxes[b][s.text] == 0 {
				all = append(all, s)
			}
		}
		return all
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := await(ctx, "all messages", func() (bool, error) { return len(lost()) == 0, nil }); err != nil {
		for _, s := range lost() {
			t.Errorf("lost: %q, public %t", s.text, s.public)
		}
	}
	perhaps := 0
	for _, s := range k.said {
		if c := boxes[box{s.to, s.public}][s.text]; c > 1 {
			t.Errorf("%q arrived %d times", s.text, c)
		}
		if s.perhaps {
			perhaps++
		}
	}
	t.Logf("%d messages said, %d of them under way while the relay forgot", len(k.said), perhaps)
}
