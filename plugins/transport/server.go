package transport

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

const (
	// closeGrace is how long a plugin waits after Close for the host to end the
	// Pipe, so that the reply to Close is not cut off.
	closeGrace = time.Second

	// lostGrace is how long a transport may take to close when the host is gone.
	lostGrace = 700 * time.Millisecond
)

// errNotOpen answers calls before Open and after Close.
var errNotOpen = &Error{Code: CodeClosed, Reason: "the transport is not open"}

// server is the plugin's side of the contract: it calls a Transport as a host
// in the same process would.
type server struct {
	transportpb.UnimplementedTransportServer
	new     func() Transport
	version int
	log     *slog.Logger

	mu        sync.Mutex
	transport Transport // nil before Open
	info      Info
	open      bool // Open has returned without an error, Close was not called
	piped     bool // Pipe was called

	serving chan struct{} // full while Serve runs

	closing  sync.Once
	closed   chan struct{} // closed when Close has returned
	closeErr error

	ending sync.Once
	gone   chan struct{} // closed when the process should end
	code   int           // its exit code; valid when gone is closed
}

func newServer(new func() Transport, version int) *server {
	return &server{
		new:     new,
		version: version,
		log:     slog.New(slog.DiscardHandler),
		serving: make(chan struct{}, 1),
		closed:  make(chan struct{}),
		gone:    make(chan struct{}),
	}
}

// end says that the process should end. The first word counts.
func (s *server) end(code int) {
	s.ending.Do(func() {
		s.code = code
		close(s.gone)
	})
}

// Open implements the RPC.
func (s *server) Open(ctx context.Context, q *transportpb.OpenRequest) (*transportpb.OpenReply, error) {
	if len(q.Config) > MaxConfig {
		return &transportpb.OpenReply{Error: toError(Invalid("config", "longer than %d bytes", MaxConfig))}, nil
	}
	t, err := s.claim()
	if err != nil {
		return &transportpb.OpenReply{Error: toError(err)}, nil
	}
	config := q.Config
	if len(config) == 0 {
		config = []byte("{}")
	}
	info, err := t.Open(ctx, Options{Config: config, Dir: q.Dir, Log: s.log, Now: time.Now, Rand: rand.Reader})
	if err != nil {
		return &transportpb.OpenReply{Error: toError(err)}, nil
	}
	if s.version >= Version2 {
		info.Abilities = AbilitiesOf(t)
	}
	s.mu.Lock()
	s.info, s.open = info, true
	s.mu.Unlock()
	return &transportpb.OpenReply{Info: toInfo(info, s.version)}, nil
}

// claim makes the transport, once.
func (s *server) claim() (Transport, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.transport != nil {
		return nil, &Error{Code: CodeInternal, Reason: "Open was called before"}
	}
	s.transport = s.new()
	return s.transport, nil
}

// opened returns the transport if it may be used.
func (s *server) opened() (Transport, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open {
		return nil, errNotOpen
	}
	return s.transport, nil
}

// Subscribe implements the RPC.
func (s *server) Subscribe(ctx context.Context, q *transportpb.SubscribeRequest) (*transportpb.SubscribeReply, error) {
	t, err := s.opened()
	if err != nil {
		return &transportpb.SubscribeReply{Error: toError(err)}, nil
	}
	f, err := fromFilter(q)
	if err == nil {
		err = t.Subscribe(ctx, f)
	}
	return &transportpb.SubscribeReply{Error: toError(err)}, nil
}

// Pipe implements the RPC. When it returns, the process ends.
func (s *server) Pipe(stream transportpb.Transport_PipeServer) error {
	s.mu.Lock()
	t, info, open, again := s.transport, s.info, s.open, s.piped
	s.piped = s.piped || open
	s.mu.Unlock()
	if !open || again {
		return status.Error(codes.FailedPrecondition, "transport: the Pipe is opened once, after Open")
	}
	err := newPipe(s, t, info).run(stream)
	if _, closing := s.opened(); closing != nil {
		select { // what the transport says while it closes is no fault
		case <-s.closed:
		case <-time.After(CloseTimeout):
		}
		select { // the reply to Close may still be on its way
		case <-stream.Context().Done():
		case <-time.After(closeGrace):
		}
		s.end(0)
		return nil
	}
	s.close(lostGrace)
	if broken := (*Error)(nil); errors.As(err, &broken) {
		s.log.Error("the transport is broken", "error", err)
		s.end(1)
		return status.Error(codes.Aborted, Clean(err.Error(), MaxText))
	}
	s.end(0)
	return err
}

// Close implements the RPC.
func (s *server) Close(ctx context.Context, _ *transportpb.CloseRequest) (*transportpb.CloseReply, error) {
	err := s.closeOnce(ctx)
	s.mu.Lock()
	piped := s.piped
	s.mu.Unlock()
	if !piped { // nothing else would end the process
		time.AfterFunc(closeGrace, func() { s.end(0) })
	}
	return &transportpb.CloseReply{Error: toError(err)}, nil
}

// close is Close when the host did not ask for it.
func (s *server) close(grace time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	return s.closeOnce(ctx)
}

// closeOnce closes the transport, once, and waits for that within ctx, whether
// or not the transport heeds its context.
func (s *server) closeOnce(ctx context.Context) error {
	s.closing.Do(func() {
		s.mu.Lock()
		t := s.transport
		s.open = false
		s.mu.Unlock()
		if t == nil {
			close(s.closed)
			return
		}
		// The deadline of the first caller, but not its cancellation: a host
		// that hangs up does not stop the transport from tidying.
		deadline, ok := ctx.Deadline()
		if !ok {
			deadline = time.Now().Add(CloseTimeout)
		}
		go func() {
			defer close(s.closed)
			ctx, cancel := context.WithDeadline(context.Background(), deadline)
			defer cancel()
			s.closeErr = t.Close(ctx)
		}()
	})
	select {
	case <-s.closed:
		return s.closeErr
	case <-ctx.Done():
		return ctx.Err()
	}
}
