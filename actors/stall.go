package actors

import (
	"time"

	"github.com/stratanode/strata/kernel"
)

// retryEvery is the time between two tries to commit when the store refuses,
// typically because the disk is full.
const retryEvery = 500 * time.Millisecond

// retry makes a stalled layer try again.
type retry struct{ own }

// stall is the state of a layer whose store refuses. It keeps what comes in; the
// credits of the edges bound how much that can be.
type stall struct {
	on    bool // nothing is taken until a commit succeeds
	told  bool // the supervisor knows
	held  []any
	timer *time.Timer
}

// hold keeps m for later and reports true if the layer is stalled.
func (s *stall) hold(m any) bool {
	if s.on {
		s.held = append(s.held, m)
	}
	return s.on
}

func (s *stall) stop() {
	if s.timer != nil {
		s.timer.Stop()
	}
}

// stalled begins a stall, or goes on with it.
func (l *Layer[C, E, BC, BE]) stalled(err error) {
	system := l.stack.kernel.System()
	l.stall.on = true
	if !l.stall.told {
		l.stall.told = true
		l.stack.log.Warn("cannot save; will try again", "layer", l.place.name, "err", err)
		system.Root.Send(l.parent, kernel.Degraded{Name: l.place.name, Reason: err.Error()})
	}
	self, again := l.self, l.doRetry
	l.stall.timer = time.AfterFunc(retryEvery, func() { system.Root.Send(self, again) })
}

// retry commits the batch again, and if that works takes up what was held.
func (l *Layer[C, E, BC, BE]) retry() {
	if !l.stall.on {
		return
	}
	l.stall.on = false
	if l.commit(); l.stall.on {
		return
	}
	l.stall.told = false
	l.stack.log.Info("saving again", "layer", l.place.name)
	l.stack.kernel.System().Root.Send(l.parent, kernel.Degraded{Name: l.place.name})
	l.resume()
}

// resume takes up what was held, in order, until the layer stalls anew.
func (l *Layer[C, E, BC, BE]) resume() {
	for len(l.stall.held) > 0 && !l.stall.on {
		m := l.stall.held[0]
		l.stall.held = l.stall.held[1:]
		switch m := m.(type) {
		case *stamped[C]:
			l.fromAbove(m)
		case *stamped[BE]:
			l.fromBelow(m)
		case wake:
			l.wake()
		case addressed: // held for a predecessor that spoke other languages
			m.done()
		}
	}
}
