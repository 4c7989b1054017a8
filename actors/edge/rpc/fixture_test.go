package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/actortest"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/payload"
	"github.com/stratanode/strata/layers/transport"
)

func TestMain(m *testing.M) {
	// A timer of one second in protoactor, which starts with a message to an
	// actor that has stopped.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/asynkron/protoactor-go/actor.NewDeadLetter.NewThrottle.func4.1"))
}

const (
	payloadSlot = actors.Slot[payload.Command, payload.Event]("payload")
	overlaySlot = actors.Slot[overlay.Command, overlay.Event]("overlay")
)

// patience bounds the waiting for what must happen.
const patience = 20 * time.Second

var t0 = time.Date(2019, 8, 1, 12, 0, 0, 0, time.UTC)

// self is the identity of the fake payload layer.
var self = func() layers.PublicKey {
	k, err := layers.ParsePrivateKey([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		panic(err)
	}
	return k.Public()
}()

type output = layers.Output[payload.Event, overlay.Command]

// talker is a fake payload layer: it says what it is told at once. Some texts
// make it misbehave.
type talker struct {
	mu   sync.Mutex
	said []payload.Message
	mute bool // answers nothing
}

func (k *talker) Wake(time.Time) output {
	return output{Up: []payload.Event{payload.Ready{Self: self}}}
}

func (k *talker) FromBelow(time.Time, overlay.Event) (output, error) { return output{}, nil }

func (k *talker) FromAbove(_ time.Time, c payload.Command) (output, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := c.(payload.Attach); !ok && k.mute {
		return output{}, nil
	}
	return output{Up: k.answer(c)}, nil
}

func (k *talker) answer(c payload.Command) []payload.Event {
	switch c := c.(type) {
	case payload.Attach:
		return []payload.Event{payload.Ready{Self: self}}
	case payload.Say:
		return k.say(c)
	case payload.Join:
		if c.Channel == "" {
			return []payload.Event{payload.Refused{Ref: c.Ref, Reason: "payload: channel is empty"}}
		}
		return []payload.Event{payload.Done{Ref: c.Ref}}
	case payload.Leave:
		return []payload.Event{payload.Done{Ref: c.Ref}}
	case payload.History:
		p := payload.Page{Ref: c.Ref, Next: "next"}
		for _, m := range k.said {
			if c.Chat == "" || m.Chat == c.Chat {
				p.Messages = append(p.Messages, m)
			}
		}
		return []payload.Event{p}
	case payload.ListChats:
		return []payload.Event{payload.Chats{Ref: c.Ref, Chats: []payload.Chat{{ID: "test", Public: true, Clock: 7}}}}
	}
	panic(fmt.Sprintf("unknown command %T", c))
}

func (k *talker) say(c payload.Say) []payload.Event {
	if c.Text == "break" {
		panic("this text breaks the layer")
	}
	m := payload.Message{
		ID: payload.MessageID(layers.Keccak256([]byte(c.Text))), Chat: c.Chat, From: self, Text: c.Text,
		Timestamp: t0, Stored: t0, Own: true, Status: payload.Pending,
	}
	k.said = append(k.said, m)
	return []payload.Event{
		payload.Said{Ref: c.Ref, Message: m},
		payload.StatusChanged{ID: m.ID, Chat: m.Chat, Status: payload.Sent},
		payload.Received{Message: payload.Message{ID: m.ID, Chat: c.Chat, From: self, Text: "echo " + c.Text}},
	}
}

func (k *talker) silence(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mute = on
}

// links is a fake overlay with one live link.
type links struct {
	out actors.Outlet[overlay.Event]
}

var neighbourID = overlay.PeerID{1}

func (l *links) Open() error { return nil }
func (l *links) Close()      {}

func (l *links) FromAbove(c overlay.Command) {
	switch c := c.(type) {
	case overlay.Attach:
		l.out.Send(overlay.Ready{ID: overlay.PeerID{9}, Enode: "enode://9@127.0.0.1:1", ENR: "enr:9"})
		l.out.Send(overlay.Connected{Peer: neighbourID})
	case overlay.ListPeers:
		l.out.Send(overlay.Listed{Ref: c.Ref, Peers: []overlay.PeerInfo{{Enode: "enode://1", Connected: true, Since: t0}}})
	case overlay.AddPeer:
		if !c.Trusted {
			l.out.Send(overlay.Refused{Ref: c.Ref, Reason: "overlay: no enode: " + c.Node})
			return
		}
		l.out.Send(overlay.Done{Ref: c.Ref})
	case overlay.RemovePeer:
		l.out.Send(overlay.Done{Ref: c.Ref})
	}
}

// fixture is a node with fake layers and a real API.
type fixture struct {
	*Server
	talker *talker
	kernel *kernel.Kernel
	stack  *actors.Stack
	dir    string
	stop   func()
}

// roles of a fixture.
const (
	clientRole = iota
	relayRole  // no payload layer
)

// start starts a node with the given configuration. The data folder has a short
// path, because that of a socket is bounded.
func start(t *testing.T, role int, cfg Config) *fixture {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	f := assemble(shortDir(t), role, cfg)
	if err := f.stack.Start(); err != nil {
		t.Fatal(err)
	}
	f.stop = sync.OnceFunc(f.kernel.Stop)
	t.Cleanup(f.stop)
	if _, err := f.Self(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f
}

func assemble(dir string, role int, cfg Config) *fixture {
	log := slog.New(slog.DiscardHandler)
	f := &fixture{talker: &talker{}, dir: dir, kernel: kernel.New(log)}
	tracer := actors.NewTracer(1000)
	f.stack = actors.NewStack(f.kernel, actortest.NewStore(), tracer, log)
	actors.StandEdge(f.stack, overlaySlot, func(out actors.Outlet[overlay.Event]) actors.Edge[overlay.Command] {
		return &links{out}
	})
	if role == clientRole {
		actors.Stand(f.stack, payloadSlot, overlaySlot, func(layers.Saved) *talker { return f.talker })
	}
	actors.StandEdge(f.stack, transportSlot, func(out actors.Outlet[transport.Event]) actors.Edge[transport.Command] {
		return &carrier{out: out}
	})
	f.Server = New(cfg, dir, Node{
		Version: Version{Module: "m", Version: "v1"}, Layers: f.kernel.Status, Loads: f.stack.Loads,
		Quarantined: f.stack.Quarantined, Trace: tracer.Find,
		Archive: shelf{}, Services: map[string]any{"greet": greeter{}},
	})
	f.Stand(f.stack, Slots{Payload: payloadSlot, Transport: transportSlot, Overlay: overlaySlot})
	return f
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rpc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "n") // made by the server
}

func (f *fixture) dial(t *testing.T) *Client {
	t.Helper()
	c, err := Dial(t.Context(), f.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// eventually waits until f is true. Nothing tells when a goroutine of another
// library has come so far, so it has to be asked.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}
