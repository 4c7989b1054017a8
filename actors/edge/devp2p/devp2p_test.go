package devp2p

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/rlpx"
	"github.com/ethereum/go-ethereum/rlp"
	"go.uber.org/goleak"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
)

// TestMain fails if a goroutine is left. Exempt are two that end by themselves
// within a second: one of the store that go-ethereum keeps node records in, after
// that was closed, and one of the dead letters of protoactor.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/syndtr/goleveldb/leveldb.(*DB).mpoolDrain"),
		goleak.IgnoreTopFunction("github.com/asynkron/protoactor-go/actor.NewDeadLetter.NewThrottle.func4.1"),
	)
}

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// Packet codes of the toy protocol.
const (
	codeHello   = 0
	codeText    = 1
	codeState   = 2 // Lasting
	codeState2  = 3 // Lasting
	codeUnknown = 9
	codeBad     = 66
	codePanic   = 77
)

const toyLimit = 64 << 10

type packet struct {
	code uint64
	text string
}

func (p packet) Size() int { return len(p.text) }

type lasting struct{ packet }

func (p lasting) Code() uint64 { return p.code }

// toy is a codec whose payloads are texts.
type toy struct{ name string }

func (c toy) Capability() (string, uint, uint64) { return c.name, 1, 128 }
func (toy) Limit() int                           { return toyLimit }

func (toy) Greeting(_ time.Time, code uint64, payload []byte) (overlay.Packet, error) {
	if code != codeHello || string(payload[:min(5, len(payload))]) != "hello" {
		return nil, errors.New("toy: no greeting")
	}
	return packet{code, string(payload)}, nil
}

func (toy) Decode(_ time.Time, code uint64, payload []byte) (overlay.Packet, error) {
	p := packet{code, string(payload)}
	switch code {
	case codeText:
		return p, nil
	case codeState, codeState2:
		return lasting{p}, nil
	case codeBad:
		return nil, errors.New("toy: bad packet")
	case codePanic:
		panic("toy: broken")
	}
	return nil, nil
}

// sink is an outlet that keeps what it hears.
type sink struct {
	mu    sync.Mutex
	heard []overlay.Event
	news  chan struct{}
	next  int // the first event that expect has not seen

	hold func(overlay.Event) bool // whose credit is kept
	held []*actors.Credit
	peak int64
	used func() int64
	fail error
}

func newSink() *sink { return &sink{news: make(chan struct{}, 1), used: func() int64 { return 0 }} }

func (s *sink) Send(e overlay.Event) { s.SendCredited(e, nil) }

func (s *sink) SendCredited(e overlay.Event, c *actors.Credit) {
	s.mu.Lock()
	s.heard = append(s.heard, e)
	s.peak = max(s.peak, s.used())
	keep := c != nil && s.hold != nil && s.hold(e)
	if keep {
		s.held = append(s.held, c)
	}
	s.mu.Unlock()
	if !keep {
		c.Return()
	}
	s.wake()
}

func (s *sink) Fail(err error) {
	s.mu.Lock()
	s.fail = err
	s.mu.Unlock()
	s.wake()
}

func (s *sink) wake() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// release returns the credits kept so far and keeps no more.
func (s *sink) release() {
	s.mu.Lock()
	held := s.held
	s.held, s.hold = nil, nil
	s.mu.Unlock()
	for _, c := range held {
		c.Return()
	}
}

// all returns what was heard so far.
func (s *sink) all() []overlay.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]overlay.Event(nil), s.heard...)
}

// wait returns when cond holds for what was heard.
func (s *sink) wait(t *testing.T, what string, cond func([]overlay.Event) bool) {
	t.Helper()
	timeout := time.After(patience)
	for !cond(s.all()) {
		select {
		case <-s.news:
		case <-timeout:
			t.Fatalf("waited in vain for %s; heard %s", what, describe(s.all()))
		}
	}
}

// expect skips to the next event of type E that fits, and returns it.
func expect[E overlay.Event](t *testing.T, s *sink, fits func(E) bool) E {
	t.Helper()
	var found E
	s.wait(t, fmt.Sprintf("%T", found), func(all []overlay.Event) bool {
		for s.next < len(all) {
			e, ok := all[s.next].(E)
			s.next++
			if ok && (fits == nil || fits(e)) {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

func describe(all []overlay.Event) (text string) {
	for i, e := range all {
		if i == 50 {
			return text + " …"
		}
		text += fmt.Sprintf("\n\t%T %.200v", e, fmt.Sprint(e))
	}
	return text
}

func count[E overlay.Event](all []overlay.Event) (n int) {
	for _, e := range all {
		if _, ok := e.(E); ok {
			n++
		}
	}
	return n
}

// strict is a log that lets nothing above debug pass, unless errors are wanted.
type strict struct {
	t     *testing.T
	lines chan struct{} // has an element when something was logged

	mu       sync.Mutex
	tolerant bool
	errors   []string
}

func (s *strict) Enabled(context.Context, slog.Level) bool { return true }
func (s *strict) WithAttrs([]slog.Attr) slog.Handler       { return s }
func (s *strict) WithGroup(string) slog.Handler            { return s }

func (s *strict) Handle(_ context.Context, r slog.Record) error {
	if r.Level > slog.LevelDebug {
		s.mu.Lock()
		s.errors = append(s.errors, r.Message)
		if !s.tolerant {
			s.t.Errorf("logged at %v: %s", r.Level, r.Message)
		}
		s.mu.Unlock()
	}
	select {
	case s.lines <- struct{}{}:
	default:
	}
	return nil
}

// until waits until cond, which changes only together with a line of the log,
// holds.
func (s *strict) until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	timeout := time.After(patience)
	for !cond() {
		select {
		case <-s.lines:
		case <-timeout:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// wantErrors lets p log errors.
func (s *strict) wantErrors() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tolerant = true
}

func (s *strict) logged() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.errors...)
}

// peer is an edge under test with what stands on it.
type peer struct {
	*Edge
	*sink
	log *strict
}

func (p *peer) id() overlay.PeerID { return overlay.PeerID(p.server.LocalNode().ID()) }
func (p *peer) url() string        { u, _ := p.Self(); return u }

func testConfig() Config {
	c := DefaultConfig()
	c.Listen = "127.0.0.1:0"
	return c
}

func newKey(t testing.TB) layers.PrivateKey {
	t.Helper()
	k, err := layers.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// start opens an edge that greets.
func start(t *testing.T, set func(*Config)) *peer {
	t.Helper()
	p := startSilent(t, set)
	p.FromAbove(overlay.Attach{})
	p.FromAbove(overlay.Greet{Packet: overlay.Outgoing{Code: codeHello, Payload: []byte("hello from " + p.id().String()[:8])}})
	return p
}

// startSilent opens an edge without a Greet.
func startSilent(t *testing.T, set func(*Config)) *peer {
	t.Helper()
	return startAs(t, toy{"toy"}, newKey(t), set)
}

func startAs(t *testing.T, codec overlay.Codec, key layers.PrivateKey, set func(*Config)) *peer {
	t.Helper()
	c := testConfig()
	if set != nil {
		set(&c)
	}
	log := &strict{t: t, lines: make(chan struct{}, 1)}
	s := newSink()
	p := &peer{sink: s, log: log}
	p.Edge = newEdge(c, key, codec, slog.New(log), s)
	s.used = p.flight.used.Load
	if err := p.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// ended waits until a link has ended by c.
func (p *peer) ended(t *testing.T, c cause) {
	t.Helper()
	p.log.until(t, "the end of a link by "+c.String(), func() bool { return p.Stats().Ended[c.String()] > 0 })
}

// settled waits until all credits are back.
func (p *peer) settled(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.flight.total.Acquire(ctx, p.flight.size); err != nil {
		t.Fatalf("%d bytes are in flight for ever", p.flight.used.Load())
	}
	p.flight.total.Release(p.flight.size)
}

func static(to ...*peer) func(*Config) {
	return func(c *Config) {
		for _, p := range to {
			c.StaticNodes = append(c.StaticNodes, p.url())
		}
	}
}

func with(of overlay.PeerID) func(overlay.Connected) bool {
	return func(c overlay.Connected) bool { return c.Peer == of }
}

func text(s string) overlay.Outgoing {
	return overlay.Outgoing{Code: codeText, Payload: []byte(s)}
}

// raw is an RLPx client that does what a test wants.
type raw struct {
	*rlpx.Conn
	t   *testing.T
	fd  net.Conn
	key *ecdsa.PrivateKey
}

type hello struct {
	Version    uint64
	Name       string
	Caps       []p2p.Cap
	ListenPort uint64
	ID         []byte
}

// dialRaw connects to an edge and passes the base handshake.
func dialRaw(t *testing.T, to *peer, key *ecdsa.PrivateKey, caps ...p2p.Cap) *raw {
	t.Helper()
	if len(caps) == 0 {
		caps = []p2p.Cap{{Name: "toy", Version: 1}}
	}
	r := connect(t, to, key)
	if _, err := r.Handshake(r.key); err != nil {
		t.Fatal(err)
	}
	b, err := rlp.EncodeToBytes(hello{5, "raw", caps, 0, crypto.FromECDSAPub(&r.key.PublicKey)[1:]})
	if err != nil {
		t.Fatal(err)
	}
	r.write(0, b)
	code, _, _, err := r.Read()
	if err != nil || code > 1 {
		t.Fatalf("hello answered by code %d, %v", code, err)
	}
	r.SetSnappy(true)
	return r
}

// connect opens the TCP connection only.
func connect(t *testing.T, to *peer, key *ecdsa.PrivateKey) *raw {
	t.Helper()
	if key == nil {
		var err error
		if key, err = crypto.GenerateKey(); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := net.Dial("tcp", to.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fd.Close() })
	if err := fd.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &raw{rlpx.NewConn(fd, &to.key.ECDSA().PublicKey), t, fd, key}
}

func (r *raw) id() overlay.PeerID {
	return overlay.PeerID(crypto.Keccak256(crypto.FromECDSAPub(&r.key.PublicKey)[1:]))
}

func (r *raw) write(code uint64, data []byte) {
	r.t.Helper()
	if _, err := r.Write(code, data); err != nil {
		r.t.Fatal(err)
	}
}

// say sends a packet of the protocol.
func (r *raw) say(code uint64, data string) { r.t.Helper(); r.write(16+code, []byte(data)) }

// greetings passes the greetings.
func (r *raw) greetings() *raw {
	r.t.Helper()
	r.say(codeHello, "hello raw")
	if code, data := r.read(); code != 16 || string(data[:5]) != "hello" {
		r.t.Fatalf("first packet is %d %q", code, data)
	}
	return r
}

// read returns the next packet but for pings.
func (r *raw) read() (uint64, []byte) {
	r.t.Helper()
	for {
		code, data, _, err := r.Read()
		if err != nil {
			r.t.Fatal(err)
		}
		if code != 2 {
			return code, data
		}
		r.write(3, []byte{0xc0})
	}
}

// gone reads until the edge ends the link, and returns the reason it tells; -1
// if it tells none.
func (r *raw) gone() int {
	r.t.Helper()
	for {
		code, data, _, err := r.Read()
		if err != nil {
			var late net.Error
			if errors.As(err, &late) && late.Timeout() {
				r.t.Fatal("the link was not ended")
			}
			return -1
		}
		if code == 1 {
			var reason []uint
			if err := rlp.DecodeBytes(data, &reason); err != nil || len(reason) != 1 {
				r.t.Fatalf("disconnect %x: %v", data, err)
			}
			return int(reason[0])
		}
	}
}
