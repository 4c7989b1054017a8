package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/kernel/store"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/payload"
	"github.com/stratanode/strata/layers/secure"
)

// How a victim is told what to do.
const (
	victimDirEnv    = "STRATA_TEST_DIR"    // its data folder
	victimConfigEnv = "STRATA_TEST_CONFIG" // its configuration file
	victimCommitEnv = "STRATA_TEST_COMMIT" // the number of the commit it ends at
	victimAfterEnv  = "STRATA_TEST_AFTER"  // set: behind that commit instead of before it
)

// exitCrashed is the exit code of a victim that ended where it should.
const exitCrashed = 3

// victimsAtOnce is how many run at the same time: they wait most of the time.
const victimsAtOnce = 8

// runVictim is a node that ends, as by a power cut, at one commit of its layers.
// It says when it is up, and stops in order when its standard input ends.
func runVictim() {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitFailed)
	}
	cfg, err := (&fileFlags{files: []string{os.Getenv(victimConfigEnv)}, dataDir: os.Getenv(victimDirEnv)}).load()
	if err != nil {
		fail(err)
	}
	last, err := strconv.ParseInt(os.Getenv(victimCommitEnv), 10, 64)
	if err != nil {
		fail(err)
	}
	after := os.Getenv(victimAfterEnv) != ""
	var commits atomic.Int64
	n, err := boot(cfg, store.FileKey(), slog.New(slog.NewTextHandler(io.Discard, nil)), bootOptions{
		wrap: func(s actors.Store) actors.Store {
			return faultyStore{s, func(commit func() error) error {
				due := commits.Add(1) == last
				if due && !after {
					os.Exit(exitCrashed)
				}
				err := commit()
				if due {
					os.Exit(exitCrashed)
				}
				return err
			}}
		},
	})
	if err != nil {
		fail(err)
	}
	fmt.Println("up")
	_, _ = io.Copy(io.Discard, os.Stdin)
	n.close()
	fmt.Println(commits.Load())
	os.Exit(exitOK)
}

// victim is alice: at first a process that ends at a commit, then a node in this
// process that has her data folder.
type victim struct {
	dir   string
	api   *rpc.Client
	cmd   *exec.Cmd // nil: the process has ended
	stdin io.Closer
	out   *bufio.Reader
	again *party
}

func startVictim(ctx context.Context, dir, config string, commit int, after bool) (*victim, error) {
	v := &victim{dir: dir, cmd: exec.CommandContext(ctx, os.Args[0])}
	v.cmd.Env = append(os.Environ(), actEnv+"="+actAsVictim, victimDirEnv+"="+dir, victimConfigEnv+"="+config,
		victimCommitEnv+"="+strconv.Itoa(commit))
	if after {
		v.cmd.Env = append(v.cmd.Env, victimAfterEnv+"=1")
	}
	v.cmd.SysProcAttr = diesWithParent()
	v.cmd.Stderr = os.Stderr
	var err error
	if v.stdin, err = v.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	v.out = bufio.NewReader(out)
	if err := v.cmd.Start(); err != nil {
		return nil, err
	}
	if line, err := v.out.ReadString('\n'); err != nil || line != "up\n" {
		return v, v.revive() // it was not to come up
	}
	if v.api, err = rpc.Dial(ctx, filepath.Join(dir, rpc.SocketName)); err != nil {
		return v, v.revive()
	}
	return v, nil
}

// revive waits for the end of the process, which must be the one it was told,
// and starts the node without a fault.
func (v *victim) revive() error {
	if v.api != nil {
		v.api.Close()
		v.api = nil
	}
	v.stdin.Close()
	_, _ = io.Copy(io.Discard, v.out)
	err := v.cmd.Wait()
	code := v.cmd.ProcessState.ExitCode()
	v.cmd = nil
	if code != exitCrashed {
		return fmt.Errorf("alice ended with %d: %w", code, err)
	}
	cfg, err := (&fileFlags{files: []string{v.config()}, dataDir: v.dir}).load()
	if err != nil {
		return err
	}
	if v.again, err = bootParty(cfg, store.FileKey(), bootOptions{}); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	v.api = v.again.api
	return nil
}

func (v *victim) config() string { return v.dir + ".yaml" }

// finish stops the process in order. It returns how many commits there were, or
// revives it if it ended at its commit just now.
func (v *victim) finish() (commits int, err error) {
	v.stdin.Close()
	rest, err := io.ReadAll(v.out)
	if err != nil {
		return 0, err
	}
	if commits, err = strconv.Atoi(string(bytes.TrimSpace(rest))); err != nil {
		return 0, v.revive()
	}
	v.api.Close()
	v.api = nil
	err = v.cmd.Wait()
	v.cmd = nil
	return commits, err
}

// end leaves nothing of alice.
func (v *victim) end() {
	if v.cmd != nil {
		_ = v.cmd.Process.Kill()
		_ = v.cmd.Wait()
	}
	if v.again != nil {
		v.again.stop()
	} else if v.api != nil {
		v.api.Close()
	}
}

// do calls f with alice's API. If she ends meanwhile it is called once more,
// with retry set, after her restart.
func (v *victim) do(f func(api *rpc.Client, retry bool) error) error {
	err := f(v.api, false)
	if err == nil || v.cmd == nil || !errors.Is(err, rpc.ErrGone) {
		return err
	}
	if err := v.revive(); err != nil {
		return err
	}
	return f(v.api, true)
}

// say has alice say a text once, whatever becomes of the call.
func (v *victim) say(ctx context.Context, chat payload.ChatID, text string) error {
	return v.do(func(api *rpc.Client, retry bool) error {
		if retry {
			if m, err := find(ctx, api, chat, text); err != nil || len(m) > 0 {
				return err
			}
		}
		_, err := api.Say(ctx, chat, text)
		return err
	})
}

// find returns the messages with a text, own or not. A chat that is not there
// yet has none.
func find(ctx context.Context, api *rpc.Client, chat payload.ChatID, text string) ([]payload.Message, error) {
	page, err := api.History(ctx, rpc.Query{Chat: chat, Limit: 1000})
	if errors.Is(err, rpc.ErrRefused) {
		return nil, nil
	}
	return slices.DeleteFunc(page.Messages, func(m payload.Message) bool { return m.Text != text }), err
}

// reaches waits until a message is in a chat with at least a status.
func reaches(ctx context.Context, api *rpc.Client, chat payload.ChatID, text string, least payload.Status) error {
	return await(ctx, fmt.Sprintf("%q to be %v", text, least), func() (bool, error) {
		found, err := find(ctx, api, chat, text)
		return len(found) > 0 && found[0].Status >= least, err
	})
}

// meanwhile waits for something at bob while alice is watched: she must not stay
// dead.
func (v *victim) meanwhile(ctx context.Context, what string, cond func() bool) error {
	return await(ctx, what+" at bob", func() (bool, error) {
		return cond(), v.do(func(api *rpc.Client, _ bool) error { _, err := api.Version(ctx); return err })
	})
}

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
				id, err := api.Identity(ctx)
				alice = payload.ChatID(id.ChatKey.String())
				return err
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

// keyWatch looks into what bob's envelope layer opens: no message key may ever
// be used for two messages.
type keyWatch struct {
	mu    sync.Mutex
	used  map[string][]byte // ciphertext by session, ratchet key and number
	again int               // the same ciphertext came again
	bad   []string
}

func (w *keyWatch) stand(s *actors.Stack) {
	top := actors.NewTop(s, "key watch")
	actors.Hear(top, envelopeSlot, func(e envelope.Event) {
		if o, ok := e.(envelope.Opened); ok {
			w.look(o.Payload)
		}
	})
	top.Run(nothing{})
}

// nothing is an edge that does not wait for anything.
type nothing struct{}

func (nothing) Open() error { return nil }
func (nothing) Close()      {}

// Field numbers of ProtocolMessage and of what is in it (Status 5/SECURE-TRANSPORT).
const (
	fieldDirectMessages = 101 // map: 2 is the DirectMessageProtocol
	fieldHeader         = 2   // DRHeader: 1 key, 2 n, 4 id
	fieldCiphertext     = 3
)

// look notes the message keys of one ProtocolMessage.
func (w *keyWatch) look(message []byte) {
	for _, entry := range protoFields(message)[fieldDirectMessages] {
		for _, direct := range protoFields(entry)[2] {
			parts := protoFields(direct)
			if len(parts[fieldHeader]) != 1 || len(parts[fieldCiphertext]) != 1 {
				continue // first contact without a session
			}
			header := protoFields(parts[fieldHeader][0])
			name := fmt.Sprintf("session %x, ratchet key %x, number %x", header[4], header[1], header[2])
			w.note(name, parts[fieldCiphertext][0])
		}
	}
}

func (w *keyWatch) note(name string, ciphertext []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old, used := w.used[name]
	switch {
	case !used:
		w.used[name] = bytes.Clone(ciphertext)
	case bytes.Equal(old, ciphertext):
		w.again++
	default:
		w.bad = append(w.bad, name)
	}
}

func (w *keyWatch) report(t *testing.T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t.Logf("%d message keys seen, %d ciphertexts came again", len(w.used), w.again)
	for _, name := range w.bad {
		t.Errorf("a message key was used twice: %s", name)
	}
	if len(w.used) < 100 {
		t.Errorf("%d message keys seen: the watch does not see them all", len(w.used))
	}
}

// protoFields returns the values of the fields of a protobuf message by number:
// the content of those with a length, the encoding of the others.
func protoFields(b []byte) map[protowire.Number][][]byte {
	fields := map[protowire.Number][][]byte{}
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil
		}
		b = b[n:]
		n = protowire.ConsumeFieldValue(number, kind, b)
		if n < 0 {
			return nil
		}
		value := b[:n]
		if kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(b)
		}
		fields[number] = append(fields[number], value)
		b = b[n:]
	}
	return fields
}

func TestKeyWatchSeesAKeyThatIsUsedTwice(t *testing.T) {
	message := func(n uint64, ciphertext string) []byte {
		var header []byte
		header = protowire.AppendBytes(protowire.AppendTag(header, 1, protowire.BytesType), []byte("key"))
		header = protowire.AppendVarint(protowire.AppendTag(header, 2, protowire.VarintType), n)
		header = protowire.AppendBytes(protowire.AppendTag(header, 4, protowire.BytesType), []byte("id"))
		var direct []byte
		direct = protowire.AppendBytes(protowire.AppendTag(direct, fieldHeader, protowire.BytesType), header)
		direct = protowire.AppendBytes(protowire.AppendTag(direct, fieldCiphertext, protowire.BytesType), []byte(ciphertext))
		var entry []byte
		entry = protowire.AppendBytes(protowire.AppendTag(entry, 1, protowire.BytesType), []byte("installation"))
		entry = protowire.AppendBytes(protowire.AppendTag(entry, 2, protowire.BytesType), direct)
		return protowire.AppendBytes(protowire.AppendTag(nil, fieldDirectMessages, protowire.BytesType), entry)
	}
	w := &keyWatch{used: map[string][]byte{}}
	w.look(message(1, "one"))
	w.look(message(2, "two"))
	w.look(message(1, "one"))
	if len(w.used) != 2 || w.again != 1 || len(w.bad) != 0 {
		t.Fatalf("%d keys, %d again, %q", len(w.used), w.again, w.bad)
	}
	if w.look(message(2, "other")); len(w.bad) != 1 {
		t.Error("a second message under one key was not noticed")
	}
}
