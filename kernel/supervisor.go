package kernel

import (
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// Back-off of a child that fails again and again: at once, then 1 s, doubling
// to 60 s. A child that ran well for a minute starts over.
const (
	firstBackoff = time.Second
	maxBackoff   = time.Minute
	goodRun      = time.Minute
)

// supervisor is the one parent of all children. It is also their supervision
// strategy, so that it decides in its own goroutine.
type supervisor struct {
	kernel   *Kernel
	children []Child
	failures map[string]*failures
	failedAt map[string]uint64 // by name; see sequence
	due      map[string]restartDue
}

// failures counts how often a child has failed without a good run in between.
type failures struct {
	count int
	last  time.Time
}

// restartDue says that the back-off of a child is over.
type restartDue struct {
	name string
	turn uint64 // tells the failures of a child apart
	over actor.Supervisor
	pid  *actor.PID
}

// hurry ends the back-off of a child.
type hurry struct{ name string }

// Receive implements actor.Actor.
func (s *supervisor) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		all := make(chan struct{})
		defer close(all)
		for _, c := range s.children {
			props := c.Props.Configure(actor.WithDispatcher(s.kernel.newWorker(all)))
			if _, err := ctx.SpawnNamed(props, c.Name); err != nil {
				s.kernel.start(fmt.Errorf("%s: %w", c.Name, err))
				return
			}
		}
		if len(s.children) == 0 {
			s.kernel.start(nil)
		}
	case Opened:
		if m.seq > s.failedAt[m.name] { // else it has failed since
			s.kernel.opened(m.name)
		}
	case Degraded:
		s.kernel.change(m.Name, func(st *Status) {
			st.Degraded, st.Reason = m.Reason != "", m.Reason
		})
	case restartDue:
		if s.due[m.name] == m { // else it was hurried
			s.restart(m)
		}
	case hurry:
		if due, waits := s.due[m.name]; waits {
			s.restart(due)
		}
	case *actor.Terminated:
		s.kernel.change(s.name(m.Who), func(st *Status) { st.State, st.Since = Stopped, time.Now() })
	}
}

// HandleFailure implements actor.SupervisorStrategy: the child is made afresh,
// sooner or later. A child that has never opened ends the start of the node.
func (s *supervisor) HandleFailure(
	_ *actor.ActorSystem, over actor.Supervisor, pid *actor.PID, _ *actor.RestartStatistics, reason, _ any,
) {
	name := s.name(pid)
	err := errorOf(reason)
	s.failedAt[name] = sequence.Add(1)
	starting := false
	s.kernel.change(name, func(st *Status) { starting = st.State == Starting })
	if starting {
		s.kernel.start(fmt.Errorf("%s: %w", name, err))
		return // stays suspended until Start has stopped everything
	}
	due := restartDue{name, s.failedAt[name], over, pid}
	if f, ok := reason.(Forgiven); ok && f.Forgiven() {
		s.restart(due)
		return
	}
	delay := s.delay(name)
	s.kernel.log.Error("layer broken", "layer", name, "reason", err, "restart_in", delay)
	s.kernel.change(name, func(st *Status) {
		st.State, st.Since, st.Reason = Backoff, time.Now(), err.Error()
	})
	if delay == 0 {
		s.restart(due)
		return
	}
	s.due[name] = due
	system, self := s.kernel.system, s.kernel.system.NewLocalPID(root)
	time.AfterFunc(delay, func() {
		if !s.kernel.isStopped() {
			system.Root.Send(self, due)
		}
	})
}

func (s *supervisor) restart(m restartDue) {
	delete(s.due, m.name)
	s.kernel.change(m.name, func(st *Status) { st.Restarts++ })
	m.over.RestartChildren(m.pid)
}

// delay counts a failure and returns how long to wait before the restart.
func (s *supervisor) delay(name string) time.Duration {
	f := s.failures[name]
	if f == nil {
		f = &failures{}
		s.failures[name] = f
	}
	now := time.Now()
	delay := backoff(f.count)
	if now.Sub(f.last) > delay+goodRun {
		f.count, delay = 0, 0
	}
	f.count++
	f.last = now
	return delay
}

// backoff is the wait after n earlier failures in a row.
func backoff(n int) time.Duration {
	if n == 0 {
		return 0
	}
	d := firstBackoff << min(n-1, 16)
	return min(d, maxBackoff)
}

func (s *supervisor) name(pid *actor.PID) string {
	if len(pid.Id) > len(root)+1 {
		return pid.Id[len(root)+1:]
	}
	return pid.Id
}

func (k *Kernel) isStopped() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.stopped
}
