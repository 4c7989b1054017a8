package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// wake is what an alarm sends.
type wake struct{ own }

// alarm wakes an actor at a time. Because a protocol does not mind being woken
// early, an alarm that goes off while it is being set anew does no harm.
type alarm struct {
	message any // a wake
	timer   *time.Timer
	at      time.Time
}

// set replaces the time of the alarm.
func (a *alarm) set(root *actor.RootContext, self *actor.PID, at time.Time) {
	if at.Equal(a.at) {
		return
	}
	a.at = at
	in := max(time.Until(at), 0)
	if a.timer == nil {
		a.timer = time.AfterFunc(in, func() { root.Send(self, a.message) })
		return
	}
	a.timer.Reset(in)
}

// rang forgets the time that has come.
func (a *alarm) rang() { a.at = time.Time{} }

func (a *alarm) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}
