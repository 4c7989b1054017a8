package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/kernel/store"
	"github.com/stratanode/strata/layers/payload"
)

func TestFullDiskHoldsMessagesUntilThereIsRoom(t *testing.T) {
	t.Parallel()
	const callTimeout = time.Second
	relay := start(t, fmt.Sprintf(relayText, "127.0.0.1:0"), bootOptions{})
	text := fmt.Sprintf(clientText, relay.enode(t))
	var full atomic.Bool
	alice := start(t, strings.Replace(text, "call_timeout: 30s", "call_timeout: 1s", 1), bootOptions{
		wrap: func(s actors.Store) actors.Store {
			return faultyStore{s, func(commit func() error) error {
				if full.Load() {
					return fmt.Errorf("test: %w", store.ErrFull)
				}
				return commit()
			}}
		},
	}, "cannot save; will try again")
	bob := start(t, text, bootOptions{})
	relay.linked(t, 2)
	say := func(p *party, chat payload.ChatID, text string) error {
		_, err := p.api.Say(t.Context(), chat, text)
		return err
	}
	arrives := func(p, from *party, text string) {
		t.Helper()
		eventually(t, fmt.Sprintf("%q", text), func() bool {
			found, err := find(t.Context(), p.api, from.key(), text)
			return err == nil && len(found) > 0
		})
	}
	if err := errors.Join(say(alice, bob.key(), "before"), say(bob, alice.key(), "hello")); err != nil {
		t.Fatal(err)
	}
	arrives(bob, alice, "before")
	arrives(alice, bob, "hello")

	full.Store(true)
	begin := time.Now()
	err := say(alice, bob.key(), "held")
	if took := time.Since(begin); !errors.Is(err, rpc.ErrTimeout) || !strings.Contains(err.Error(), store.ErrFull.Error()) || took > 10*callTimeout {
		t.Errorf("on a full disk say returns %v after %v, want a timeout that names the reason after %v", err, took, callTimeout)
	}
	if err := say(bob, alice.key(), "meanwhile"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the degradation", func() bool { return !alice.kernel.Healthy() })
	st, err := alice.api.Status(t.Context())
	if err != nil || st.Healthy || !strings.Contains(strings.Join(st.Reasons, "\n"), "payload is degraded: ") ||
		!strings.Contains(strings.Join(st.Reasons, "\n"), store.ErrFull.Error()) {
		t.Errorf("status: %t, %q, %v", st.Healthy, st.Reasons, err)
	}
	code, out, errOut := command(t, "status", "--data-dir", alice.config.DataDir)
	if code != exitFailed || !strings.Contains(out, "degraded") || !strings.Contains(errOut, store.ErrFull.Error()) {
		t.Errorf("strata status: code %d, %s%s", code, out, errOut)
	}
	for _, s := range st.Layers {
		if s.Restarts > 0 {
			t.Errorf("%s was restarted %d times", s.Name, s.Restarts)
		}
	}

	full.Store(false)
	arrives(bob, alice, "held")
	arrives(alice, bob, "meanwhile")
	eventually(t, "good health", alice.kernel.Healthy)
	if err := errors.Join(say(alice, bob.key(), "after"), say(bob, alice.key(), "bye")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, text := range []string{"before", "held", "after"} {
		if err := reaches(ctx, alice.api, bob.key(), text, payload.Delivered); err != nil {
			t.Error(err)
		}
	}
	if err := reaches(ctx, bob.api, alice.key(), "bye", payload.Delivered); err != nil {
		t.Error(err)
	}
	once(t, bob, alice.key(), "before", "held", "after")
	once(t, alice, bob.key(), "hello", "meanwhile", "bye")
	alice.healthy(t)
}

// once fails the test unless p has received exactly these texts in a chat, each
// once.
func once(t *testing.T, p *party, chat payload.ChatID, want ...string) {
	t.Helper()
	got, err := p.texts(t.Context(), chat, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range want {
		if got[text] != 1 {
			t.Errorf("%q was received %d times", text, got[text])
		}
	}
	if len(got) != len(want) {
		t.Errorf("received %v, want %q", got, want)
	}
}
