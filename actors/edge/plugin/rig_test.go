package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/layers"
	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/transport"
)

func TestMain(m *testing.M) {
	asPlugin()
	goleak.VerifyTestMain(m)
}

var (
	quiet  = slog.New(slog.NewTextHandler(io.Discard, nil))
	topicA = slot.Topic{1}
	topicB = slot.Topic{2}
	fine   = transport.Info{
		Name: "fake", Version: "1", MaxData: 1000, MaxTTL: time.Hour, Latency: 3 * time.Second, Receipts: true,
	}
)

// fake is a scripted transport and what it runs in.
type fake struct {
	info      transport.Info
	pid       int
	calls     int
	opening   func(context.Context, transport.Options) error
	subscribe func(context.Context, transport.Filter) error
	publish   func(context.Context, []transport.Envelope) []error
	receive   func(context.Context) (transport.Report, error)
	closing   func(context.Context) error
	ping      func(context.Context) error
	stats     func() ([]transport.Stat, error)
	query     func(context.Context, transport.Query) (transport.Page, error)
	archives  chan transport.Archive // what Serve was given
	reports   chan transport.Report
	done      chan struct{}

	mu      sync.Mutex
	batches [][]transport.Envelope
	filters []transport.Filter
	closed  int
	killed  int
	err     error
	gone    bool
}

func newFake() *fake {
	return &fake{
		info: fine, reports: make(chan transport.Report), done: make(chan struct{}),
		archives: make(chan transport.Archive, 10),
	}
}

func (f *fake) Open(ctx context.Context, o transport.Options) (transport.Info, error) {
	if f.opening != nil {
		if err := f.opening(ctx, o); err != nil {
			return transport.Info{}, err
		}
	}
	return f.info, nil
}

func (f *fake) Subscribe(ctx context.Context, filter transport.Filter) error {
	f.mu.Lock()
	f.filters = append(f.filters, filter)
	f.mu.Unlock()
	if f.subscribe != nil {
		return f.subscribe(ctx, filter)
	}
	return nil
}

func (f *fake) Publish(ctx context.Context, batch []transport.Envelope) []error {
	f.mu.Lock()
	f.batches = append(f.batches, batch)
	f.mu.Unlock()
	if f.publish != nil {
		return f.publish(ctx, batch)
	}
	return nil
}

func (f *fake) Receive(ctx context.Context) (transport.Report, error) {
	if f.receive != nil {
		return f.receive(ctx)
	}
	select {
	case r := <-f.reports:
		return r, nil
	case <-ctx.Done():
		return transport.Report{}, ctx.Err()
	}
}

func (f *fake) Close(ctx context.Context) error {
	f.mu.Lock()
	f.closed++
	f.mu.Unlock()
	if f.closing != nil {
		return f.closing(ctx)
	}
	return nil
}

func (f *fake) Ping(ctx context.Context) error {
	if f.ping != nil {
		return f.ping(ctx)
	}
	return nil
}

func (f *fake) Stats(context.Context) ([]transport.Stat, error) { return f.stats() }

func (f *fake) Query(ctx context.Context, q transport.Query) (transport.Page, error) {
	return f.query(ctx, q)
}

func (f *fake) Serve(ctx context.Context, a transport.Archive) error {
	f.archives <- a
	<-ctx.Done()
	return ctx.Err()
}

func (f *fake) Kill() {
	f.mu.Lock()
	f.killed++
	f.mu.Unlock()
	f.crash(nil)
}

// crash ends what the transport runs in.
func (f *fake) crash(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.gone {
		f.gone, f.err = true, err
		close(f.done)
	}
}

func (f *fake) Done() <-chan struct{} { return f.done }

func (f *fake) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *fake) Confinement() string { return "none: a test\x1b[31m" }
func (f *fake) PID() int            { return f.pid }
func (f *fake) PublishCalls() int   { return max(1, f.calls) }

// asked returns the ids of all envelopes offered, by batch.
func (f *fake) asked() [][]transport.Envelope {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.batches)
}

// sink keeps what goes up, and the credits if it is told to.
type sink struct {
	mu     sync.Mutex
	events []slot.Event
	fails  []error
	hold   bool
	held   []*actors.Credit
	heard  func(slot.Event) // under mu
}

func (s *sink) Send(e slot.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
	if s.heard != nil {
		s.heard(e)
	}
}

func (s *sink) SendCredited(e slot.Event, c *actors.Credit) {
	s.Send(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hold {
		s.held = append(s.held, c)
		return
	}
	c.Return()
}

func (s *sink) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = append(s.fails, err)
}

// take returns the events so far, once.
func (s *sink) take() []slot.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.events
	s.events = nil
	return all
}

func (s *sink) failures() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.fails)
}

// rig is a resident with one life at a time, on fakes.
type rig struct {
	t    testing.TB
	home *Resident
	sink *sink
	fake *fake // of the latest life
	edge actors.Edge[slot.Command]
	set  func(*fake)
}

func newRig(t testing.TB, set func(*fake), config ...func(*Config)) *rig {
	c := DefaultConfig()
	for _, f := range config {
		f(&c)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, sink: &sink{}, set: set}
	r.home = NewResident("fake-slot", c, func(context.Context) (Running, error) {
		f := newFake()
		if r.set != nil {
			r.set(f)
		}
		r.fake = f
		return f, nil
	}, quiet)
	return r
}

// begin begins a life.
func (r *rig) begin() *rig {
	r.t.Helper()
	r.edge = r.home.Edge(r.sink)
	if err := r.edge.Open(); err != nil {
		r.t.Fatal(err)
	}
	return r
}

// again ends a life and begins the next, as the kernel does after a failure.
func (r *rig) again() {
	r.t.Helper()
	r.edge.Close()
	r.begin()
}

func ref(n int) layers.Ref {
	var ref layers.Ref
	copy(ref[:], fmt.Sprintf("ref %d", n))
	return ref
}

func (r *rig) publish(n int, ttl time.Duration) {
	r.edge.FromAbove(slot.Publish{Ref: ref(n), Topic: topicA, Data: []byte(fmt.Sprintf("data %d", n)), TTL: ttl})
}

// expect waits until all is quiet and wants exactly these events.
func (r *rig) expect(want ...slot.Event) {
	r.t.Helper()
	synctest.Wait()
	got := r.sink.take()
	same := len(got) == len(want)
	for i := range min(len(got), len(want)) {
		same = same && fmt.Sprintf("%#v", got[i]) == fmt.Sprintf("%#v", want[i])
	}
	if !same {
		r.t.Errorf("got events %v, want %v", named(got), named(want))
	}
}

// skip forgets what came so far.
func (r *rig) skip() {
	synctest.Wait()
	r.sink.take()
}

func named(all []slot.Event) []string {
	var s []string
	for _, e := range all {
		s = append(s, fmt.Sprintf("%T%+v", e, e))
	}
	return s
}

// failed wants exactly one failure with the text.
func (r *rig) failed(text string) {
	r.t.Helper()
	synctest.Wait()
	got := r.sink.failures()
	if len(got) != 1 || got[0].Error() != text {
		r.t.Errorf("got failures %q, want %q", got, text)
	}
	r.sink.mu.Lock()
	r.sink.fails = nil
	r.sink.mu.Unlock()
}

func hashFor(n int) slot.Hash { return hashOf(topicA, []byte(fmt.Sprintf("data %d", n))) }

func accept(n int) slot.Event { return slot.Accepted{Ref: ref(n), Hash: hashFor(n)} }
func relay(n int) slot.Event  { return slot.Relayed{Ref: ref(n), Hash: hashFor(n)} }

// run runs a test in virtual time with a rig that has begun its first life.
func run(t *testing.T, set func(*fake), test func(*testing.T, *rig), config ...func(*Config)) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, set, config...)
		r.begin()
		events := []slot.Event{slot.Ready{Info: slot.Info{
			Name: "fake-slot", MaxData: min(r.fake.info.MaxData, transport.MaxEnvelope), MinTTL: r.home.cfg.MinTTL,
			MaxTTL: r.fake.info.MaxTTL, Latency: r.fake.info.Latency,
		}}, slot.Peers{}}
		if r.fake.info.Abilities.Query {
			events = append(events, slot.Archives{Servers: []string{"fake-slot"}})
		}
		r.expect(events...)
		test(t, r)
		r.edge.Close()
	})
}

var errCrash = errors.New("signal: killed")
