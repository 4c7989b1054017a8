package plugin

import (
	"context"
	"errors"

	"github.com/stratanode/strata/plugins/transport"
)

// Running is a transport that can be opened, and what it runs in. A process is
// one; see InProcess for a transport that is compiled in.
type Running interface {
	transport.Transport

	// Ping asks for a sign of life.
	Ping(ctx context.Context) error

	// Kill ends it at once, whatever it is doing. It may be called several
	// times, also after Done.
	Kill()

	// Done is closed when it has ended or is broken for good, and Err then says
	// why.
	Done() <-chan struct{}
	Err() error

	Confinement() string // in words
	PID() int            // 0: it is in this process
}

// pipelined is implemented by a Running that takes several calls of Publish at
// a time, as a process does because the way there and back takes time.
type pipelined interface{ PublishCalls() int }

// breakable is implemented by a Running that is of no use any more some time
// before it is Done.
type breakable interface{ Broken() <-chan struct{} }

// patient is implemented by a Running that may stand at a breakpoint: no call
// but Open has a deadline then.
type patient interface{ Patient() bool }

func isPatient(r Running) bool {
	p, ok := r.(patient)
	return ok && p.Patient()
}

// apart reports whether r is not in this process.
func apart(r Running) bool {
	_, ok := r.(breakable)
	return ok || r.PID() != 0
}

// brokenSign returns what is closed when r is of no use any more.
func brokenSign(r Running) <-chan struct{} {
	if b, ok := r.(breakable); ok {
		return b.Broken()
	}
	return r.Done()
}

func isBroken(r Running) bool {
	select {
	case <-brokenSign(r):
		return true
	case <-r.Done():
		return true
	default:
		return false
	}
}

// maxCalls bounds what pipelined may ask for: more than two only makes the
// batches smaller.
const maxCalls = 4

// Opener starts what a transport runs in. The transport is not open yet.
type Opener func(ctx context.Context) (Running, error)

// InProcess returns an Opener for a transport that is compiled in. build is
// called at every start.
//
// A panic in one of the methods ends the life of the edge only. A panic in a
// goroutine of the transport ends the node, and a method that ignores its
// context leaves its goroutine behind: whoever wants to be safe from this runs
// it as a process.
func InProcess(build func() transport.Transport) Opener {
	return func(context.Context) (running Running, err error) {
		defer recovered(&err, "New")
		t := build()
		if t == nil {
			return nil, errors.New("there is no transport")
		}
		return inProcess{t}, nil
	}
}

type inProcess struct{ transport.Transport }

var (
	_ Running             = inProcess{}
	_ transport.Counter   = inProcess{}
	_ transport.Peerer    = inProcess{}
	_ transport.Querier   = inProcess{}
	_ transport.Server    = inProcess{}
	_ transport.Transport = inProcess{}
)

// Open implements transport.Transport and adds the abilities.
func (p inProcess) Open(ctx context.Context, o transport.Options) (transport.Info, error) {
	info, err := p.Transport.Open(ctx, o)
	info.Abilities = transport.AbilitiesOf(p.Transport)
	return info, err
}

func (p inProcess) Query(ctx context.Context, q transport.Query) (transport.Page, error) {
	if t, ok := p.Transport.(transport.Querier); ok {
		return t.Query(ctx, q)
	}
	return transport.Page{}, transport.ErrUnsupported
}

func (p inProcess) Serve(ctx context.Context, a transport.Archive) error {
	if t, ok := p.Transport.(transport.Server); ok {
		return t.Serve(ctx, a)
	}
	return transport.ErrUnsupported
}

func (p inProcess) Peers(ctx context.Context) ([]transport.Peer, error) {
	if t, ok := p.Transport.(transport.Peerer); ok {
		return t.Peers(ctx)
	}
	return nil, transport.ErrUnsupported
}

func (p inProcess) Stats(ctx context.Context) ([]transport.Stat, error) {
	if t, ok := p.Transport.(transport.Counter); ok {
		return t.Stats(ctx)
	}
	return nil, transport.ErrUnsupported
}

func (inProcess) Ping(context.Context) error { return nil }
func (inProcess) Kill()                      {}
func (inProcess) Done() <-chan struct{}      { return nil }
func (inProcess) Err() error                 { return nil }
func (inProcess) Confinement() string        { return "compiled in" }
func (inProcess) PID() int                   { return 0 }
