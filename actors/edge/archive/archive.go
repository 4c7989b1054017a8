// Package archive keeps what a mail server stores and answers what peers ask of
// it. It reads no envelope beyond its topic.
//
// It stands beside the stack on the transport: what is admitted there is made
// durable and then said to be kept, so that a peer whose envelope was confirmed
// may forget it. Who asks is answered page by page, each when the one before was
// taken.
package archive

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/edge/bridge"
	"github.com/stratanode/strata/layers/transport"
)

// name is what the archive is called in the stack.
const name = "archive"

// side is one of the two transports that an archive may stand on.
type side uint8

const (
	near side = iota
	far
)

// Archive is the edge. Its exported methods are safe for concurrent use, but for
// Stand, StandFar and those of actors.Life.
type Archive struct {
	cfg Config
	dir string
	log *slog.Logger

	top  *actors.Top
	send [2]func(transport.Command) // nil: does not stand there

	limits *limits

	mu     sync.Mutex // guards the rest; held only for moments
	life   *life      // nil while closed
	counts Counts
	fault  string   // why nothing is stored; empty: it is
	last   Contents // some seconds old

	sources []SourceState // of cfg.Sync, in its order
}

// New returns an archive of a valid configuration; dir is the data folder.
func New(cfg Config, dir string, log *slog.Logger) *Archive {
	return &Archive{cfg: cfg, dir: dir, log: log.With("edge", name), limits: newLimits(cfg), sources: newSourceStates(cfg)}
}

// Stand puts the archive on a transport, which must be there already: it keeps
// what is admitted there and answers what is asked there.
func (a *Archive) Stand(s *actors.Stack, on actors.Slot[transport.Command, transport.Event]) {
	a.top = actors.NewTop(s, name)
	a.send[near] = actors.HearCredited(a.top, on, func(e transport.Event, c *actors.Credit) { a.hear(near, e, c) }).Send
	a.top.Run(a)
}

// StandFar puts the archive on the other transport of a bridge as well, after
// Stand: what is asked there is answered too. What comes from there the bridge
// publishes on the near side, so it is kept.
func (a *Archive) StandFar(on actors.Slot[transport.Command, bridge.Far]) {
	a.send[far] = actors.HearCredited(a.top, on, func(e bridge.Far, c *actors.Credit) { a.hear(far, e.Event, c) }).Send
}

// life is the archive between Open and Close.
type life struct {
	ctx    context.Context // of all that is under way
	cancel context.CancelFunc
	done   chan struct{} // closed when nothing is
	tried  chan struct{} // closed when the database is there, or was tried to be opened in vain

	store Store // nil until the database is there; guarded by Archive.mu
	users sync.WaitGroup

	queue queue
	desk  desk
	pages *pages
}

// Open implements actors.Life. The database may come later.
func (a *Archive) Open() error {
	ctx, cancel := context.WithCancel(context.Background())
	l := &life{ctx: ctx, cancel: cancel, done: make(chan struct{}), tried: make(chan struct{}), queue: newQueue(), desk: newDesk(a.cfg.Waiting), pages: newPages()}
	a.mu.Lock()
	a.life = l
	a.mu.Unlock()
	go a.run(l)
	for _, send := range a.send {
		if send != nil {
			send(transport.Attach{})
		}
	}
	return nil
}

// Close implements actors.Life.
func (a *Archive) Close() {
	a.mu.Lock()
	l := a.life
	a.life = nil
	a.mu.Unlock()
	if l == nil {
		return
	}
	l.cancel()
	<-l.done
}

// run opens the database and then does all that waits for it.
func (a *Archive) run(l *life) {
	defer close(l.done)
	defer l.queue.abandon()
	tried := sync.OnceFunc(func() { close(l.tried) })
	defer tried()
	store, err := a.open(l.ctx, tried)
	if err != nil {
		return // closed meanwhile
	}
	a.mu.Lock()
	l.store = store
	a.mu.Unlock()
	tried()
	l.users.Go(func() { a.write(l, store) })
	l.users.Go(func() { a.care(l, store) })
	if len(a.cfg.Sync) > 0 {
		l.users.Go(func() { a.follow(l, store) })
	}
	for range a.cfg.Concurrent {
		l.users.Go(func() { a.work(l, store) })
	}
	<-l.ctx.Done()
	a.mu.Lock()
	l.store = nil // nobody comes to l.users any more
	a.mu.Unlock()
	l.users.Wait()
	if err := store.Close(); err != nil {
		a.log.Warn("database was not closed well", "err", err)
	}
}

// Bounds of the pauses between attempts to reach a database.
const (
	leastPause = 100 * time.Millisecond
	mostPause  = 30 * time.Second
)

// open tries until it succeeds or the archive is closed. It calls failed when it
// has not succeeded.
func (a *Archive) open(ctx context.Context, failed func()) (Store, error) {
	for pause := leastPause; ; pause = min(2*pause, mostPause) {
		store, err := OpenStore(ctx, a.cfg, a.dir)
		if err == nil {
			a.recovered()
			return store, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		a.degraded(err)
		failed()
		if err := wait(ctx, pause); err != nil {
			return nil, err
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// degraded notes that the database does not work.
func (a *Archive) degraded(err error) {
	err = withoutPassword(err, a.cfg.Database)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fault == "" {
		a.log.Error("nothing is archived until the database works", "err", err)
	}
	a.fault = err.Error()
	a.counts.Faults++
}

// recovered notes that it does.
func (a *Archive) recovered() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fault != "" {
		a.log.Info("the database works again")
	}
	a.fault = ""
}

// hear takes one event of a transport.
func (a *Archive) hear(on side, e transport.Event, c *actors.Credit) {
	a.mu.Lock()
	l := a.life
	a.mu.Unlock()
	if l == nil {
		c.Return()
		return
	}
	switch e := e.(type) {
	case transport.Ready:
		a.watch(on)
		if on == near {
			l.pages.repeat(a.send[near])
		}
	case transport.History:
		if on == near && l.pages.take(e, c, &l.queue, a.oldest(time.Now())) {
			return
		}
	case transport.Queried:
		if on == near {
			l.pages.answered(e)
		}
	case transport.Admitted:
		if on == near {
			a.admit(l, e, c)
			return
		}
	case transport.Asked:
		a.ask(l, on, e)
	case transport.Taken:
		l.desk.taken(askID{on, e.Ask})
	case transport.Abandoned:
		l.desk.abandon(askID{on, e.Ask})
	}
	c.Return()
}

// watch asks a transport for what concerns an archive.
func (a *Archive) watch(on side) {
	a.send[on](transport.Watch{Keeps: on == near, Serves: true})
}

// errNotOpen is what the methods return while there is no database.
var errNotOpen = errors.New("archive: the database is not open")

// with runs f with the store, which is not closed meanwhile.
func (a *Archive) with(ctx context.Context, f func(context.Context, Store) error) error {
	return a.within(ctx, func(ctx context.Context, _ *life, s Store) error { return f(ctx, s) })
}

func (a *Archive) within(ctx context.Context, f func(context.Context, *life, Store) error) error {
	a.mu.Lock()
	l := a.life
	a.mu.Unlock()
	if l == nil {
		return errNotOpen
	}
	select { // a node that has just started is worth a moment
	case <-l.tried:
	case <-ctx.Done():
		return ctx.Err()
	}
	a.mu.Lock()
	if l.store == nil {
		a.mu.Unlock()
		return errNotOpen
	}
	store := l.store
	l.users.Add(1)
	a.mu.Unlock()
	defer l.users.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	return withoutPassword(f(ctx, l, store), a.cfg.Database)
}

// Prune removes everything from before a time and returns how much that was.
func (a *Archive) Prune(ctx context.Context, before time.Time) (removed int, err error) {
	err = a.with(ctx, func(ctx context.Context, s Store) error {
		removed, err = Prune(ctx, s, before)
		a.count(func(c *Counts) { c.Pruned += uint64(removed) })
		return err
	})
	return removed, err
}

// Verify reads everything that is stored and compares it with itself. It tells
// how far it is now and then.
func (a *Archive) Verify(ctx context.Context, report func(done, total int)) (v Verified, err error) {
	err = a.with(ctx, func(ctx context.Context, s Store) error {
		v, err = s.Verify(ctx, report)
		return err
	})
	return v, err
}

// Find says when an envelope that is stored was sent.
func (a *Archive) Find(ctx context.Context, hash transport.Hash) (sent time.Time, found bool, err error) {
	err = a.with(ctx, func(ctx context.Context, s Store) error {
		sent, found, err = s.Find(ctx, hash)
		return err
	})
	return sent, found, err
}
