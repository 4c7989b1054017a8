package host

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/stratanode/strata/plugins/transport"
)

// Attached is a plugin that somebody else has started, under a debugger, say:
// "strata plugin run --dev" does. It is a transport.Transport, by way of its
// Remote. Nothing confines it, and what passes is not encrypted.
type Attached struct {
	*transport.Remote
	address string
	conn    *grpc.ClientConn

	asked   chan struct{} // closed by Kill
	askOnce sync.Once
	done    chan struct{}
}

// Attach connects to a plugin that serves the newest version without TLS at
// address, as unix:/path/to/socket. It returns when the plugin has answered a
// Ping. The caller has to call Kill.
func Attach(ctx context.Context, address string) (*Attached, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); !ok || !filepath.IsAbs(path) {
		return nil, fmt.Errorf("host: attach: %q is not unix: and an absolute path", address)
	}
	conn, err := grpc.NewClient(address, append(dialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		return nil, fmt.Errorf("host: attach: %w", err)
	}
	a := &Attached{
		Remote: transport.NewRemote(conn, transport.Version2), address: address, conn: conn,
		asked: make(chan struct{}), done: make(chan struct{}),
	}
	if err := a.Ping(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	a.NoTimeouts = true // it may stand at a breakpoint
	go a.attend()
	return a, nil
}

// attend waits for the end.
func (a *Attached) attend() {
	defer close(a.done)
	select {
	case <-a.Broken():
	case <-a.asked:
		ctx, cancel := context.WithTimeout(context.Background(), closeTime)
		defer cancel()
		// It may be closed already, and nothing else would follow from an error.
		_ = a.Close(ctx)
	}
	a.conn.Close()
}

// Kill closes the transport and the connection. The process is not ours to end;
// a plugin ends by itself when its node is gone. Kill may be called several times.
func (a *Attached) Kill() {
	a.askOnce.Do(func() { close(a.asked) })
	<-a.done
}

// Done is closed when the connection is.
func (a *Attached) Done() <-chan struct{} { return a.done }

// Err says why the connection ended. It is nil while there is one, and if Kill
// ended it.
func (a *Attached) Err() error {
	select {
	case <-a.asked:
		return nil
	default:
	}
	select {
	case <-a.done:
		return fmt.Errorf("host: %s: %w", a.address, a.Remote.Err())
	default:
		return nil
	}
}

// Ping asks the plugin whether it is well. ctx should have a deadline.
func (a *Attached) Ping(ctx context.Context) error {
	reply, err := healthpb.NewHealthClient(a.conn).Check(ctx, &healthpb.HealthCheckRequest{Service: plugin.GRPCServiceName})
	if err != nil {
		return fmt.Errorf("host: attach %s: %s", a.address, transport.Clean(err.Error(), transport.MaxText))
	}
	if reply.Status != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("host: attach %s: %w", a.address, errors.New("it does not serve"))
	}
	return nil
}

// PID returns 0: the process is not the host's.
func (a *Attached) PID() int { return 0 }

// Confinement says that there is none.
func (a *Attached) Confinement() string { return "none: attached" }

var _ transport.Transport = (*Attached)(nil)
