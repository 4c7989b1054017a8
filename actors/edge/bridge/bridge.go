// Package bridge carries envelopes between two transports, so that clients of
// one and clients of the other can talk. It reads none of them.
//
// A bridge hears everything on both sides and publishes on each what it has
// heard on the other, once: an envelope is the same, in whichever transport, if
// its topic and data are. So bridges may stand beside each other and in rings.
// Every bridge carries an envelope at most once and in one direction only, so n
// bridges make at most n copies of it; and a copy ends when the envelope it was
// made of does, but for what a transport raises short times to live by, which
// is at most half of its least one.
//
// The node of a bridge is nobody's client. The slots it stands on must not have
// another layer on top: that would replace the bridge's subscription, and what
// it publishes is not reported to the bridge. The bridge keeps nothing over a
// restart; what is alive then and reported anew is carried once more.
package bridge

import (
	"log/slog"
	"sync"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/layers/transport"
)

// name is what the bridge is called in the stack.
const name = "bridge"

// Bridge is the edge that stands on two transports. Its exported methods are
// safe for concurrent use, but for those of actors.Life.
type Bridge struct {
	cfg  Config
	log  *slog.Logger
	near actors.Inlet[transport.Command]
	far  actors.Inlet[transport.Command]

	mu    sync.Mutex // the alarm goes off in a goroutine of its own
	core  *Core      // nil while closed
	last  Report     // of the core before
	timer *time.Timer
	alarm time.Time // zero if none is set
}

// Stand puts a bridge on two slots, which must be filled already. The
// configuration must be valid. The near side is meant for Whisper, the far one
// for anything else, but the bridge treats them alike.
func Stand(
	s *actors.Stack, near actors.Slot[transport.Command, transport.Event], far actors.Slot[transport.Command, Far],
	cfg Config, log *slog.Logger,
) *Bridge {
	b := &Bridge{cfg: cfg, log: log.With("edge", name)}
	top := actors.NewTop(s, name)
	b.near = actors.Hear(top, near, func(e transport.Event) { b.hear("near", e, (*Core).FromNear) })
	b.far = actors.Hear(top, far, func(e Far) { b.hear("far", e.Event, (*Core).FromFar) })
	top.Run(b)
	return b
}

// Open implements actors.Life.
func (b *Bridge) Open() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.core = NewCore(b.cfg)
	b.core.ways[near].counts = b.last.NearToFar
	b.core.ways[far].counts = b.last.FarToNear
	b.perform(b.core.Open())
	return nil
}

// Close implements actors.Life.
func (b *Bridge) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = b.core.Report()
	b.core = nil
	if b.timer != nil {
		b.timer.Stop()
		b.timer, b.alarm = nil, time.Time{}
	}
}

func (b *Bridge) hear(side string, e transport.Event, step func(*Core, time.Time, transport.Event) Output) {
	if ready, ok := e.(transport.Ready); ok {
		b.log.Info("transport is ready", "side", side, "name", ready.Info.Name, "max_data", ready.Info.MaxData, "max_ttl", ready.Info.MaxTTL)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.core != nil {
		b.perform(step(b.core, time.Now(), e))
	}
}

func (b *Bridge) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.core != nil {
		b.alarm = time.Time{}
		b.perform(b.core.Wake(time.Now()))
	}
}

// perform carries out one step.
func (b *Bridge) perform(out Output) {
	for _, c := range out.Near {
		b.near.Send(c)
	}
	for _, c := range out.Far {
		b.far.Send(c)
	}
	if out.Wake.IsZero() || out.Wake.Equal(b.alarm) {
		return
	}
	b.alarm = out.Wake
	if in := max(time.Until(out.Wake), 0); b.timer == nil {
		b.timer = time.AfterFunc(in, b.wake)
	} else {
		b.timer.Reset(in)
	}
}

// Counts returns the counters of both directions. They go on over a restart of
// the bridge.
func (b *Bridge) Counts() (nearToFar, farToNear Counts) {
	r := b.Describe()
	return r.NearToFar, r.FarToNear
}

// Describe says how the bridge is doing.
func (b *Bridge) Describe() Report {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.core == nil {
		return b.last
	}
	return b.core.Report()
}
