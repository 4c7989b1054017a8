// Package kernel is the microkernel: it keeps actors alive, reads the layer
// configuration file and, in kernel/store, keeps durable records. It knows no
// protocol, no layer and no plugin.
package kernel

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// root is the name of the supervisor; a child's PID is root/name.
const root = "node"

// stopWithin bounds how long one child may take to finish what is queued for it
// before it is stopped with the rest unread.
const stopWithin = 3 * time.Second

// Child is an actor the kernel is to keep alive. The kernel makes it afresh,
// from the producer in Props, whenever it panics.
type Child struct {
	Name  string
	Props *actor.Props
}

// Opened says that a child is ready to work. It is sent by Announce.
type Opened struct {
	name string
	seq  uint64
}

// sequence orders what children say and what becomes of them: a failure overtakes
// what the child said before, because it is a system message.
var sequence atomic.Uint64

// Announce is called by a child each time it is ready to work.
func Announce(ctx actor.Context, name string) {
	ctx.Send(ctx.Parent(), Opened{name, sequence.Add(1)})
}

// Degraded is sent by a child to its parent when it works on, but not as it
// should, for example because the disk is full. An empty Reason takes it back.
type Degraded struct{ Name, Reason string }

// Forgiven is implemented by the value of a panic that is part of an orderly
// recovery. It is not counted as a failure and causes no back-off.
type Forgiven interface{ Forgiven() bool }

// State is what a child is doing.
type State string

// The states of a child.
const (
	Starting State = "starting"
	Running  State = "running"
	Backoff  State = "backing off"
	Stopped  State = "stopped"
)

// Status describes one child.
type Status struct {
	Name     string    `json:"name"`
	State    State     `json:"state"`
	Since    time.Time `json:"since"` // when it came into this state
	Restarts int       `json:"restarts"`
	Reason   string    `json:"reason,omitempty"` // of the last failure, or what is degraded
	Degraded bool      `json:"degraded"`
}

// Kernel is one running node, seen as a set of supervised actors. Its methods
// are safe for concurrent use.
type Kernel struct {
	log    *slog.Logger
	system *actor.ActorSystem

	mu      sync.Mutex
	pid     *actor.PID
	order   []string
	status  map[string]*Status
	waiting int        // children that have not opened yet
	started chan error // closed when all have, or given the reason why not
	stopped bool
	workers []worker // of the children
	watch   []func(Status)
}

// New returns a kernel without children.
func New(log *slog.Logger) *Kernel {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil)) // the kernel logs failures itself
	system := actor.NewActorSystem(
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return quiet }),
		actor.WithDeadLetterRequestLogging(false),
	)
	k := &Kernel{log: log, system: system, status: map[string]*Status{}, started: make(chan error, 1)}
	system.EventStream.Subscribe(func(e any) {
		if d, ok := e.(*actor.DeadLetterEvent); ok {
			k.deadLetter(d)
		}
	})
	return k
}

// System returns the actor system, for those who run actors.
func (k *Kernel) System() *actor.ActorSystem { return k.system }

// PID returns the address of a child. It is valid before the child exists and
// over its restarts.
func (k *Kernel) PID(name string) *actor.PID { return k.system.NewLocalPID(root + "/" + name) }

// OnChange calls f with every change of a child's status, in the goroutine of
// the supervisor; f must not wait. It is called before Start.
func (k *Kernel) OnChange(f func(Status)) { k.watch = append(k.watch, f) }

// Start spawns the children in order and returns when all have opened. If one
// cannot open, the others are stopped again and the reason is returned.
func (k *Kernel) Start(children []Child) error {
	k.waiting = len(children)
	for _, c := range children {
		if k.status[c.Name] != nil {
			return fmt.Errorf("kernel: two children are named %s", c.Name)
		}
		k.order = append(k.order, c.Name)
		k.status[c.Name] = &Status{Name: c.Name, State: Starting, Since: time.Now()}
	}
	pid, err := k.system.Root.SpawnNamed(actor.PropsFromProducer(func() actor.Actor {
		return &supervisor{kernel: k, children: children, failures: map[string]*failures{},
			failedAt: map[string]uint64{}, due: map[string]restartDue{}}
	}), root)
	if err != nil {
		return fmt.Errorf("kernel: %w", err)
	}
	k.mu.Lock()
	k.pid = pid
	k.mu.Unlock()
	if err := <-k.started; err != nil {
		k.Stop()
		return err
	}
	return nil
}

// Stop ends the children in the reverse of their order, each after it has
// finished what was queued for it, and returns when all are gone.
func (k *Kernel) Stop() {
	k.mu.Lock()
	pid, stopped := k.pid, k.stopped
	k.stopped = true
	k.mu.Unlock()
	if pid == nil || stopped {
		return
	}
	for _, name := range slices.Backward(k.order) {
		k.stopChild(name)
	}
	k.system.Root.StopFuture(pid).Wait()
	k.system.Shutdown()
	for _, w := range k.workers {
		w.end()
	}
}

// newWorker returns the dispatcher of a child, which ends with the kernel.
func (k *Kernel) newWorker(begin <-chan struct{}) worker {
	w := newWorker(begin)
	k.workers = append(k.workers, w)
	return w
}

// stopChild lets a running child finish what is queued, for a while. One that
// is broken reads nothing and is stopped at once.
func (k *Kernel) stopChild(name string) {
	k.mu.Lock()
	running := k.status[name].State == Running
	k.mu.Unlock()
	pid := k.PID(name)
	if running {
		done := make(chan struct{})
		future := k.system.Root.PoisonFuture(pid)
		go func() { future.Wait(); close(done) }()
		select {
		case <-done:
			return
		case <-time.After(stopWithin):
			defer func() { <-done }()
		}
	}
	k.system.Root.StopFuture(pid).Wait()
}

// Status describes all children, in the order they were given to Start.
func (k *Kernel) Status() []Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make([]Status, 0, len(k.order))
	for _, name := range k.order {
		all = append(all, *k.status[name])
	}
	return all
}

// Healthy reports whether every child is running and none is degraded.
func (k *Kernel) Healthy() bool {
	return !slices.ContainsFunc(k.Status(), func(s Status) bool { return s.State != Running || s.Degraded })
}

// Broken reports whether a child has failed and waits for its next start.
func (k *Kernel) Broken(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.status[name]
	return s != nil && s.State == Backoff
}

// Hurry starts a broken child at once instead of after its back-off.
func (k *Kernel) Hurry(name string) { k.system.Root.Send(k.system.NewLocalPID(root), hurry{name}) }

// change applies f to the status of a child and tells those who watch.
func (k *Kernel) change(name string, f func(*Status)) {
	k.mu.Lock()
	s := k.status[name]
	if s == nil {
		k.mu.Unlock()
		return
	}
	f(s)
	now := *s
	k.mu.Unlock()
	for _, w := range k.watch {
		w(now)
	}
}

// opened counts the child in if Start is still waiting for it.
func (k *Kernel) opened(name string) {
	first := false
	k.change(name, func(s *Status) {
		first = s.State == Starting
		s.State, s.Since = Running, time.Now()
	})
	if !first {
		return
	}
	k.mu.Lock()
	k.waiting--
	all := k.waiting == 0
	k.mu.Unlock()
	if all {
		k.start(nil)
	}
}

// start ends the waiting of Start; only the first call counts.
func (k *Kernel) start(err error) {
	select {
	case k.started <- err:
	default:
	}
}

// deadLetter reports a message that nobody got. While the node stops that is
// expected; at any other time it is a fault of ours.
func (k *Kernel) deadLetter(d *actor.DeadLetterEvent) {
	k.mu.Lock()
	stopped := k.stopped
	k.mu.Unlock()
	if !stopped && d.PID != nil {
		k.log.Error("message to nobody", "to", d.PID.Id, "type", fmt.Sprintf("%T", d.Message))
	}
}

// errorOf makes an error of the value of a panic.
func errorOf(reason any) error {
	if err, ok := reason.(error); ok {
		return err
	}
	return errors.New(fmt.Sprint(reason))
}
