package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/layers/payload"
	"github.com/stratanode/strata/layers/secure"
)

// ears know what a node was told, without asking it again and again.
type ears struct {
	mu       sync.Mutex
	received map[payload.ChatID]map[string]bool // texts by chat
	statuses map[payload.MessageID]payload.Status
}

// listen subscribes to all that p reports, until its connection ends.
func listen(t *testing.T, p *party) *ears {
	t.Helper()
	e := &ears{received: map[payload.ChatID]map[string]bool{}, statuses: map[payload.MessageID]payload.Status{}}
	messages, errM := p.api.Messages(t.Context())
	statuses, errS := p.api.Statuses(t.Context())
	if err := errors.Join(errM, errS); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []*rpc.Subscription{messages, statuses} {
		go func() {
			for {
				n, err := sub.Next(context.Background())
				if err != nil {
					return
				}
				e.hear(n)
			}
		}()
	}
	return e
}

func (e *ears) hear(n rpc.Notice) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if m := n.Message; m != nil {
		if e.received[m.Chat] == nil {
			e.received[m.Chat] = map[string]bool{}
		}
		e.received[m.Chat][m.Text] = true
	}
	if s := n.Status; s != nil {
		e.statuses[s.ID] = s.Status
	}
}

func (e *ears) has(chat payload.ChatID, text string) func() bool {
	return func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.received[chat][text]
	}
}

func (e *ears) delivered(id payload.MessageID) func() bool {
	return func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.statuses[id] == payload.Delivered
	}
}

func (v *victim) reaches(ctx context.Context, chat payload.ChatID, text string, least payload.Status) error {
	return v.do(func(api *rpc.Client, _ bool) error { return reaches(ctx, api, chat, text, least) })
}

// crash is one play of the script: alice ends at one commit of hers.
type crash struct {
	bob       *party
	ears      *ears  // of bob
	aliceText string // configuration
	commit    int
	after     bool
}

// play returns how many commits alice made if she survived it, else 0.
func (c crash) play(ctx context.Context) (commits int, err error) {
	dir, err := os.MkdirTemp("", "strata")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	dir = filepath.Join(dir, "alice")
	if err := os.WriteFile(dir+".yaml", []byte(c.aliceText), 0o600); err != nil {
		return 0, err
	}
	v, err := startVictim(ctx, dir, dir+".yaml", c.commit, c.after)
	if v != nil {
		defer v.end()
	}
	if err != nil {
		return 0, err
	}
	room := payload.ChatID(fmt.Sprintf("crash-%d-%t", c.commit, c.after))
	if err := c.bob.api.Join(ctx, secure.Channel(room)); err != nil {
		return 0, err
	}
	alice, err := c.script(ctx, v, room)
	if err != nil {
		return 0, err
	}
	if v.cmd != nil {
		if commits, err = v.finish(); err != nil || commits > 0 {
			return commits, err
		}
	}
	if err := c.goOn(ctx, v.again, alice, room); err != nil {
		return 0, err
	}
	return 0, errors.Join(c.bob.api.Leave(ctx, room), c.bob.api.Leave(ctx, alice))
}

// script is the conversation: two private messages each way and a public one.
// It returns alice's private chat as bob names it.
func (c crash) script(ctx context.Context, v *victim, room payload.ChatID) (alice payload.ChatID, err error) {
	bob := c.bob.key()
	said := map[string]payload.MessageID{} // by bob
	bobSays := func(chat payload.ChatID, text string) error {
		m, err := c.bob.api.Say(ctx, chat, text)
		said[text] = m.ID
		return err
	}
	steps := []func() error{
		func() error {
			return v.do(func(api *rpc.Client, _ bool) error {
				return await(ctx, "alice's key", func() (bool, error) {
					id, err := api.Identity(ctx) // empty until the layers have told
					alice = payload.ChatID(id.ChatKey.String())
					return !id.ChatKey.IsZero(), err
				})
			})
		},
		func() error {
			return v.do(func(api *rpc.Client, _ bool) error { return api.Join(ctx, secure.Channel(room)) })
		},
		func() error { return v.say(ctx, bob, "a1") },
		func() error { return v.meanwhile(ctx, "a1", c.ears.has(alice, "a1")) },
		func() error { return bobSays(alice, "b1") },
		func() error { return bobSays(alice, "b2") },
		func() error { return v.say(ctx, bob, "a2") },
		func() error { return v.reaches(ctx, bob, "b1", payload.Incoming) },
		func() error { return v.say(ctx, room, "a3") },
		func() error { return bobSays(room, "b3") },
		func() error { return v.reaches(ctx, bob, "a1", payload.Delivered) },
		func() error { return v.reaches(ctx, bob, "a2", payload.Delivered) },
		func() error { return v.reaches(ctx, room, "a3", payload.Relayed) },
		func() error { return v.reaches(ctx, bob, "b2", payload.Incoming) },
		func() error { return v.reaches(ctx, room, "b3", payload.Incoming) },
		func() error { return v.meanwhile(ctx, "b1 delivered", c.ears.delivered(said["b1"])) },
		func() error { return v.meanwhile(ctx, "b2 delivered", c.ears.delivered(said["b2"])) },
		func() error { return v.meanwhile(ctx, "a3", c.ears.has(room, "a3")) },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			return alice, fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return alice, nil
}

// goOn checks that after the restart the conversation goes on and that nothing
// is missing or doubled.
func (c crash) goOn(ctx context.Context, v *party, alice, room payload.ChatID) error {
	bob := c.bob.key()
	_, errA := v.api.Say(ctx, bob, "a4")
	_, errB := c.bob.api.Say(ctx, alice, "b4")
	if err := errors.Join(errA, errB,
		reaches(ctx, v.api, bob, "a4", payload.Delivered),
		reaches(ctx, c.bob.api, alice, "b4", payload.Delivered)); err != nil {
		return fmt.Errorf("after the restart: %w", err)
	}
	var errs []error
	for _, box := range []struct {
		name string
		of   *party
		chat payload.ChatID
		own  bool
		want []string
	}{
		{"alice received", v, bob, false, []string{"b1", "b2", "b4"}},
		{"alice received in public", v, room, false, []string{"b3"}},
		{"alice said", v, bob, true, []string{"a1", "a2", "a4"}},
		{"alice said in public", v, room, true, []string{"a3"}},
		{"bob received", c.bob, alice, false, []string{"a1", "a2", "a4"}},
		{"bob received in public", c.bob, room, false, []string{"a3"}},
	} {
		got, err := box.of.texts(ctx, box.chat, box.own)
		want := map[string]int{}
		for _, text := range box.want {
			want[text] = 1
		}
		if err != nil || !maps.Equal(got, want) {
			errs = append(errs, fmt.Errorf("%s %v, %w, want each of %v once", box.name, got, err, box.want))
		}
	}
	for _, s := range v.kernel.Status() {
		if s.Restarts > 0 || s.Degraded {
			errs = append(errs, fmt.Errorf("%s restarted %d times: %s", s.Name, s.Restarts, s.Reason))
		}
	}
	for _, line := range v.log.unexpected() {
		errs = append(errs, fmt.Errorf("alice logged: %s", line))
	}
	return errors.Join(errs...)
}

// TestNothingIsLostWhereverTheProcessStops ends alice before and after each
// durable write of a conversation, and starts her again.
func TestNothingIsLostWhereverTheProcessStops(t *testing.T) {
	t.Parallel()
	relay := start(t, fmt.Sprintf(relayText, "127.0.0.1:0"), bootOptions{})
	text := fmt.Sprintf(clientText, relay.enode(t))
	seen := &keyWatch{used: map[string][]byte{}}
	bob := start(t, text, bootOptions{over: seen.stand})
	relay.linked(t, 1)
	ears := listen(t, bob)
	for _, after := range []bool{false, true} {
		begin := time.Now()
		var (
			mu      sync.Mutex
			next    = 1
			commits int // of a play in which alice survived
			workers sync.WaitGroup
		)
		for range victimsAtOnce {
			workers.Go(func() {
				for {
					mu.Lock()
					c := crash{bob, ears, text, next, after}
					next++
					enough := commits > 0 || t.Failed()
					mu.Unlock()
					if enough {
						return
					}
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					survived, err := c.play(ctx)
					cancel()
					if err != nil {
						t.Errorf("commit %d, after it: %t: %v", c.commit, after, err)
					}
					mu.Lock()
					commits = max(commits, survived)
					mu.Unlock()
				}
			})
		}
		workers.Wait()
		t.Logf("stopped after commit: %t: %d plays in %v, about %d commits each", after, next-1, time.Since(begin).Round(time.Millisecond), commits)
		if commits == 0 {
			t.Fatal("alice never survived the script")
		}
	}
	seen.report(t)
}
