package transport

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// fake is a transport whose network is the test.
type fake struct {
	info    Info
	openErr error
	publish func(context.Context, []Envelope) []error
	filters chan Filter
	batches chan []Envelope // what Publish got, if publish is nil
	reports chan Report     // what Receive returns
	asked   chan struct{}   // a Receive was called; has much room

	mu      sync.Mutex
	options Options
	closes  int
	down    chan struct{}
}

func newFake() *fake {
	return &fake{
		info: Info{
			Name: "fake", Version: "1.2.3", MaxData: 64 << 10, MaxTTL: time.Hour, Latency: 1500 * time.Millisecond,
			Sender: AnonymityAmong, Receiver: AnonymityGlobal, Ordering: OrderingSender, Storage: StorageTTL,
			Receipts: true, Privacy: []Privacy{PrivacyStem, PrivacyCover},
		},
		filters: make(chan Filter, 10),
		batches: make(chan []Envelope, 1000),
		reports: make(chan Report, 1000),
		asked:   make(chan struct{}, 100000),
		down:    make(chan struct{}),
	}
}

func (f *fake) Open(_ context.Context, o Options) (Info, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.options = o
	return f.info, f.openErr
}

func (f *fake) Subscribe(_ context.Context, filter Filter) error {
	f.filters <- filter
	return nil
}

func (f *fake) Publish(ctx context.Context, batch []Envelope) []error {
	if f.publish != nil {
		return f.publish(ctx, batch)
	}
	f.batches <- batch
	return nil
}

func (f *fake) Receive(ctx context.Context) (Report, error) {
	f.asked <- struct{}{}
	select {
	case <-ctx.Done():
		return Report{}, ctx.Err()
	case <-f.down:
		return Report{}, ErrClosed
	case r := <-f.reports:
		return r, nil
	}
}

func (f *fake) Close(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closes++; f.closes == 1 {
		close(f.down)
	}
	return nil
}

// able is a fake with all abilities.
type able struct {
	*fake
	query func(Query) (Page, error)
	peers []Peer
	stats []Stat
}

func (a *able) Query(_ context.Context, q Query) (Page, error) { return a.query(q) }
func (a *able) Peers(context.Context) ([]Peer, error)          { return a.peers, nil }
func (a *able) Stats(context.Context) ([]Stat, error)          { return a.stats, nil }

// dial returns a connection to a server within the process.
func dial(t testing.TB, register func(*grpc.Server)) *grpc.ClientConn {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(ServerOptions()...)
	register(server)
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(listener) }()
	dialer := func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }
	options := append(DialOptions(), grpc.WithContextDialer(dialer), grpc.WithTransportCredentials(insecure.NewCredentials()))
	conn, err := grpc.NewClient("passthrough:memory", options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		<-served
	})
	return conn
}

// remoteOf returns an unopened Remote of a transport behind gRPC.
func remoteOf(t testing.TB, tr Transport, version int) *Remote {
	t.Helper()
	r := NewRemote(dial(t, func(s *grpc.Server) { Register(s, func() Transport { return tr }, version) }), version)
	t.Cleanup(func() { _ = r.Close(context.Background()) })
	return r
}

// open returns an opened Remote of a transport behind gRPC.
func open(t testing.TB, tr Transport, version int) *Remote {
	t.Helper()
	r := remoteOf(t, tr, version)
	if _, err := r.Open(context.Background(), Options{}); err != nil {
		t.Fatal(err)
	}
	return r
}

// rogue is a plugin written by hand that keeps no rule.
type rogue struct {
	transportpb.UnimplementedTransportServer
	info *transportpb.Info
	pipe func(transportpb.Transport_PipeServer) error
	call func() error // of Subscribe and Stats
}

func (g *rogue) Open(context.Context, *transportpb.OpenRequest) (*transportpb.OpenReply, error) {
	return &transportpb.OpenReply{Info: g.info}, nil
}

func (g *rogue) Pipe(stream transportpb.Transport_PipeServer) error {
	if g.pipe == nil {
		<-stream.Context().Done()
		return nil
	}
	return g.pipe(stream)
}

func (g *rogue) Close(context.Context, *transportpb.CloseRequest) (*transportpb.CloseReply, error) {
	return &transportpb.CloseReply{}, nil
}

func goodInfo() *transportpb.Info { return toInfo(newFake().info, Version2) }

// against returns an unopened Remote of a rogue.
func against(t testing.TB, g *rogue) *Remote {
	t.Helper()
	if g.info == nil {
		g.info = goodInfo()
	}
	r := NewRemote(dial(t, func(s *grpc.Server) { transportpb.RegisterTransportServer(s, g) }), Version2)
	t.Cleanup(func() { _ = r.Close(context.Background()) })
	return r
}

// envelopes returns n different good envelopes with ids from first.
func envelopes(first, n, size int) []Envelope {
	es := make([]Envelope, n)
	for i := range es {
		data := make([]byte, size)
		for j := range data {
			data[j] = byte(first + i + j)
		}
		es[i] = Envelope{
			ID: uint64(first + i), Topic: Topic{1, 2, byte(i >> 8), byte(i)}, Data: data,
			Sent: time.Unix(1_700_000_000+int64(i), 0).UTC(), TTL: time.Minute,
		}
	}
	return es
}

// within returns what comes through ch.
func within[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not happen in %v", what, patience)
		panic("unreachable")
	}
}

// registering returns what puts a plugin written by hand on a server.
func registering(p transportpb.TransportServer) func(*grpc.Server) {
	return func(s *grpc.Server) { transportpb.RegisterTransportServer(s, p) }
}
