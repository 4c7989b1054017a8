package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stratanode/strata/actors/edge/plugin"
	"github.com/stratanode/strata/kernel"
)

// killedText is the configuration of a client whose transport is a process, and
// which talks to one peer.
const killedText = `
store: {key: file}
api: {call_timeout: 30s}
layers:
  transport: {use: udp, settings: {process: true, config: {listen: %q, peers: [%q]}}}
  envelope: {use: whisper}
  secure: {use: ratchet}
  datasync: {use: mvds, settings: {retransmit_after: 300ms, retransmit_max: 1s}}
  payload: {use: status}
`

// TestKilledPluginLosesNothing kills the plugin of a node five times while both
// nodes talk, wherever the messages are just then.
func TestKilledPluginLosesNothing(t *testing.T) {
	t.Parallel()
	at := freeUDPs(t, 2)
	alice := start(t, fmt.Sprintf(killedText, at[0], at[1]), bootOptions{}, "layer broken", "crashed")
	bob := start(t, fmt.Sprintf(killedText, at[1], at[0]), bootOptions{})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	k := &talk{ctx: ctx, byText: map[string]*saying{}}
	k.hear(t, alice)
	k.hear(t, bob)
	var talkers sync.WaitGroup
	talkers.Go(func() { k.whisper(alice, bob, "alice") })
	talkers.Go(func() { k.whisper(bob, alice, "bob") })
	k.flows(t, alice, bob)
	for i := range 5 {
		took := alice.killPlugin(t, i+1) // how soon it should be is measured by BenchmarkPluginKilled
		t.Logf("the transport is open again %v after kill %d", took.Round(time.Millisecond), i+1)
		k.flows(t, alice, bob)
	}
	stop()
	talkers.Wait()
	for _, err := range k.refused {
		t.Errorf("not acknowledged: %v", err)
	}
	k.arrivedOnce(t)
	bob.healthy(t)
}

// whisperEvery is the pause between two private messages of each side.
const whisperEvery = 10 * time.Millisecond

// whisper has p say private messages to other.
func (k *talk) whisper(p, other *party, name string) {
	tick := time.NewTicker(whisperEvery)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-k.ctx.Done():
			return
		}
		k.say(&saying{from: p, to: other, chat: other.key(), text: fmt.Sprint(name, " ", i)})
	}
}

// killPlugin ends the process of the party's transport with SIGKILL, for the
// n-th time, and waits until another one is open. A back-off is cut short.
func (p *party) killPlugin(t *testing.T, n int) time.Duration {
	t.Helper()
	transport := func() plugin.Description {
		return p.residents.plugin("transport").Describe()
	}
	process, err := os.FindProcess(transport().PID)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	var took time.Duration
	eventually(t, fmt.Sprint("life ", n+1, " of the transport"), func() bool {
		for _, s := range p.kernel.Status() {
			if s.Name == "transport" && s.State == kernel.Backoff {
				p.kernel.Hurry("transport")
			}
		}
		d := transport()
		if took = time.Since(begin); d.Lives < n+1 || !d.Open {
			return false
		}
		if !strings.Contains(d.LastError, "killed") {
			t.Errorf("kill %d: the last error is %q", n, d.LastError)
		}
		return true
	})
	return took
}
