package devp2p

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
)

func greet(p *peer) *peer {
	p.FromAbove(overlay.Greet{Packet: overlay.Outgoing{Code: codeHello, Payload: []byte("hello")}})
	return p
}

func TestClientOfARelayThatRestartsIsLinkedAgain(t *testing.T) {
	key := newKey(t)
	relay := greet(startAs(t, toy{"toy"}, key, nil))
	at := relay.listener.Addr().String()
	client := start(t, static(relay))
	for range 3 {
		expect(t, client.sink, with(relay.id()))
		relay.Close()
		expect[overlay.Disconnected](t, client.sink, nil)
		relay = greet(startAs(t, toy{"toy"}, key, func(c *Config) { c.Listen = at }))
	}
	expect(t, client.sink, with(relay.id()))
	if got := client.Stats(); got.Dials > 12 { // delays of 1 s, 2 s, …: 12 attempts take two minutes
		t.Errorf("it took %d attempts, %d failed", got.Dials, got.DialsFailed)
	}
}

func TestClientThatRestartsBeforeTheRelayNoticedIsLinkedSoon(t *testing.T) {
	relay := start(t, nil)
	key := newKey(t)
	old := dialRaw(t, relay, key.ECDSA()).greetings()
	expect(t, relay.sink, with(old.id()))
	client := greet(startAs(t, toy{"toy"}, key, static(relay)))
	client.log.until(t, "two refusals", func() bool { return client.Stats().DialsFailed >= 2 })
	if got := count[overlay.Connected](client.all()); got != 0 {
		t.Fatalf("linked %d times beside the old link", got)
	}
	old.fd.Close()
	expect(t, client.sink, with(relay.id()))
	if got := client.Stats().Dials; got > 8 {
		t.Errorf("it took %d attempts", got)
	}
}

func TestNodesThatKeepEachOtherFindOneLink(t *testing.T) {
	a, b := start(t, nil), start(t, nil)
	a.FromAbove(overlay.AddPeer{Ref: layers.Ref{1}, Node: b.url()})
	b.FromAbove(overlay.AddPeer{Ref: layers.Ref{1}, Node: a.url()})
	a.linked(t, 1)
	b.linked(t, 1)
}

func TestConnectedTellsTheAddressOfTheOtherEnd(t *testing.T) {
	a := start(t, nil)
	b := start(t, static(a))
	at, bt := expect(t, a.sink, with(b.id())), expect(t, b.sink, with(a.id()))
	if got, want := bt.Address, addressOf(a.listener); got != want {
		t.Errorf("the dialled end is at %v, want %v", got, want)
	}
	if got := at.Address; got.Addr() != loopback || got.Port() == 0 || got == addressOf(b.listener) {
		t.Errorf("the end that dialled is at %v", got)
	}
}

func TestNodeThatMovedIsDialledAtItsNewAddress(t *testing.T) {
	a, b := start(t, nil), start(t, nil)
	old := enode.NewV4(&b.key.ECDSA().PublicKey, net.IP{127, 0, 0, 1}, 1, 0)
	a.FromAbove(overlay.AddPeer{Ref: layers.Ref{1}, Node: old.URLv4()})
	a.log.until(t, "three failures", func() bool { return a.Stats().DialsFailed >= 3 })
	a.FromAbove(overlay.AddPeer{Ref: layers.Ref{2}, Node: b.url()})
	expect(t, a.sink, with(b.id()))
}

func TestHostNameIsDialled(t *testing.T) {
	b := start(t, nil)
	a := start(t, func(c *Config) {
		c.StaticNodes = []string{strings.Replace(b.url(), "127.0.0.1", "localhost", 1)}
	})
	expect(t, a.sink, with(b.id()))
}

// mute is a listener that takes connections and says nothing.
type mute struct {
	net.Listener
	took chan net.Conn
}

func startMute(t *testing.T) *mute {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &mute{l, make(chan net.Conn, 100)}
	go func() {
		defer close(m.took)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			m.took <- c
		}
	}()
	t.Cleanup(func() {
		l.Close()
		for c := range m.took {
			c.Close()
		}
	})
	return m
}

// url names a node that is to be found here.
func (m *mute) url(t *testing.T) string {
	return enode.NewV4(&newKey(t).ECDSA().PublicKey, net.IP{127, 0, 0, 1}, m.Addr().(*net.TCPAddr).Port, 0).URLv4()
}

// next returns the next connection.
func (m *mute) next(t *testing.T) net.Conn {
	t.Helper()
	select {
	case c := <-m.took:
		return c
	case <-time.After(patience):
		t.Fatal("nobody has dialled")
		return nil
	}
}

func closedByOther(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(4 * time.Second)); err != nil { // the handshake alone would give up after 5
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the connection was not closed: %v", err)
	}
}

func TestDialsUnderWayAreBounded(t *testing.T) {
	const most = 2
	m := startMute(t)
	a := start(t, func(c *Config) {
		c.MaxPendingPeers = most
		for range 3 * most {
			c.StaticNodes = append(c.StaticNodes, m.url(t))
		}
	})
	first := m.next(t)
	m.next(t)
	for i := range most { // each end of a connection lets one more begin
		if got := a.Stats(); got.Dials != most+uint64(i) || got.DialsFailed != uint64(i) {
			t.Errorf("%d dials begun, %d over, want %d and %d", got.Dials, got.DialsFailed, most+i, i)
		}
		first.Close()
		first = m.next(t)
	}
}

func TestDialUnderWayEndsWhenTheNodeIsRemoved(t *testing.T) {
	m := startMute(t)
	url := m.url(t)
	a := start(t, func(c *Config) { c.StaticNodes = []string{url} })
	c := m.next(t)
	a.FromAbove(overlay.RemovePeer{Ref: layers.Ref{1}, Node: url})
	expect[overlay.Done](t, a.sink, nil)
	closedByOther(t, c)
	a.FromAbove(overlay.AddPeer{Ref: layers.Ref{2}, Node: url})
	m.next(t)
}

func TestDialUnderWayEndsWithTheEdge(t *testing.T) {
	m := startMute(t)
	url := m.url(t)
	a := start(t, func(c *Config) { c.StaticNodes = []string{url} })
	c := m.next(t)
	begin := time.Now()
	a.Close()
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("Close took %v", took)
	}
	closedByOther(t, c)
}

// pass forwards everything between two connections until one of them is closed.
// It closes both then, and the channel it returns.
func pass(t *testing.T, a, b net.Conn) <-chan struct{} {
	t.Helper()
	over := make(chan struct{})
	var wg sync.WaitGroup
	for _, c := range [][2]net.Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			io.Copy(c[0], c[1])
			a.Close()
			b.Close()
		})
	}
	go func() { wg.Wait(); close(over) }()
	t.Cleanup(func() { a.Close(); b.Close(); <-over })
	return over
}

func TestNodeRemovedAtTheEndOfADialIsNotLinked(t *testing.T) {
	m, b := startMute(t), start(t, nil)
	node := enode.NewV4(&b.key.ECDSA().PublicKey, net.IP{127, 0, 0, 1}, m.Addr().(*net.TCPAddr).Port, 0)
	a := start(t, nil)
	a.FromAbove(overlay.AddPeer{Ref: layers.Ref{1}, Node: node.URLv4()})
	c := m.next(t)
	a.Edge.mu.Lock()
	delete(a.nodes, node.ID()) // too late for the dial to be ended
	a.Edge.mu.Unlock()
	on, err := net.Dial("tcp", b.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-pass(t, c, on): // whichever end of it b saw first
	case <-time.After(patience):
		t.Fatal("a has not ended the connection")
	}
	if got := count[overlay.Connected](a.all()); got != 0 {
		t.Errorf("%d links to a removed node", got)
	}
	a.Edge.mu.Lock()
	defer a.Edge.mu.Unlock()
	if a.places.taken != 0 {
		t.Errorf("%d places taken", a.places.taken)
	}
}

func TestNodeWithoutAPlaceIsNotDialled(t *testing.T) {
	m := startMute(t)
	a := start(t, func(c *Config) { c.MaxPeers = 0 })
	a.FromAbove(overlay.AddPeer{Ref: layers.Ref{1}, Node: m.url(t)})
	expect[overlay.Done](t, a.sink, nil)
	a.FromAbove(overlay.AddPeer{Ref: layers.Ref{2}, Node: m.url(t), Trusted: true})
	m.next(t)
	if got := a.Stats().Dials; got != 1 {
		t.Errorf("%d dials, want that of the trusted node only", got)
	}
}
