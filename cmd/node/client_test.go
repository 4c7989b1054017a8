package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gethrpc "github.com/ethereum/go-ethereum/rpc"
	"github.com/spf13/cobra"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/payload"
)

// evil is a text that would clear a screen, write backwards and ring.
const evil = "hi\x1b[2J\u202egnp.exe\u009b31m\a\nnext"

// tame is what a terminal is to be shown of it.
const tame = `hi\x1b[2J\u{202e}gnp.exe\x9b31m\x07\nnext`

var (
	alice = func() layers.PublicKey {
		k, err := layers.ParsePrivateKey(bytes.Repeat([]byte{7}, 32))
		if err != nil {
			panic(err)
		}
		return k.Public()
	}()
	someID   = payload.MessageID{0xab, 31: 0xcd}
	someTime = time.Date(2019, 8, 1, 12, 0, 0, 0, time.Local)
	hers     = payload.Message{ID: someID, Chat: "test", From: alice, Text: evil, Stored: someTime, Public: true}
)

// fakeNode answers the API with what the test puts into it.
type fakeNode struct {
	mu     sync.Mutex
	calls  []string
	status rpc.Status

	changes  []rpc.StatusChange // come after a Say
	incoming []payload.Message  // come after a subscription
	ends     string             // and then the subscription ends
	refuse   string
}

func (n *fakeNode) called(parts ...string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls = append(n.calls, strings.Join(parts, " "))
	if n.refuse != "" {
		return &rpc.Fault{Code: rpc.CodeRefused, Reason: n.refuse}
	}
	return nil
}

func (n *fakeNode) Say(chat payload.ChatID, text string) (payload.Message, error) {
	return payload.Message{ID: someID, Chat: chat, Status: payload.Pending}, n.called("say", string(chat), text)
}

func (n *fakeNode) Join(channel string) error    { return n.called("join", channel) }
func (n *fakeNode) Leave(chat string) error      { return n.called("leave", chat) }
func (n *fakeNode) RemovePeer(node string) error { return n.called("remove", node) }
func (n *fakeNode) Status() (rpc.Status, error)  { return n.status, n.called("status") }
func (n *fakeNode) Chats() ([]payload.Chat, error) {
	return []payload.Chat{{ID: payload.ChatID(alice.String())}, {ID: "test\x1b", Public: true}}, n.called("chats")
}

func (n *fakeNode) AddPeer(node string, trusted bool) error {
	if trusted {
		node += " trusted"
	}
	return n.called("add", node)
}

func (n *fakeNode) History(q rpc.Query) (rpc.Page, error) {
	b, _ := json.Marshal(q)
	mine := payload.Message{ID: someID, Chat: payload.ChatID(alice.String()), Text: "mine", Stored: someTime.Add(time.Second), Own: true, Status: payload.Delivered}
	return rpc.Page{Messages: []payload.Message{mine, hers}, Next: "older"}, n.called("history", string(b))
}

func (n *fakeNode) Peers() ([]overlay.PeerInfo, error) {
	return []overlay.PeerInfo{
		{Enode: "enode://1", Name: "evil\x1b]0;x\a", Address: "127.0.0.1:1", Connected: true, Inbound: true, Since: someTime, In: 3, Out: 4},
		{Enode: "enode://2", Static: true, Trusted: true},
	}, n.called("peers")
}

func (n *fakeNode) Trace(id string) ([]actors.Step, error) {
	if id == "0000" {
		return []actors.Step{}, n.called("trace", id)
	}
	return []actors.Step{
		{At: someTime, Layer: "payload", Input: "payload.Say", Outcome: actors.Done, Took: 1500 * time.Microsecond, Saved: 2, Emitted: []string{"datasync.Publish", "payload.Said", "payload.Said"}},
		{At: someTime, Layer: "secure", Input: "envelope.Received", Outcome: actors.Refused, Reason: "no session\x1b"},
	}, n.called("trace", id)
}

func (n *fakeNode) Quarantine() ([]actors.Quarantined, error) {
	return []actors.Quarantined{{Layer: "secure", Hash: strings.Repeat("ab", 32), Type: "envelope.Received", Reason: "index\x1b[0m", At: someTime}}, n.called("quarantine")
}

func (n *fakeNode) Messages(ctx context.Context) (*gethrpc.Subscription, error) {
	var notices []rpc.Notice
	for i := range n.incoming {
		notices = append(notices, rpc.Notice{Message: &n.incoming[i]})
	}
	if n.ends != "" {
		notices = append(notices, rpc.Notice{Ended: n.ends})
	}
	return n.feed(ctx, notices)
}

func (n *fakeNode) Statuses(ctx context.Context) (*gethrpc.Subscription, error) {
	var notices []rpc.Notice
	for i := range n.changes {
		notices = append(notices, rpc.Notice{Status: &n.changes[i]})
	}
	return n.feed(ctx, notices)
}

// feed sends the notices behind the answer to the subscription.
func (n *fakeNode) feed(ctx context.Context, notices []rpc.Notice) (*gethrpc.Subscription, error) {
	to, ok := gethrpc.NotifierFromContext(ctx)
	if !ok {
		return nil, gethrpc.ErrNotificationsUnsupported
	}
	s := to.CreateSubscription()
	for _, notice := range notices {
		if err := to.Notify(s.ID, notice); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// serve makes the fake node listen and returns its data folder.
func (n *fakeNode) serve(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cli") // the path of a socket is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, rpc.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	server := gethrpc.NewServer()
	if err := server.RegisterName("strata", n); err != nil {
		t.Fatal(err)
	}
	go server.ServeListener(l)
	t.Cleanup(func() { l.Close(); server.Stop() })
	return dir
}

// result is what a command did.
type result struct {
	out, errOut string
	err         error
	code        int
}

// strata runs a client command against the node in dir.
func strata(t *testing.T, ctx context.Context, dir, stdin string, args ...string) result {
	t.Helper()
	at := func(*cobra.Command) (string, error) { return filepath.Join(dir, rpc.SocketName), nil }
	root := &cobra.Command{Use: "strata", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(clientCommands(at)...)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return misused(err) })
	var out, errOut bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errOut)
	root.SetIn(strings.NewReader(stdin))
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	r := result{out: out.String(), errOut: errOut.String(), err: err}
	var exit exitError
	switch {
	case errors.As(err, &exit):
		r.code = exit.code
	case err != nil:
		r.code = exitFailed
	}
	return r
}

func clientCommands(at socketOf) []*cobra.Command {
	return []*cobra.Command{
		newSendCommand(at), newListenCommand(at), newHistoryCommand(at), newChatsCommand(at), newJoinCommand(at),
		newLeaveCommand(at), newPeersCommand(at), newStatusCommand(at), newTraceCommand(at), newQuarantineCommand(at),
		newVersionCommand(),
	}
}

func TestEveryCommandExplainsItself(t *testing.T) {
	commands := clientCommands(nil)
	for i := 0; i < len(commands); i++ {
		c := commands[i]
		commands = append(commands, c.Commands()...)
		if c.Short == "" || c.Long == "" || c.Example == "" {
			t.Errorf("%s: short, long or example text is missing", c.Name())
		}
		if strings.HasSuffix(c.Short, ".") || !strings.HasSuffix(c.Long, ".") {
			t.Errorf("%s: the short text is a heading, the long one has sentences", c.Name())
		}
		if c.Flags().Lookup("json") == nil {
			t.Errorf("%s: has no --json", c.Name())
		}
	}
}

func TestCommandsPrintWhatTheNodeSays(t *testing.T) {
	n := &fakeNode{status: rpc.Status{
		Healthy: true, Started: someTime, Version: "v1", Peers: 2,
		Identity: rpc.Identity{ChatKey: alice, Enode: "enode://1"},
		Layers:   []rpc.Layer{{Status: kernel.Status{Name: "payload", State: kernel.Running, Since: someTime, Restarts: 3}, Queue: 4, Steps: 5, Refused: 6, Quarantined: 7}},
	}}
	dir := n.serve(t)
	key := alice.String()
	shortKey := key[:10] + "…" + key[len(key)-4:]
	for _, tt := range []struct {
		args  string
		call  string
		lines []string // each of which has these words, in this order
	}{
		{"send --channel #test hello there", "say test hello there", []string{someID.String() + " pending"}},
		{"send --to " + key + " x", "say " + key + " x", []string{someID.String() + " pending"}},
		{"history", `history {"limit":100}`, []string{
			"2019-08-01 12:00:00 #test " + shortKey + ": " + tame,
			"2019-08-01 12:00:01 private me to " + shortKey + " (delivered): mine",
		}},
		{"history #test --limit 5 --before b", `history {"chat":"test","limit":5,"before":"b"}`, nil},
		{"chats", "chats", []string{"KIND CHAT", "private " + key, `public test\x1b`}},
		{"join #test", "join test", []string{"joined test"}},
		{"leave test", "leave test", []string{"left test"}},
		{"peers", "peers", []string{
			"STATE ADDRESS NAME KIND SINCE IN OUT ENODE",
			`inbound 127.0.0.1:1 evil\x1b]0;x\x07 - 2019-08-01 12:00:00 3 4 enode://1`,
			"down - - static,trusted - 0 0 enode://2",
		}},
		{"peers add enode://3", "add enode://3", []string{"added enode://3"}},
		{"peers add --trusted enode://3", "add enode://3 trusted", []string{"added enode://3"}},
		{"peers remove enode://3", "remove enode://3", []string{"removed enode://3"}},
		{"status", "status", []string{
			"node healthy, 2 peers, up since 2019-08-01 12:00:00, strata v1", "chat key " + key, "enode enode://1",
			"process 0 MiB of memory, 0 goroutines",
			"api 0 calls (0 busy, 0 timed out), 0 subscribers (0 cut off), 0 turned away", "",
			"LAYER STATE SINCE RESTARTS QUEUE STEPS REFUSED QUARANTINED REASON",
			"payload running 2019-08-01 12:00:00 3 4 5 6 7 -",
		}},
		{"trace 0xabcd", "trace 0xabcd", []string{
			"TIME LAYER INPUT OUTCOME TOOK SAVED CAME OF IT",
			"12:00:00.000000 payload payload.Say done 1.5ms 2 datasync.Publish, 2 payload.Said",
			`12:00:00.000000 secure envelope.Received refused: no session\x1b 0s 0 -`,
		}},
		{"quarantine", "quarantine", []string{
			"AT LAYER TYPE HASH REASON",
			`2019-08-01 12:00:00 secure envelope.Received ababababab…abab index\x1b[0m`,
		}},
	} {
		n.calls = nil
		r := strata(t, t.Context(), dir, "", strings.Fields(tt.args)...)
		if r.err != nil {
			t.Errorf("%s: %v", tt.args, r.err)
			continue
		}
		if !slices.Equal(n.calls, []string{tt.call}) {
			t.Errorf("%s: called %q, want %q", tt.args, n.calls, tt.call)
		}
		if tt.lines == nil {
			continue
		}
		var got []string
		for line := range strings.Lines(r.out) {
			got = append(got, strings.Join(strings.Fields(line), " "))
		}
		if !slices.Equal(got, tt.lines) {
			t.Errorf("%s: got\n%q, want\n%q", tt.args, got, tt.lines)
		}
	}
}

func TestEveryCommandPrintsHarmlessJSON(t *testing.T) {
	n := &fakeNode{status: rpc.Status{Healthy: true, Version: "\u202e"}, incoming: []payload.Message{hers}}
	dir := n.serve(t)
	for _, args := range []string{
		"send --channel test x", "listen --count 1", "history", "chats", "join test", "leave test", "peers",
		"peers add enode://3", "peers remove enode://3", "status", "trace abcd", "quarantine", "version",
	} {
		r := strata(t, t.Context(), dir, "", append(strings.Fields(args), "--json")...)
		if r.err != nil || !json.Valid([]byte(r.out)) || strings.Count(r.out, "\n") != 1 {
			t.Errorf("%s: got %q, %v, want one line of JSON", args, r.out, r.err)
		}
		if i := strings.IndexFunc(strings.TrimSuffix(r.out, "\n"), hidden); i >= 0 {
			t.Errorf("%s: a control character at %d of %q", args, i, r.out)
		}
	}
	var got payload.Message
	r := strata(t, t.Context(), dir, "", "listen", "--count", "1", "--json")
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || got.Text != evil || got.From != alice {
		t.Errorf("the text has changed on its way: %q, %v", got.Text, err)
	}
}

func TestRefusalEndsACommandWithItsReason(t *testing.T) {
	n := &fakeNode{refuse: "payload: text is longer than 4096 bytes"}
	dir := n.serve(t)
	for _, args := range []string{
		"send --channel test x", "history", "chats", "join test", "leave test", "peers", "peers add e", "peers remove e",
		"status", "trace abcd", "quarantine",
	} {
		r := strata(t, t.Context(), dir, "", strings.Fields(args)...)
		if !errors.Is(r.err, rpc.ErrRefused) || r.err.Error() != n.refuse || r.code != exitFailed || r.out != "" {
			t.Errorf("%s: got %q, %v, code %d, want the reason and code 1", args, r.out, r.err, r.code)
		}
	}
}

func TestCommandsSayThatNoNodeRuns(t *testing.T) {
	dir := t.TempDir()
	for _, c := range clientCommands(nil) {
		args := map[string][]string{"send": {"--channel", "a", "b"}, "join": {"a"}, "leave": {"a"}, "trace": {"abcd"}}[c.Name()]
		r := strata(t, t.Context(), dir, "", append([]string{c.Name()}, args...)...)
		if c.Name() == "version" {
			if r.err != nil || !strings.HasPrefix(r.out, "strata ") {
				t.Errorf("version: got %q, %v", r.out, r.err)
			}
			continue
		}
		if !errors.Is(r.err, rpc.ErrNoNode) || r.code != exitFailed || !strings.Contains(r.err.Error(), "strata run") {
			t.Errorf("%s: got %v, code %d", c.Name(), r.err, r.code)
		}
	}
}

func TestWrongCommandLinesAreMisuse(t *testing.T) {
	for _, args := range [][]string{
		{"send", "hello"},
		{"send", "--to", alice.String(), "--channel", "x", "hello"},
		{"send", "--to", "0x04", "hello"},
		{"send", "--channel", "#", "hello"},
		{"send", "--channel", "x", ""},
		{"send", "--channel", "x"}, // and nothing on standard input
		{"send", "--channel", "x", "--wait", "received", "hello"},
		{"send", "--channel", "x", "--wait", "delivered", "hello"},
		{"send", "--channel", "x", "--timeout", "0s", "hello"},
		{"send", "--colour", "x"},
		{"listen", "x"},
		{"listen", "--count", "-1"},
		{"listen", "--from", "bob"},
		{"listen", "--channel", "#"},
		{"history", "a", "b"},
		{"history", "--limit", "0"},
		{"history", "--limit", "1001"},
		{"history", "0x04"},
		{"join"},
		{"join", "#"},
		{"leave"},
		{"leave", "0xzz"},
		{"chats", "x"},
		{"peers", "add"},
		{"peers", "remove"},
		{"peers", "ban", "x"},
		{"trace"},
		{"status", "x"},
		{"quarantine", "x"},
		{"version", "x"},
	} {
		if r := strata(t, t.Context(), "/nowhere", "", args...); r.code != exitMisused || r.out != "" {
			t.Errorf("%q: got %q, %v, code %d, want code %d", args, r.out, r.err, r.code, exitMisused)
		}
	}
}

func TestStatusOfADegradedNodeFails(t *testing.T) {
	n := &fakeNode{status: rpc.Status{
		Reasons: []string{"transport is degraded: disk full"},
		Layers:  []rpc.Layer{{Status: kernel.Status{Name: "transport", State: kernel.Running, Degraded: true, Reason: "disk full"}}},
	}}
	dir := n.serve(t)
	for _, args := range [][]string{{"status"}, {"status", "--json"}} {
		r := strata(t, t.Context(), dir, "", args...)
		if r.code != 1 || r.err.Error() != "the node is degraded: transport is degraded: disk full" || !strings.Contains(r.out, "disk full") {
			t.Errorf("%q: got %q, %v, code %d", args, r.out, r.err, r.code)
		}
	}
}

func TestTraceOfNothingFails(t *testing.T) {
	r := strata(t, t.Context(), new(fakeNode).serve(t), "", "trace", "0000", "--json")
	if r.code != exitFailed || r.out != "[]\n" || r.err.Error() != "nothing is remembered of it" {
		t.Errorf("got %q, %v, code %d", r.out, r.err, r.code)
	}
}

func TestHistorySaysHowToGoOn(t *testing.T) {
	r := strata(t, t.Context(), new(fakeNode).serve(t), "", "history")
	if r.errOut != "strata: there are older ones: --before older\n" {
		t.Errorf("got %q", r.errOut)
	}
}
