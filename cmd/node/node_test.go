package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/kernel/store"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/payload"
	"github.com/stratanode/strata/plugins/host"
)

// actEnv makes a process of the test binary act as something else.
const (
	actEnv      = "STRATA_TEST_ACT"
	actAsStrata = "strata" // the program itself
	actAsVictim = "victim" // a node that ends before or after a commit
	patience    = time.Minute
	lookEvery   = 20 * time.Millisecond
)

// TestMain fails if a goroutine is left. Exempt are two that end by themselves
// within a second: one of the store that go-ethereum keeps node records in, after
// that was closed, and one of the dead letters of protoactor.
func TestMain(m *testing.M) {
	host.Shim()
	if serveBuiltin(os.Args[1:]) || serveEndless(os.Args[1:]) { // a node under test runs a transport as a process
		return
	}
	switch os.Getenv(actEnv) {
	case actAsStrata:
		main()
	case actAsVictim:
		runVictim()
	default:
		goleak.VerifyTestMain(m,
			goleak.IgnoreTopFunction("github.com/syndtr/goleveldb/leveldb.(*DB).mpoolDrain"),
			goleak.IgnoreTopFunction("github.com/asynkron/protoactor-go/actor.NewDeadLetter.NewThrottle.func4.1"),
		)
	}
}

// asStrata returns a process of the program. Its standard input is empty and no
// terminal, and it inherits no passphrase.
func asStrata(ctx context.Context, args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "STRATA_") })
	cmd.Env = append(cmd.Env, actEnv+"="+actAsStrata)
	cmd.SysProcAttr = diesWithParent()
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	return cmd, &out, &errOut
}

// runStrata runs the program as a process of its own.
func runStrata(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd, o, e := asStrata(ctx, args...)
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

// command runs the program's command tree in this process.
func command(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	root := newRootCommand()
	var o, e bytes.Buffer
	root.SetOut(&o)
	root.SetErr(&e)
	root.SetIn(strings.NewReader(""))
	root.SetArgs(args)
	code = execute(t.Context(), root)
	return code, o.String(), e.String()
}

// shortDir returns a folder whose path leaves room for that of a socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "strata")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// write makes a file and returns its path.
func write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// configured returns what a configuration text means, with its data in dir.
func configured(dir, text string) (kernel.Config, error) {
	f, err := os.CreateTemp("", "strata*.yaml")
	if err != nil {
		return kernel.Config{}, err
	}
	defer os.Remove(f.Name())
	if _, err := f.WriteString(text); err != nil {
		return kernel.Config{}, err
	}
	if err := f.Close(); err != nil {
		return kernel.Config{}, err
	}
	return (&fileFlags{files: []string{f.Name()}, dataDir: dir}).load()
}

// relayText is the configuration of a relay that listens at an address, and
// clientText that of a client of the relay with an enode. Pauses are short and
// envelopes live long, for the sake of the tests.
const (
	relayText = `
store: {key: file}
layers:
  overlay: {use: devp2p, settings: {listen: "%s"}}
  transport: {use: whisper, settings: {interest: everything}}
`
	clientText = `
store: {key: file}
api: {call_timeout: 30s}
layers:
  overlay: {use: devp2p, settings: {inbound: false, static_nodes: ["%s"]}}
  transport: {use: whisper, settings: {interest: subscribed, ttl: 2m}}
  envelope: {use: whisper}
  secure: {use: ratchet}
  datasync: {use: mvds, settings: {retransmit_after: 300ms, retransmit_max: 1s}}
  payload: {use: status}
`
)

// party is a node in this process with a connection to its API.
type party struct {
	*node
	api *rpc.Client
	log *watchedLog
}

// start boots a node. It is stopped when the test ends, and the test fails if it
// has logged a warning that was not expected.
func start(t testing.TB, text string, o bootOptions, expected ...string) *party {
	t.Helper()
	return startIn(t, shortDir(t), text, o, expected...)
}

func startIn(t testing.TB, dir, text string, o bootOptions, expected ...string) *party {
	t.Helper()
	cfg, err := configured(dir, text)
	if err != nil {
		t.Fatal(err)
	}
	p, err := bootParty(cfg, store.FileKey(), o, expected...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.stop()
		for _, line := range p.log.unexpected() {
			t.Errorf("%s logged: %s", dir, line)
		}
	})
	return p
}

func bootParty(cfg kernel.Config, key store.Key, o bootOptions, expected ...string) (*party, error) {
	p := &party{log: &watchedLog{expected: expected}}
	var err error
	if p.node, err = boot(cfg, key, slog.New(p.log), o); err != nil {
		return nil, err
	}
	if p.api, err = rpc.Dial(context.Background(), p.server.IPCPath()); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *party) stop() {
	p.api.Close()
	p.close()
}

// key is the private chat with the party.
func (p *party) key() payload.ChatID { return payload.ChatID(p.keys.identity.Public().String()) }

func (p *party) enode(t testing.TB) string {
	t.Helper()
	id, err := p.server.Self(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return id.Enode
}

// history returns the whole history of a chat, newest first.
func (p *party) history(ctx context.Context, chat payload.ChatID) ([]payload.Message, error) {
	var all []payload.Message
	for q := (rpc.Query{Chat: chat, Limit: 1000}); ; {
		page, err := p.api.History(ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Messages...)
		if page.Next == "" {
			return all, nil
		}
		q.Before = page.Next
	}
}

// texts counts the messages of a chat by text: own ones, or those of others.
func (p *party) texts(ctx context.Context, chat payload.ChatID, own bool) (map[string]int, error) {
	all, err := p.history(ctx, chat)
	counts := map[string]int{}
	for _, m := range all {
		if m.Own == own {
			counts[m.Text]++
		}
	}
	return counts, err
}

// linked waits until the party has a number of links.
func (p *party) linked(t testing.TB, links int) {
	t.Helper()
	eventually(t, fmt.Sprint(links, " links"), func() bool {
		s, err := p.api.Status(context.Background())
		return err == nil && s.Peers >= links
	})
}

// healthy fails the test unless every layer runs well and none was restarted.
func (p *party) healthy(t testing.TB) {
	t.Helper()
	for _, s := range p.kernel.Status() {
		if s.State != kernel.Running || s.Degraded || s.Restarts > 0 {
			t.Errorf("%s is %s after %d restarts, degraded %t: %s", s.Name, s.State, s.Restarts, s.Degraded, s.Reason)
		}
	}
}

// trio is a relay and two clients of it that are in one public chat.
type trio struct{ relay, alice, bob *party }

const channel = "strata-test"

func startTrio(t testing.TB, expected ...string) trio {
	t.Helper()
	relay := start(t, fmt.Sprintf(relayText, freeAddress(t)), bootOptions{}, expected...)
	text := fmt.Sprintf(clientText, relay.enode(t))
	n := trio{relay, start(t, text, bootOptions{}, expected...), start(t, text, bootOptions{}, expected...)}
	for _, p := range []*party{n.alice, n.bob} {
		if err := p.api.Join(t.Context(), channel); err != nil {
			t.Fatal(err)
		}
	}
	relay.linked(t, 2)
	return n
}

// freeAddress returns an address that a node can listen at over its restarts.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// await waits until cond holds or fails.
func await(ctx context.Context, what string, cond func() (bool, error)) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		ok, err := cond()
		if ok {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s: %w", what, ctx.Err())
		}
	}
}

// eventually waits until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := await(ctx, what, func() (bool, error) { return cond(), nil }); err != nil {
		t.Fatal(err)
	}
}

// watchedLog keeps what is logged above info.
type watchedLog struct {
	expected []string // messages that are no fault

	mu    sync.Mutex
	lines []string
}

// Enabled implements slog.Handler.
func (l *watchedLog) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn
}

// WithAttrs implements slog.Handler.
func (l *watchedLog) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements slog.Handler.
func (l *watchedLog) WithGroup(string) slog.Handler { return l }

// Handle implements slog.Handler.
func (l *watchedLog) Handle(_ context.Context, r slog.Record) error {
	if slices.Contains(l.expected, r.Message) {
		return nil
	}
	line := r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	return nil
}

func (l *watchedLog) unexpected() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

// faultyStore is a store whose commits pass through around.
type faultyStore struct {
	actors.Store
	around func(commit func() error) error
}

// Namespace implements actors.Store.
func (s faultyStore) Namespace(name string) actors.Records {
	return faultyRecords{s.Store.Namespace(name), s.around}
}

type faultyRecords struct {
	actors.Records
	around func(commit func() error) error
}

// Commit implements actors.Records.
func (r faultyRecords) Commit(records []layers.Record) error {
	return r.around(func() error { return r.Records.Commit(records) })
}
