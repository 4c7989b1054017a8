package rpc

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/payload"
)

func TestEveryMethodIsAnswered(t *testing.T) {
	f := start(t, clientRole, DefaultConfig())
	c, ctx := f.dial(t), t.Context()

	m, err := c.Say(ctx, "test", "hello")
	if err != nil || m.Text != "hello" || m.Chat != "test" || m.Status != payload.Pending || !m.Own || !m.Stored.Equal(t0) {
		t.Errorf("Say: got %+v, %v", m, err)
	}
	p, err := c.History(ctx, Query{Chat: "test", Limit: 10})
	if err != nil || len(p.Messages) != 1 || p.Messages[0].ID != m.ID || p.Next != "next" {
		t.Errorf("History: got %+v, %v", p, err)
	}
	if p, err = c.History(ctx, Query{Chat: "other"}); err != nil || p.Messages == nil || len(p.Messages) != 0 {
		t.Errorf("History of another chat: got %+v, %v, want an empty list", p, err)
	}
	chats, err := c.Chats(ctx)
	if want := []payload.Chat{{ID: "test", Public: true, Clock: 7}}; err != nil || !reflect.DeepEqual(chats, want) {
		t.Errorf("Chats: got %+v, %v, want %+v", chats, err, want)
	}
	peers, err := c.Peers(ctx)
	if err != nil || len(peers) != 1 || peers[0].Enode != "enode://1" || !peers[0].Connected {
		t.Errorf("Peers: got %+v, %v", peers, err)
	}
	for name, err := range map[string]error{
		"Join": c.Join(ctx, "test"), "Leave": c.Leave(ctx, "test"),
		"AddPeer": c.AddPeer(ctx, "enode://2", true), "RemovePeer": c.RemovePeer(ctx, "enode://2"),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	id, err := c.Identity(ctx)
	if want := (Identity{self, overlay.PeerID{9}.String(), "enode://9@127.0.0.1:1", "enr:9"}); err != nil || id != want {
		t.Errorf("Identity: got %+v, %v, want %+v", id, err, want)
	}
	if v, err := c.Version(ctx); err != nil || v.Version != "v1" || v.Module != "m" {
		t.Errorf("Version: got %+v, %v", v, err)
	}
	if q, err := c.Quarantine(ctx); err != nil || q == nil || len(q) != 0 {
		t.Errorf("Quarantine: got %+v, %v, want an empty list", q, err)
	}
	steps, err := c.Trace(ctx, m.ID.String())
	if err != nil || len(steps) != 1 || steps[0].Layer != "payload" || steps[0].Input != "payload.Say" {
		t.Errorf("Trace: got %+v, %v", steps, err)
	}
	if steps, err = c.Trace(ctx, strings.Repeat("00", 32)); err != nil || len(steps) != 0 {
		t.Errorf("Trace of nothing: got %+v, %v, want an empty list", steps, err)
	}
}

func TestStatusTellsAllOfTheNode(t *testing.T) {
	f := start(t, clientRole, DefaultConfig())
	c := f.dial(t)
	eventually(t, "one peer", func() bool {
		st, err := c.Status(t.Context())
		return err == nil && st.Peers == 1
	})
	st, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !st.Healthy || len(st.Reasons) != 0 || st.Version != "v1" || st.Identity.ChatKey != self {
		t.Errorf("got %+v", st)
	}
	names := map[string]bool{}
	for _, l := range st.Layers {
		names[l.Name] = l.State == kernel.Running && l.Restarts == 0 && (l.Steps > 0 || l.Name == string(transportSlot)) // that waits to be asked
	}
	if want := map[string]bool{"payload": true, "transport": true, "overlay": true, "rpc": true}; !reflect.DeepEqual(names, want) {
		t.Errorf("layers that run and have worked: got %v, want %v", names, want)
	}
	f.hearOverlay(overlay.Disconnected{Peer: neighbourID})
	if st, err = c.Status(t.Context()); err != nil || st.Peers != 0 {
		t.Errorf("after the link has ended: got %d peers, %v, want 0", st.Peers, err)
	}
}

func TestRefusalsCarryTheReason(t *testing.T) {
	f := start(t, clientRole, DefaultConfig())
	c, ctx := f.dial(t), t.Context()
	_, badID := c.Trace(ctx, "xyz")
	_, badLimit := c.History(ctx, Query{Limit: 1001})
	_, negative := c.History(ctx, Query{Limit: -1})
	for _, tt := range []struct {
		name   string
		err    error
		is     error
		reason string
	}{
		{"the payload layer", c.Join(ctx, ""), ErrRefused, "payload: channel is empty"},
		{"the overlay", c.AddPeer(ctx, "nobody", false), ErrRefused, "overlay: no enode: nobody"},
		{"id", badID, ErrInvalid, "id: want 4 to 65 bytes in hex"},
		{"limit", badLimit, ErrInvalid, "limit: 1001 is not between 0 and 1000"},
		{"negative limit", negative, ErrInvalid, "limit: -1 is not between 0 and 1000"},
	} {
		if !errors.Is(tt.err, tt.is) || tt.err.Error() != tt.reason {
			t.Errorf("%s: got %v, want %s", tt.name, tt.err, tt.reason)
		}
	}
}

func TestRelayAnswersChatCallsWithAClearError(t *testing.T) {
	f := start(t, relayRole, DefaultConfig())
	c, ctx := f.dial(t), t.Context()
	_, say := c.Say(ctx, "test", "hello")
	_, history := c.History(ctx, Query{})
	_, subscribe := c.Messages(ctx)
	for name, err := range map[string]error{"say": say, "join": c.Join(ctx, "x"), "history": history, "messages": subscribe} {
		if !errors.Is(err, ErrNoLayer) || err.Error() != "this node has no payload layer" {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if peers, err := c.Peers(ctx); err != nil || len(peers) != 1 {
		t.Errorf("Peers: got %v, %v", peers, err)
	}
	if id, err := c.Identity(ctx); err != nil || !id.ChatKey.IsZero() || id.Enode == "" {
		t.Errorf("Identity: got %+v, %v, want no chat key", id, err)
	}
}

func TestTimeoutNamesTheLayerThatIsIll(t *testing.T) {
	cfg := DefaultConfig()
	cfg.CallTimeout = 50 * time.Millisecond
	f := start(t, clientRole, cfg)
	f.talker.silence(true)
	f.node.Layers = func() []kernel.Status {
		return []kernel.Status{
			{Name: "overlay", State: kernel.Running, Reason: "an old failure"},
			{Name: "datasync", State: kernel.Running, Degraded: true, Reason: "disk full"},
			{Name: "payload", State: kernel.Backoff, Reason: "index out of range"},
		}
	}
	_, err := f.dial(t).Say(t.Context(), "test", "hello")
	const want = "no answer of the payload layer within 50ms: datasync is degraded: disk full; " +
		"payload is backing off: index out of range; it may still be carried out"
	if !errors.Is(err, ErrTimeout) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	f.payload.mu.Lock()
	defer f.payload.mu.Unlock()
	if n := len(f.payload.waiting); n != 0 {
		t.Errorf("%d calls are remembered after their time, want none", n)
	}
}

func TestHealthIsThatOfTheLayers(t *testing.T) {
	f := start(t, relayRole, DefaultConfig())
	f.node.Layers = func() []kernel.Status {
		return []kernel.Status{{Name: "transport", State: kernel.Running, Degraded: true, Reason: "disk full"}}
	}
	st, err := f.dial(t).Status(t.Context())
	if want := []string{"transport is degraded: disk full"}; err != nil || st.Healthy || !reflect.DeepEqual(st.Reasons, want) {
		t.Errorf("got healthy %v, %q, %v, want %q", st.Healthy, st.Reasons, err, want)
	}
}

func TestCallsBeyondTheBoundAreBusy(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MaxCalls = 2
	f := start(t, clientRole, cfg)
	c := f.dial(t)
	f.talker.silence(true)
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer cancel()
	for range cfg.MaxCalls {
		waiting.Go(func() { c.Chats(ctx) })
	}
	eventually(t, "two calls wait", func() bool {
		f.payload.mu.Lock()
		defer f.payload.mu.Unlock()
		return len(f.payload.waiting) == cfg.MaxCalls
	})
	if _, err := c.Say(t.Context(), "test", "hello"); !errors.Is(err, ErrBusy) {
		t.Errorf("third call: got %v, want busy", err)
	}
	if st, err := c.Status(t.Context()); err != nil || st.API.Busy != 1 {
		t.Errorf("status: got %+v, %v, want an answer with 1 busy", st.API, err)
	}
}

func TestConcurrentCallsGetTheirOwnAnswers(t *testing.T) {
	f := start(t, clientRole, DefaultConfig())
	var clients sync.WaitGroup
	for i := range 4 {
		c := f.dial(t)
		for j := range 4 {
			clients.Go(func() {
				for k := range 25 {
					text := fmt.Sprint(i, j, k)
					m, err := c.Say(t.Context(), "test", text)
					if err != nil || m.Text != text {
						t.Errorf("said %q, got %q, %v", text, m.Text, err)
						return
					}
				}
			})
		}
	}
	clients.Wait()
	f.talker.mu.Lock()
	defer f.talker.mu.Unlock()
	if n := len(f.talker.said); n != 400 {
		t.Errorf("%d texts were said, want 400", n)
	}
}

func TestCommandThatBreaksTheLayerEndsOnlyItsCall(t *testing.T) {
	cfg := DefaultConfig()
	cfg.CallTimeout = 500 * time.Millisecond
	f := start(t, clientRole, cfg)
	c := f.dial(t)
	if _, err := c.Say(t.Context(), "test", "break"); !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "quarantine") {
		t.Errorf("got %v, want a timeout that mentions the quarantine", err)
	}
	if m, err := c.Say(t.Context(), "test", "hello"); err != nil || m.Text != "hello" {
		t.Errorf("the next call: got %+v, %v", m, err)
	}
	q, err := c.Quarantine(t.Context())
	if err != nil || len(q) != 1 || q[0].Layer != "payload" || q[0].Reason != "this text breaks the layer" {
		t.Errorf("Quarantine: got %+v, %v", q, err)
	}
}

func TestTraceFollowsTheEnvelopesOfAMessage(t *testing.T) {
	message, envelope := strings.Repeat("aa", 32), strings.Repeat("bb", 32)
	steps := map[string][]actors.Step{
		message: {{At: t0, Span: 1, Layer: "payload", Identity: []string{message, envelope}}},
		envelope: {
			{At: t0, Span: 1, Layer: "payload", Identity: []string{message, envelope}},
			{At: t0.Add(2), Span: 3, Layer: "transport", Identity: []string{envelope}},
		},
	}
	a := &api{server: &Server{node: Node{Trace: func(id []byte) []actors.Step { return steps[fmt.Sprintf("%x", id)] }}}}
	got, err := a.Trace("0x" + strings.ToUpper(message))
	if err != nil || len(got) != 2 || got[0].Layer != "payload" || got[1].Layer != "transport" {
		t.Errorf("got %+v, %v, want each step once, in order", got, err)
	}
}

func TestCloseEndsCallsAndLeavesNothing(t *testing.T) {
	cfg := DefaultConfig()
	cfg.HTTP, cfg.WebSocket = "127.0.0.1:0", "127.0.0.1:0"
	f := start(t, clientRole, cfg)
	c := f.dial(t)
	sub, err := c.Messages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.talker.silence(true)
	ended := make(chan error)
	go func() {
		_, err := c.Chats(t.Context())
		ended <- err
	}()
	eventually(t, "a call waits", func() bool {
		f.payload.mu.Lock()
		defer f.payload.mu.Unlock()
		return len(f.payload.waiting) == 1
	})
	f.stop()
	if err := <-ended; !errors.Is(err, ErrStopping) && !errors.Is(err, ErrGone) {
		t.Errorf("waiting call: got %v, want that the node stops", err)
	}
	if _, err := sub.Next(t.Context()); !errors.Is(err, ErrGone) {
		t.Errorf("subscription: got %v, want ErrGone", err)
	}
	if _, err := Dial(t.Context(), f.dir); !errors.Is(err, ErrNoNode) {
		t.Errorf("Dial after the end: got %v, want ErrNoNode", err)
	}
	if n, _ := f.subscribers.count(); n != 0 {
		t.Errorf("%d subscribers are left", n)
	}
}
