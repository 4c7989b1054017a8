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
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
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

	ctx      context.Context // ends with the life
	cancel   context.CancelFunc
	workers  sync.WaitGroup
	released atomic.Bool   // giving up has begun
	gone     chan struct{} // closed when everything is given up

	mu      sync.Mutex    // guards what follows; no call of the transport is made under it
	running Running       // nil until it runs
	idle    chan struct{} // closed when all workers have returned
	info    transport.Info
	over    bool // nothing more is reported
	closed  bool // Close was called
	box     outbox
	topics  topics
	peers   peers
	queries queries
	asks    asks
	kept    uint64 // the latest mark that an archive has confirmed
}

// FromAbove implements actors.Edge.
func (e *Edge) FromAbove(c slot.Command) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		// The next life begins with a Ready, and all is said again, but a Query is
		// answered once and for all.
		if q, ok := c.(slot.Query); ok {
			e.up.Send(slot.Queried{Ref: q.Ref, End: slot.QueryGone, Reason: e.home.name + ": the transport broke"})
		}
		return
	}
	switch c := c.(type) {
	case slot.Attach:
		e.ready()
	case slot.Subscribe:
		e.topics.set(c, e.log)
	case slot.Publish:
		e.publish(c)
	case slot.Query:
		e.query(c)
	case slot.Cancel:
		e.cancelQuery(c.Ref)
	case slot.Watch:
		e.watch(c)
	case slot.Kept:
		e.kept = max(e.kept, c.Mark) // there are no confirmations to hold back
	case slot.Page:
		e.page(c)
	case slot.Set:
		e.refuse(c.Ref, "a plugin has no such settings")
	case slot.Trust:
		e.refuse(c.Ref, "a plugin has no trusted peers")
	case slot.Direct:
		e.refuse(c.Ref, "a plugin sends nothing to one peer only")
	case slot.Describe:
		e.up.Send(slot.Described{Ref: c.Ref, State: e.state()})
	case slot.Explain:
		e.up.Send(e.explain(c))
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
	if servers := e.servers(); len(servers) > 0 {
		e.up.Send(slot.Archives{Servers: servers})
	}
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
	e.abandonQueries()
	e.abandonAsks()
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

// leave keeps what is unanswered for the next life to answer: nothing that is
// reported now is heard. mu is held.
func (e *Edge) leave() {
	for ref := range e.queries.byRef {
		e.home.left.queries = append(e.home.left.queries, ref)
	}
	for id := range e.asks.open {
		e.home.left.asks = append(e.home.left.asks, id)
	}
}

// answerLeft answers what lives before this one have left. mu is held.
func (e *Edge) answerLeft() {
	for _, ref := range e.home.left.queries {
		e.up.Send(slot.Queried{Ref: ref, Server: e.home.name, End: slot.QueryGone, Reason: e.home.name + ": the transport was closed"})
	}
	for _, id := range e.home.left.asks {
		e.up.Send(slot.Abandoned{Ask: id})
	}
	e.home.left = left{}
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
		e.leave()
	}
	e.mu.Unlock()
	e.giveUp(false)
	<-e.gone
}

// giveUp ends the transport, and then what it runs in. A broken process is not
// asked first.
func (e *Edge) giveUp(broken bool) {
	if e.released.Swap(true) {
		return
	}
	defer close(e.gone)
	e.mu.Lock()
	r, idle := e.running, e.idle
	e.mu.Unlock()
	if r == nil {
		return
	}
	if broken && apart(r) {
		bounded(closeLimit+killLimit, r.Kill)
		wait(idle, drainLimit)
		return
	}
	wait(idle, drainLimit)
	bounded(closeLimit, func() { e.closeTransport(r) })
	if !bounded(killLimit, r.Kill) || !wait(idle, drainLimit) {
		e.log.Warn("a call of the transport does not return, its goroutine is left behind")
	}
}

func (e *Edge) closeTransport(r Running) {
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	var err error
	defer func() {
		if err != nil {
			e.log.Debug("closing the transport", "err", words(err))
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
