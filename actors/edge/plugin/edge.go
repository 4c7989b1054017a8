// Package plugin fills the transport slot with a transport.Transport of
// plugins/transport: a process, or something compiled in.
//
// A transport is not trusted. It may lose, delay, repeat and invent, and its
// process may crash, hang or flood. What it reports is checked, what it is asked
// has a deadline, and how much of it is inside the node is bounded; when it
// breaks, the edge fails, and the kernel builds a new one.
package plugin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/stratanode/strata/actors"
	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/transport"
)

// Up is where an edge hands its events to the layers above. actors.Outlet is
// one. Its methods must not wait.
type Up interface {
	Send(slot.Event)
	SendCredited(slot.Event, *actors.Credit)
	Fail(error)
}

var (
	_ Up                        = actors.Outlet[slot.Event]{}
	_ actors.Edge[slot.Command] = (*Edge)(nil)
)

// Deadlines of the calls, from the contract, and of what surrounds them.
const (
	openLimit      = 10 * time.Second
	subscribeLimit = 5 * time.Second
	publishLimit   = 5 * time.Second
	closeLimit     = 2 * time.Second
	killLimit      = 750 * time.Millisecond // for a kill to be carried out
	drainLimit     = 250 * time.Millisecond // for the other calls to return once their context is done
)

// Edge is one life of a transport. It implements actors.Edge[slot.Command].
//
// Open may wait, at most start_timeout; FromAbove does not. When the life is
// over, by a failure or by Close, everything is given up at once, and nothing
// is reported any more; what was not answered is offered again by the layers
// above after the next Ready.
type Edge struct {
	home *Resident
	cfg  Config
	up   Up
	log  *slog.Logger

	ctx     context.Context // ends with the life
	cancel  context.CancelFunc
	workers sync.WaitGroup
	release sync.Once
	gone    chan struct{} // closed when everything is given up

	mu      sync.Mutex    // guards what follows; no call of the transport is made under it
	running Running       // nil until it runs
	idle    chan struct{} // closed when all workers have returned
	info    transport.Info
	over    bool // nothing more is reported
	closed  bool // Close was called
	box     outbox
	topics  topics
	peers   peers
}

// Open implements actors.Edge: it starts the transport, opens it, and reports
// Ready.
func (e *Edge) Open() error {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(e.ctx, e.cfg.StartTimeout)
	defer cancel()
	info, err := e.open(ctx)
	if err != nil {
		err = fmt.Errorf("%s: %w", e.home.name, err)
		e.home.broke(err)
		e.mu.Lock()
		e.end()
		e.mu.Unlock()
		go e.giveUp(false) // the kernel may wait a minute before it calls Close
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.info = info
	e.home.opened(begun)
	e.ready()
	e.work()
	return nil
}

func (e *Edge) open(ctx context.Context) (info transport.Info, err error) {
	settings, err := e.cfg.settings()
	if err != nil {
		return info, err
	}
	running, err := e.start(ctx)
	if err != nil {
		return info, err
	}
	e.mu.Lock()
	e.running = running
	e.mu.Unlock()
	options := transport.Options{Config: settings, Dir: e.cfg.Dir, Log: e.log, Now: time.Now, Rand: rand.Reader}
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	type opened struct {
		info transport.Info
		err  error
	}
	got := make(chan opened, 1)
	go func() {
		var o opened
		defer func() { got <- o }()
		defer recovered(&o.err, "Open")
		if o.info, o.err = running.Open(ctx, options); o.err != nil {
			o.err = openError(o.err)
		}
	}()
	select {
	case o := <-got:
		if o.err != nil {
			return info, o.err
		}
		return checkInfo(o.info)
	case <-running.Done():
		return info, ended(running)
	case <-ctx.Done():
		return info, errors.New("Open did not return in time")
	}
}

// start runs the opener. A transport that comes to life too late is ended.
func (e *Edge) start(ctx context.Context) (Running, error) {
	type started struct {
		running Running
		err     error
	}
	got := make(chan started)
	go func() {
		var s started
		func() {
			defer recovered(&s.err, "start")
			s.running, s.err = e.home.open(ctx)
		}()
		select {
		case got <- s:
		case <-ctx.Done():
			if s.running != nil {
				s.running.Kill()
			}
		}
	}()
	select {
	case s := <-got:
		if s.err == nil && s.running == nil {
			s.err = errors.New("nothing was started")
		}
		if s.err != nil {
			return nil, fmt.Errorf("start: %w", s.err)
		}
		return s.running, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("start: not done within start_timeout, %v", e.cfg.StartTimeout)
	}
}

// openError makes the fault of a setting one of the configuration file.
func openError(err error) error {
	bad := typedError(err)
	if bad.Code == transport.CodeInvalid && bad.Field != "" {
		return fmt.Errorf("config.%s: %s", bad.Field, bad.Reason)
	}
	return fmt.Errorf("Open: %s", words(err))
}

// work starts the goroutines. mu is held.
func (e *Edge) work() {
	calls := 1
	if p, ok := e.running.(pipelined); ok {
		calls = max(1, min(p.PublishCalls(), maxCalls))
	}
	for range calls {
		e.workers.Go(e.publisher)
	}
	e.workers.Go(e.subscriber)
	e.workers.Go(e.receiver)
	e.workers.Go(e.pinger)
	if counter, ok := e.running.(transport.Counter); ok && e.info.Abilities.Stats {
		e.workers.Go(func() { e.poll(counter) })
	}
	idle := make(chan struct{})
	e.idle = idle
	go func() {
		e.workers.Wait()
		close(idle)
	}()
}

// FromAbove implements actors.Edge.
func (e *Edge) FromAbove(c slot.Command) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return // the next life begins with a Ready, and all is said again
	}
	switch c := c.(type) {
	case slot.Attach:
		e.ready()
	case slot.Subscribe:
		e.topics.set(c, e.log)
	case slot.Publish:
		e.publish(c)
	default:
		panic(fmt.Sprintf("plugin: unknown command %T", c))
	}
}

// ready reports what there is. mu is held.
func (e *Edge) ready() {
	e.up.Send(slot.Ready{Info: slot.Info{
		Name:    e.home.name,
		MaxData: e.info.MaxData,
		MinTTL:  e.minTTL(),
		MaxTTL:  e.info.MaxTTL,
		Latency: e.info.Latency,
	}})
	e.up.Send(slot.Peers{Count: e.peers.told})
}

func (e *Edge) minTTL() time.Duration { return min(e.cfg.MinTTL, e.info.MaxTTL) }

// fail ends the life because the transport is broken. Only the first call
// counts.
func (e *Edge) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return
	}
	e.end()
	e.blame()
	if e.peers.told > 0 {
		e.up.Send(slot.Peers{})
	}
	go e.failed(err)
}

// failed gives up what is broken before it says so: the kernel may wait a minute
// before it calls Close, and the next life must not find the sockets of this one.
func (e *Edge) failed(err error) {
	if p := (*panicked)(nil); errors.As(err, &p) {
		e.log.Error("the transport panicked", "in", p.method, "panic", p.value, "stack", p.stack)
	}
	e.giveUp(true)
	if cause := e.running.Err(); cause != nil { // how it ended says more than what that led to
		err = cause
	}
	err = fmt.Errorf("%s: %w", e.home.name, err)
	e.home.broke(err)
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed { // else it would be the next life that fails
		e.up.Fail(err)
	}
}

// end lets nothing more be reported, and the workers return. mu is held.
func (e *Edge) end() {
	e.over = true
	e.cancel()
	e.box.end()
	e.peers.end()
}

// Close implements actors.Edge. It takes 3 s at the most, or a little more if
// the system is slow to end a process.
func (e *Edge) Close() {
	e.mu.Lock()
	e.closed = true
	if !e.over {
		e.end()
	}
	e.mu.Unlock()
	e.giveUp(false)
	<-e.gone
}

// giveUp ends the transport, and then what it runs in. A broken process is not
// asked first.
func (e *Edge) giveUp(broken bool) {
	e.release.Do(func() {
		defer close(e.gone)
		e.mu.Lock()
		r, idle := e.running, e.idle
		e.mu.Unlock()
		if r == nil {
			return
		}
		if broken && r.PID() != 0 {
			bounded(closeLimit+killLimit, r.Kill)
			wait(idle, drainLimit)
			return
		}
		wait(idle, drainLimit)
		bounded(closeLimit, func() { e.closeTransport(r) })
		if !bounded(killLimit, r.Kill) || !wait(idle, drainLimit) {
			e.log.Warn("a call of the transport does not return, its goroutine is left behind", "transport", e.home.name)
		}
	})
}

func (e *Edge) closeTransport(r Running) {
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	var err error
	defer func() {
		if err != nil {
			e.log.Debug("closing the transport", "transport", e.home.name, "err", words(err))
		}
	}()
	defer recovered(&err, "Close")
	err = r.Close(ctx)
}

// bounded calls f and reports whether it returned in time.
func bounded(limit time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	return wait(done, limit)
}

func wait(done <-chan struct{}, limit time.Duration) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}
