package host

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/stratanode/strata/plugins/transport"
)

// quiet is a transport that does nothing, and notes that it was closed.
type quiet struct{ closed atomic.Bool }

func (*quiet) Open(context.Context, transport.Options) (transport.Info, error) {
	return transport.Info{Name: "quiet", Version: "1", MaxData: 1000, MaxTTL: time.Minute}, nil
}
func (*quiet) Subscribe(context.Context, transport.Filter) error     { return nil }
func (*quiet) Publish(context.Context, []transport.Envelope) []error { return nil }
func (q *quiet) Close(context.Context) error                         { q.closed.Store(true); return nil }
func (*quiet) Receive(ctx context.Context) (transport.Report, error) {
	<-ctx.Done()
	return transport.Report{}, ctx.Err()
}

// served serves a transport as "strata plugin run --dev" has it, until the end
// of the test.
func served(t *testing.T, q *quiet) (address string, stop func()) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(transport.ServerOptions()...)
	transport.Register(s, func() transport.Transport { return q }, transport.Version2)
	h := health.NewServer()
	h.SetServingStatus("plugin", healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(s, h)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // until Stop
	}()
	stop = func() {
		s.Stop()
		<-done
	}
	t.Cleanup(stop)
	return "unix:" + path, stop
}

func TestAttachedPluginIsClosedAndNotKilled(t *testing.T) {
	q := &quiet{}
	address, _ := served(t, q)
	a, err := Attach(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	info, err := a.Open(t.Context(), transport.Options{Config: []byte("{}")})
	if err != nil || info.Name != "quiet" {
		t.Errorf("Open: %+v, %v", info, err)
	}
	if a.PID() != 0 || !strings.HasPrefix(a.Confinement(), "none") || a.Err() != nil {
		t.Errorf("PID %d, confinement %q, %v", a.PID(), a.Confinement(), a.Err())
	}
	a.Kill()
	a.Kill()
	if !q.closed.Load() || a.Err() != nil {
		t.Errorf("closed %v, %v, want true and no error", q.closed.Load(), a.Err())
	}
}

func TestAttachedPluginThatEndsIsNoticed(t *testing.T) {
	address, stop := served(t, &quiet{})
	a, err := Attach(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Kill()
	if _, err := a.Open(t.Context(), transport.Options{Config: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	stop()
	select {
	case <-a.Done():
		if a.Err() == nil {
			t.Error("there is no reason")
		}
	case <-time.After(10 * time.Second):
		t.Error("its end is not noticed")
	}
}

func TestAttachNeedsAPlugin(t *testing.T) {
	for _, address := range []string{"", "/run/x", "unix:x", "tcp:127.0.0.1:1", "unix:" + filepath.Join(t.TempDir(), "none")} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		a, err := Attach(ctx, address)
		cancel()
		if err == nil {
			a.Kill()
			t.Errorf("%q: attached", address)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%q: %v", address, err)
		}
	}
}
