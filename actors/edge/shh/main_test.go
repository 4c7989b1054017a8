package shh

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gethrpc "github.com/ethereum/go-ethereum/rpc"
	"go.uber.org/goleak"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
)

// The goroutine is one of protoactor, which outlives a message to a stopped actor
// by a second.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/asynkron/protoactor-go/actor.NewDeadLetter.NewThrottle.func4.1"))
}

// within bounds the waiting of tests for what should happen at once.
const within = 20 * time.Second

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// fake is a transport that carries everything it is given, or refuses it.
type fake struct {
	info transport.Info

	mu     sync.Mutex
	out    actors.Outlet[transport.Event]
	state  transport.State
	refuse string // the reason, if it is to refuse
	silent bool   // no answers at all
	got    []transport.Command
	mark   uint64
	fresh  chan struct{}
}

func newFake() *fake {
	return &fake{
		info:  transport.Info{Name: "whisper", MaxData: 1 << 20, MinTTL: time.Second, MaxTTL: 48 * time.Hour},
		state: transport.State{MinPoW: 0.002, MaxMessage: 1 << 20, Pooled: 3, PooledBytes: 900},
		fresh: make(chan struct{}, 1),
	}
}

func (f *fake) Open() error { f.up(transport.Ready{Info: f.info}); return nil }
func (f *fake) Close()      {}

// change changes what the fake does.
func (f *fake) change(how func(*fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	how(f)
}

func (f *fake) up(e transport.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out.Send(e)
}

func (f *fake) FromAbove(c transport.Command) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got = append(f.got, c)
	select {
	case f.fresh <- struct{}{}:
	default:
	}
	if _, ok := c.(transport.Attach); ok {
		f.out.Send(transport.Ready{Info: f.info})
	}
	if f.silent {
		return
	}
	switch c := c.(type) {
	case transport.Describe:
		f.out.Send(transport.Described{Ref: c.Ref, State: f.state})
	case transport.Set:
		f.answer(c.Ref)
	case transport.Trust:
		f.answer(c.Ref)
	case transport.Direct:
		f.answer(c.Ref)
	case transport.Publish:
		if f.refuse != "" {
			f.answer(c.Ref)
			return
		}
		e := carried(c.Raw)
		f.out.Send(transport.Accepted{Ref: c.Ref, Hash: e.Hash})
		f.mark++
		f.out.Send(transport.Admitted{Mark: f.mark, Envelopes: []transport.Envelope{e}})
	}
}

func (f *fake) answer(ref layers.Ref) {
	if f.refuse != "" {
		f.out.Send(transport.Refused{Ref: ref, Reason: f.refuse})
		return
	}
	f.out.Send(transport.Done{Ref: ref})
}

// carried is an envelope as the transport reports it.
func carried(raw []byte) transport.Envelope {
	e, err := whisper.DecodeEnvelope(raw)
	if err != nil {
		panic(err)
	}
	return transport.Envelope{
		Hash: e.Hash, Topic: e.Topic, Data: e.Data, Sent: time.Unix(int64(e.Sent()), 0),
		TTL: time.Duration(e.TTL) * time.Second, Raw: raw, PoW: e.PoW(0),
	}
}

// admit reports envelopes as taken in from peers.
func (f *fake) admit(envelopes ...transport.Envelope) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mark++
	f.out.Send(transport.Admitted{Mark: f.mark, Envelopes: envelopes})
}

// of returns the commands of one kind that came down.
func of[C transport.Command](f *fake) (list []C) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.got {
		if one, ok := c.(C); ok {
			list = append(list, one)
		}
	}
	return list
}

// wait waits until n commands of a kind came down.
func wait[C transport.Command](t *testing.T, f *fake, n int) []C {
	t.Helper()
	limit := time.After(within)
	for {
		if list := of[C](f); len(list) >= n {
			return list
		}
		select {
		case <-f.fresh:
		case <-limit:
			t.Fatalf("%d commands of the kind in %v, want %d", len(of[C](f)), within, n)
		}
	}
}

const slot = actors.Slot[transport.Command, transport.Event]("transport")

// rig is an API under the real actors, on a fake transport.
type rig struct {
	*testing.T
	fake   *fake
	api    *API
	stack  *actors.Stack
	kernel *kernel.Kernel
}

// start returns a rig that the test stops.
func start(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	r := &rig{T: t, fake: newFake(), api: New(cfg, quiet), kernel: kernel.New(quiet)}
	r.stack = actors.NewStack(r.kernel, nil, nil, quiet)
	actors.StandEdge(r.stack, slot, func(out actors.Outlet[transport.Event]) actors.Edge[transport.Command] {
		r.fake.change(func(f *fake) { f.out = out })
		return r.fake
	})
	r.api.Stand(r.stack, slot)
	if err := r.stack.Start(); err != nil {
		t.Fatal(err)
	}
	wait[transport.Watch](t, r.fake, 1)
	return r
}

// running returns a rig and a client in the same process; both end by
// themselves.
func running(t *testing.T, change func(*Config)) (*rig, *gethrpc.Client) {
	t.Helper()
	r := start(t, change)
	t.Cleanup(r.kernel.Stop)
	c := gethrpc.DialInProc(r.serve())
	t.Cleanup(c.Close)
	return r, c
}

// serve returns a server with the API, which ends by itself.
func (r *rig) serve() *gethrpc.Server {
	r.Helper()
	server := gethrpc.NewServer()
	r.Cleanup(server.Stop)
	if err := server.RegisterName(Namespace, r.api.Service()); err != nil {
		r.Fatal(err)
	}
	return server
}

// must calls a method that must succeed.
func must[R any](t *testing.T, c *gethrpc.Client, method string, params ...any) R {
	t.Helper()
	var result R
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if err := c.CallContext(ctx, &result, method, params...); err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return result
}

// fails calls a method that must fail with a text.
func fails(t *testing.T, c *gethrpc.Client, text, method string, params ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	err := c.CallContext(ctx, nil, method, params...)
	if err == nil || err.Error() != text {
		t.Errorf("%s: got error %v, want %q", method, err, text)
	}
}

// polled waits until a filter has had n messages.
func polled(t *testing.T, c *gethrpc.Client, id string, n int) (all []Message) {
	t.Helper()
	until(t, func() bool {
		all = append(all, must[[]Message](t, c, "shh_getFilterMessages", id)...)
		return len(all) >= n
	})
	if len(all) > n {
		t.Fatalf("%d messages, want %d", len(all), n)
	}
	return all
}

// until waits until ok is true.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	limit := time.After(within)
	for !ok() {
		select {
		case <-limit:
			t.Fatalf("not within %v", within)
		case <-time.After(time.Millisecond):
		}
	}
}

// obj is a JSON object.
type obj map[string]any

// with returns o with other values.
func (o obj) with(pairs ...any) obj {
	c := obj{}
	for k, v := range o {
		c[k] = v
	}
	for p := range slices.Chunk(pairs, 2) {
		if p[1] == nil {
			delete(c, p[0].(string))
		} else {
			c[p[0].(string)] = p[1]
		}
	}
	return c
}

// hexOf is bytes of one value in hex.
func hexOf(b string, n int) string { return "0x" + strings.Repeat(b, n) }
