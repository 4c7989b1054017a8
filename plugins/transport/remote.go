package transport

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

// How long a call may take if its context has no deadline. A plugin that takes
// longer commits a Breach.
const (
	OpenTimeout  = 10 * time.Second
	CallTimeout  = 5 * time.Second // Subscribe and Publish
	CloseTimeout = 2 * time.Second
	QueryTimeout = 30 * time.Second
	ListTimeout  = 2 * time.Second // Peers and Stats
)

// deadlineSlack is how long before its deadline a call that failed counts as
// late.
const deadlineSlack = 50 * time.Millisecond

// Remote is the host's half of a plugin: a Transport whose work is done by a
// process that is not trusted. Whatever that process sends is checked against
// the contract and bounded: what breaks the rules of the wire ends the Remote
// with a *Breach, what is merely wrong is dropped and counted.
//
// Its methods may be called at any time from any goroutine, more than a
// Transport demands; Publish may run several times at once.
type Remote struct {
	// NoTimeouts turns the deadlines of the package off, for a debugger. Set it
	// before Open.
	NoTimeouts bool

	client  transportpb.TransportClient
	conn    grpc.ClientConnInterface
	version int
	options []grpc.CallOption
	timeout func(time.Duration) time.Duration // shortens deadlines in tests

	ctx    context.Context // of the Pipe; ends with the Remote
	cancel context.CancelFunc
	loops  sync.WaitGroup
	broken chan struct{}
	wake   chan struct{} // wakes the writer
	ready  chan struct{} // wakes Receive

	closing  sync.Once
	closeErr error

	counts counts

	// Of the reader.
	idles     int       // frames since idleSince that carried nothing
	idleSince time.Time // zero at first

	mu    sync.Mutex
	err   error // why it is broken
	state int   // unopened, opening, opened, closing
	info  Info

	// Of Publish.
	queue   []offer           // not sent yet
	flight  map[uint64]answer // sent or queued, not answered
	credits uint64            // how many the plugin still takes
	taken   ring              // ids that may have a receipt

	// Of Receive.
	envelopes []Envelope
	receipts  []Receipt
	peers     *int
	held      int // how many the plugin may still report
	owed      int // how many Receive has taken since the last grant
	grant     int // how many the plugin is to be told that it may report
}

const (
	unopened = iota
	opening
	opened
	closing
)

type counts struct {
	time, ttl, receipts, late, peers, stats, texts, credits atomic.Uint64
}

// NewRemote returns the host's half of the plugin at the other end of conn,
// which speaks the version given. Nothing is sent before Open.
func NewRemote(conn grpc.ClientConnInterface, version int) *Remote {
	ctx, cancel := context.WithCancel(context.Background())
	return &Remote{
		client:  transportpb.NewTransportClient(conn),
		conn:    conn,
		version: version,
		// The bound is here and not in the connection, since go-plugin raises
		// that of the connection to 2 GiB.
		options: []grpc.CallOption{grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)},
		timeout: func(d time.Duration) time.Duration { return d },
		ctx:     ctx,
		cancel:  cancel,
		broken:  make(chan struct{}),
		wake:    make(chan struct{}, 1),
		ready:   make(chan struct{}, 1),
		flight:  make(map[uint64]answer),
	}
}

// Version returns the version of the wire form that is spoken.
func (r *Remote) Version() int { return r.version }

// Info returns what Open returned; the zero Info before.
func (r *Remote) Info() Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.info
}

// Broken is closed when nothing works any more: after a *Breach, when the Pipe
// has ended, and after Close. Err says which.
func (r *Remote) Broken() <-chan struct{} { return r.broken }

// Err returns nil while the Remote works, then why it does not: a *Breach, an
// *Error with CodeUnavailable if the plugin's Pipe ended, or ErrClosed. Every
// call returns the same.
func (r *Remote) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Counts returns how much was dropped, and why.
func (r *Remote) Counts() Counts {
	c := &r.counts
	return Counts{
		Time: c.time.Load(), TTL: c.ttl.Load(),
		Receipts: c.receipts.Load(), Late: c.late.Load(),
		Peers: c.peers.Load(), Stats: c.stats.Load(),
		Texts: c.texts.Load(), Credits: c.credits.Load(),
	}
}

// Open implements Transport. It also starts the Pipe.
func (r *Remote) Open(ctx context.Context, o Options) (Info, error) {
	if len(o.Config) > MaxConfig {
		return Info{}, Invalid("config", "longer than %d bytes", MaxConfig)
	}
	r.mu.Lock()
	if r.err != nil || r.state != unopened {
		defer r.mu.Unlock()
		if r.err != nil {
			return Info{}, r.err
		}
		return Info{}, Invalid("Open", "called twice")
	}
	r.state = opening
	r.mu.Unlock()

	ctx, cancel := r.deadline(ctx, OpenTimeout)
	defer cancel()
	reply, err := r.client.Open(ctx, &transportpb.OpenRequest{Config: o.Config, Dir: o.Dir}, r.options...)
	if err != nil {
		return Info{}, r.failed(ctx, "Open", err)
	}
	if reply.Error != nil {
		return Info{}, r.fromError(reply.Error)
	}
	info, err := r.fromInfo(reply.Info)
	if err != nil {
		return Info{}, r.fail(err)
	}
	return info, r.startPipe(info)
}

// Subscribe implements Transport.
func (r *Remote) Subscribe(ctx context.Context, f Filter) error {
	if len(f.Topics) > MaxTopics {
		return Invalid("topics", "%d of them, at most %d are allowed", len(f.Topics), MaxTopics)
	}
	if err := r.usable(); err != nil {
		return err
	}
	ctx, cancel := r.deadline(ctx, CallTimeout)
	defer cancel()
	reply, err := r.client.Subscribe(ctx, toFilter(f), r.options...)
	if err != nil {
		return r.failed(ctx, "Subscribe", err)
	}
	return r.fromError(reply.Error)
}

// Close implements Transport. Called again, it returns the same as before. When
// it returns, nothing of the Remote runs any more.
func (r *Remote) Close(ctx context.Context) error {
	r.closing.Do(func() {
		ctx, cancel := r.deadline(ctx, CloseTimeout)
		defer cancel()
		if r.leave() {
			reply, err := r.client.Close(ctx, &transportpb.CloseRequest{}, r.options...)
			if err != nil {
				r.closeErr = r.failed(ctx, "Close", err)
			} else {
				r.closeErr = r.fromError(reply.Error)
			}
		}
		r.fail(ErrClosed)
	})
	r.loops.Wait()
	return r.closeErr
}

// leave reports whether there is a plugin to be closed. From then on the end of
// the Pipe is expected, and nothing else can be called.
func (r *Remote) leave() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = closing
	return r.err == nil
}

// usable returns why nothing can be asked of the plugin now.
func (r *Remote) usable() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.err != nil:
		return r.err
	case r.state != opened:
		return errNotOpen
	}
	return nil
}

// fail breaks the Remote for the reason given and returns the reason it is
// broken for; the first one counts.
func (r *Remote) fail(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	r.err = err
	close(r.broken)
	r.cancel()
	r.queue, r.envelopes, r.receipts = nil, nil, nil
	return err
}

// errLate is the cause of a context that the package gave its deadline.
var errLate = errors.New("the plugin did not answer in time")

// deadline gives ctx the deadline of the contract if it has none. Calls end with
// the Remote.
func (r *Remote) deadline(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(r.ctx, cancel)
	if _, ok := ctx.Deadline(); !ok && !r.NoTimeouts {
		timed, cancelTimed := context.WithTimeoutCause(ctx, r.timeout(d), errLate)
		return timed, func() { cancelTimed(); stop(); cancel() }
	}
	return ctx, func() { stop(); cancel() }
}

// failed returns what a failed call of the given method means, and breaks the
// Remote if it was a breach.
func (r *Remote) failed(ctx context.Context, method string, err error) error {
	if broken := r.Err(); broken != nil {
		return broken
	}
	// The plugin's end knows the deadline too, and may give up a little earlier.
	if d, ok := ctx.Deadline(); ok && time.Until(d) < deadlineSlack {
		<-ctx.Done()
	}
	if errors.Is(context.Cause(ctx), errLate) {
		return r.fail(breach(RuleDeadlineMissed, "%s: %v", method, errLate))
	}
	if ctx.Err() != nil {
		return fmt.Errorf("transport: %s: %w", method, ctx.Err())
	}
	s := status.Convert(err)
	text := r.clean(s.Message(), MaxText)
	switch s.Code() {
	case codes.ResourceExhausted:
		return r.fail(breach(RuleFrameSize, "%s: %s", method, text))
	case codes.Unimplemented:
		return r.fail(breach(RuleCallMissing, "%s: %s", method, text))
	case codes.Unavailable, codes.Canceled:
		return r.fail(&Error{CodeUnavailable, method, "the plugin is gone: " + text})
	}
	return &Error{CodeInternal, method, text}
}
