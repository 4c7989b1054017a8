//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stratanode/strata/actors/edge/plugin"
	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers/payload"
)

const (
	// answerWithin is how soon a node answers, whatever its transport does.
	answerWithin = 5 * time.Second

	// stopWithin is how soon a node ends, whatever its transport does: 2 s for
	// its Close, and then some.
	stopWithin = 20 * time.Second

	// canary is a secret of the node: it stands in its environment, in files of
	// its data folder and beside it, and no plugin may get to know it.
	canary = "yellow-bird-in-the-mine"
)

// besieged is a node in a process of its own whose transport is hostile.
type besieged struct {
	dir   string // of the node's data
	token string // in the command line of every process of the plugin
	cmd   *exec.Cmd
	log   string // file
	ended chan struct{}
	api   *rpc.Client
	base  int64 // bytes of memory of the node when it was up

	unwatch func()

	mu     sync.Mutex
	faults []string
}

// siegeText is the configuration of a client with a plugin. The log is JSON, so
// that records can be told from what a plugin puts into them.
const siegeText = `
store: {key: file}
log: {level: debug, format: json}
api: {call_timeout: 10s}
layers:
  transport: {use: plugin, settings: {command: [%q, %q, %q], %s}}
  envelope: {use: whisper}
  secure: {use: ratchet}
  datasync: {use: mvds, settings: {retransmit_after: 300ms, retransmit_max: 1s}}
  payload: {use: status}
`

// besiege runs a node with a hostile transport and waits until it is up.
func besiege(t *testing.T, program, name, settings string) *besieged {
	t.Helper()
	s := invest(t, program, name, settings)
	eventually(t, "the node", func() bool {
		select {
		case <-s.ended:
			t.Fatalf("the node has ended: %s", s.said(t))
		default:
		}
		if s.api == nil {
			api, err := rpc.Dial(t.Context(), s.dir)
			if err != nil {
				return false
			}
			s.api = api
			t.Cleanup(api.Close)
		}
		st, err := s.api.Status(t.Context())
		return err == nil && !slices.ContainsFunc(st.Layers, func(l rpc.Layer) bool { return l.State == kernel.Starting })
	})
	s.base = s.memory(t, "VmRSS")
	s.watch(t)
	return s
}

// invest starts the node and does not wait for it. The test fails if a process
// of the plugin is left at its end.
func invest(t *testing.T, program, name, settings string) *besieged {
	t.Helper()
	dir := shortDir(t)
	s := &besieged{
		dir: filepath.Join(dir, "data"), log: filepath.Join(dir, "log"),
		token: "siege-" + filepath.Base(dir), ended: make(chan struct{}),
	}
	for _, path := range []string{s.others("secret"), filepath.Join(s.dir, "notes"), filepath.Join(dir, "outside")} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, path, canary)
	}
	config := write(t, filepath.Join(dir, "node.yaml"), fmt.Sprintf(siegeText, program, name, s.token, settings))
	log, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s.cmd, _, _ = asStrata(context.Background(), "run", "-c", config, "--data-dir", s.dir)
	s.cmd.Env = append(s.cmd.Env, "NODE_SECRET="+canary)
	s.cmd.Stdout, s.cmd.Stderr = nil, log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		// How it ended is asked of its state.
		_ = s.cmd.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.ended
		for _, pid := range processesOf(t, s.token) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return s
}

// others returns the path of a file of another plugin.
func (s *besieged) others(name string) string {
	return filepath.Join(s.dir, "plugins", "transport", "another", name)
}

// fault notes what must not be.
func (s *besieged) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) < 10 {
		s.faults = append(s.faults, fmt.Sprintf(format, args...))
	}
}

// watch asks the node all the time how it is, until unwatch.
func (s *besieged) watch(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(2 * lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			begin := time.Now()
			st, err := s.api.Status(ctx)
			if ctx.Err() != nil {
				return
			}
			if took := time.Since(begin); err != nil || took > answerWithin {
				s.fault("status took %v: %v", took, err)
				continue
			}
			for _, l := range st.Layers {
				if l.Name != string(transportSlot) && (l.State != kernel.Running || l.Restarts > 0 || l.Degraded) {
					s.fault("%s is %s after %d restarts, degraded %t: %s", l.Name, l.State, l.Restarts, l.Degraded, l.Reason)
				}
			}
		}
	}()
	s.unwatch = func() { cancel(); <-done }
	t.Cleanup(s.unwatch)
}

// transport returns how the transport slot is.
func (s *besieged) transport(t *testing.T) (rpc.Layer, plugin.Description) {
	t.Helper()
	return transportOf(t, s.api)
}

func transportOf(t *testing.T, api *rpc.Client) (rpc.Layer, plugin.Description) {
	t.Helper()
	st, err := api.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range st.Layers {
		if l.Name != string(transportSlot) {
			continue
		}
		var d plugin.Description
		b, err := json.Marshal(l.About)
		if err == nil {
			err = json.Unmarshal(b, &d)
		}
		if err != nil {
			t.Fatal(err)
		}
		return l, d
	}
	t.Fatal("there is no transport")
	return rpc.Layer{}, plugin.Description{}
}

// says has the user of the node say something to somebody, and returns it.
func (s *besieged) says(t *testing.T, chat payload.ChatID, text string) payload.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	m, err := s.api.Say(ctx, chat, text)
	if err != nil {
		t.Fatalf("%q is not accepted: %v", text, err)
	}
	return m
}

// stop asks the node to end, and fails the test if it does not do so in good
// order, or if anything of the plugin is left.
func (s *besieged) stop(t *testing.T) {
	t.Helper()
	s.unwatch()
	begin := time.Now()
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatalf("the node has ended by itself: %v: %s", err, s.said(t))
	}
	select {
	case <-s.ended:
	case <-time.After(stopWithin):
		t.Fatalf("the node does not end within %v", stopWithin)
	}
	if !s.cmd.ProcessState.Success() {
		t.Errorf("the node ends with %v: %s", s.cmd.ProcessState, s.said(t))
	}
	s.noneLeft(t, begin)
}

// said returns the end of the node's log.
func (s *besieged) said(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(s.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[max(0, len(b)-2000):])
}

// buildHostile builds the hostile plugins.
func buildHostile(t *testing.T) string {
	t.Helper()
	program := filepath.Join(shortDir(t), "hostile")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./testdata/hostile")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}
