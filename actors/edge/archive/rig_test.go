package archive

import (
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/edge/bridge"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers/transport"
)

const slot = actors.Slot[transport.Command, transport.Event]("transport")

// outlet is where a fake transport reports to, on either side.
type outlet interface {
	Send(transport.Event)
	SendCredited(transport.Event, *actors.Credit)
}

// fake is a transport that records what it is told.
type fake struct {
	mu    sync.Mutex
	out   outlet
	heard []transport.Command
	news  chan struct{}
	query func(transport.Query) // nil: they are not answered
}

func (f *fake) Open() error { return nil }
func (f *fake) Close()      {}

func (f *fake) FromAbove(c transport.Command) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heard = append(f.heard, c)
	if _, ok := c.(transport.Attach); ok {
		f.out.Send(transport.Ready{})
	}
	if q, ok := c.(transport.Query); ok && f.query != nil {
		f.query(q)
	}
	select {
	case f.news <- struct{}{}:
	default:
	}
}

// await waits until the commands of one type are as many as wanted.
func await[C transport.Command](t *testing.T, f *fake, count int) []C {
	t.Helper()
	return awaitThat(t, f, func(list []C) bool { return len(list) >= count })
}

func awaitThat[C transport.Command](t *testing.T, f *fake, enough func([]C) bool) []C {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		f.mu.Lock()
		var list []C
		for _, c := range f.heard {
			if c, ok := c.(C); ok {
				list = append(list, c)
			}
		}
		f.mu.Unlock()
		if enough(list) {
			return list
		}
		select {
		case <-f.news:
		case <-deadline:
			t.Fatalf("%d of %T have come", len(list), *new(C))
		}
	}
}

// until waits for a condition that nothing reports.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline, tick := time.After(20*time.Second), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("never: " + what)
		}
	}
}

// rig is an archive under the real actors.
type rig struct {
	near, far fake
	archive   *Archive
	stack     *actors.Stack
	dir       string
}

func start(t *testing.T, dir string, change func(*Config)) *rig {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Retention = 0 // the envelopes of the tests are old
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	k := kernel.New(quiet)
	r := &rig{dir: dir, archive: New(cfg, dir, quiet), stack: actors.NewStack(k, nil, nil, quiet)}
	r.near.news, r.far.news = make(chan struct{}, 1), make(chan struct{}, 1)
	actors.StandEdge(r.stack, slot, func(out actors.Outlet[transport.Event]) actors.Edge[transport.Command] {
		r.near.out = out
		return &r.near
	})
	actors.StandEdge(r.stack, bridge.FarSlot, func(out actors.Outlet[bridge.Far]) actors.Edge[transport.Command] {
		r.far.out = bridge.FarUp(out)
		return &r.far
	})
	r.archive.Stand(r.stack, slot)
	r.archive.StandFar(bridge.FarSlot)
	if err := r.stack.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Stop() })
	return r
}

// ready waits until the database is open.
func (r *rig) ready(t *testing.T) *rig {
	t.Helper()
	until(t, "the database is open", func() bool { return r.archive.Describe().Open })
	return r
}

func admitted(mark uint64, envelopes ...transport.Envelope) transport.Admitted {
	return transport.Admitted{Mark: mark, Envelopes: envelopes}
}

// keep has the archive keep n envelopes of a topic and waits until it has.
func (r *rig) keep(t *testing.T, topic transport.Topic, n int) {
	t.Helper()
	for i := range n {
		r.near.out.Send(admitted(uint64(i+1), sealed(i, topic, i)))
	}
	awaitThat(t, &r.near, func(list []transport.Kept) bool { return len(list) > 0 && list[len(list)-1].Mark == uint64(n) })
}

func asked(ask uint64, limit int) transport.Asked {
	return transport.Asked{Ask: ask, Peer: "peer", From: t0, To: t0.Add(24 * time.Hour), Limit: limit}
}
