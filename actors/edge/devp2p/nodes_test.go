package devp2p

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
)

// linked waits until p has n links in all.
func (p *peer) linked(t *testing.T, n int) {
	t.Helper()
	p.sink.wait(t, fmt.Sprintf("%d links", n), func(all []overlay.Event) bool {
		return count[overlay.Connected](all)-count[overlay.Disconnected](all) == n
	})
}

func TestStaticNodesTakeNoPlaceAndInboundPlacesRemain(t *testing.T) {
	for _, tt := range []struct {
		maxPeers, static, strangers int
	}{
		{0, 3, 0},
		{1, 3, 1},
		{2, 3, 1}, // the other place is kept for a node we dial
		{3, 3, 2},
		{3, 6, 2},
		{6, 0, 4},
	} {
		t.Run(fmt.Sprintf("max_peers %d static %d", tt.maxPeers, tt.static), func(t *testing.T) {
			var nodes []*peer
			for range tt.static {
				nodes = append(nodes, start(t, nil))
			}
			hub := start(t, func(c *Config) {
				static(nodes...)(c)
				c.MaxPeers = tt.maxPeers
			})
			hub.linked(t, tt.static)
			for range tt.strangers {
				dialRaw(t, hub, nil).greetings()
			}
			hub.linked(t, tt.static+tt.strangers)
			if got := dialRaw(t, hub, nil).gone(); got != int(p2p.DiscTooManyPeers) {
				t.Errorf("one stranger too many was told reason %d", got)
			}
			if got := hub.Stats().Full; got != 1 {
				t.Errorf("%d peers turned away", got)
			}
		})
	}
}

func TestStrangersCannotTakeThePlacesOfNodesThatWeDial(t *testing.T) {
	a, other := start(t, func(c *Config) { c.MaxPeers = 3 }), start(t, nil)
	for range 2 {
		dialRaw(t, a, nil).greetings()
	}
	a.linked(t, 2)
	a.FromAbove(overlay.AddPeer{Ref: layers.Ref{1}, Node: other.url()})
	expect(t, a.sink, with(other.id()))
}

func TestPlaceIsFreeAgainWhenALinkEnds(t *testing.T) {
	a := start(t, func(c *Config) { c.MaxPeers = 2 })
	for range 3 {
		r := dialRaw(t, a, nil).greetings()
		expect(t, a.sink, with(r.id()))
		r.fd.Close()
		expect[overlay.Disconnected](t, a.sink, nil)
		a.log.until(t, "the end", func() bool { return a.Stats().Links == 0 })
	}
}

func TestTrustedNodeConnectsBeyondTheLimit(t *testing.T) {
	key := newKey(t)
	friend := enode.NewV4(&key.ECDSA().PublicKey, net.IP{127, 0, 0, 1}, 1, 0)
	a := start(t, func(c *Config) {
		c.MaxPeers = 1
		c.TrustedNodes = []string{friend.URLv4()}
	})
	dialRaw(t, a, nil).greetings()
	a.linked(t, 1)
	if got := dialRaw(t, a, nil).gone(); got != int(p2p.DiscTooManyPeers) {
		t.Errorf("told reason %d", got)
	}
	r := dialRaw(t, a, key.ECDSA()).greetings()
	if got := expect(t, a.sink, with(r.id())); !got.Trusted {
		t.Errorf("got %+v", got)
	}

	second, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	// Trusted at run time, by a node that cannot be dialled.
	a.FromAbove(overlay.AddPeer{Ref: layers.Ref{2}, Trusted: true, Node: enode.NewV4(&second.PublicKey, net.IP{127, 0, 0, 1}, 1, 0).URLv4()})
	expect[overlay.Done](t, a.sink, nil)
	r = dialRaw(t, a, second).greetings()
	expect(t, a.sink, with(r.id()))
}

func TestNodesAreAddedListedAndRemovedAtRunTime(t *testing.T) {
	a, b, c := start(t, nil), start(t, nil), start(t, nil)
	dead := enode.NewV4(&newKey(t).ECDSA().PublicKey, net.IP{127, 0, 0, 1}, 1, 0)
	_, record := c.Self()
	for i, node := range []string{b.url(), record, dead.URLv4(), b.url()} {
		a.FromAbove(overlay.AddPeer{Ref: layers.Ref{byte(i)}, Node: node})
		if got := expect[overlay.Done](t, a.sink, nil); got.Ref != (layers.Ref{byte(i)}) {
			t.Errorf("answered %v", got.Ref)
		}
	}
	a.linked(t, 2)
	a.FromAbove(overlay.ListPeers{Ref: layers.Ref{9}})
	got := expect[overlay.Listed](t, a.sink, nil)
	if got.Ref != (layers.Ref{9}) || len(got.Peers) != 3 {
		t.Fatalf("listed %+v", got)
	}
	for i, p := range got.Peers {
		if i > 0 && got.Peers[i-1].ID.String() >= p.ID.String() {
			t.Errorf("peers are not sorted")
		}
		if live := p.ID != overlay.PeerID(dead.ID()); p.Connected != live || !p.Static || p.Inbound || p.Trusted || (p.In == 1) != live || p.Since.IsZero() == live {
			t.Errorf("listed %+v", p)
		}
	}

	a.FromAbove(overlay.RemovePeer{Ref: layers.Ref{10}, Node: b.url()})
	if got := expect[overlay.Disconnected](t, a.sink, nil); got.Peer != b.id() || got.Reason != "removed" {
		t.Errorf("got %+v", got)
	}
	expect(t, a.sink, func(d overlay.Done) bool { return d.Ref == layers.Ref{10} })
	a.FromAbove(overlay.RemovePeer{Ref: layers.Ref{11}, Node: dead.URLv4()})
	expect(t, a.sink, func(d overlay.Done) bool { return d.Ref == layers.Ref{11} })
	a.FromAbove(overlay.ListPeers{})
	if got := expect[overlay.Listed](t, a.sink, nil); len(got.Peers) != 1 || got.Peers[0].ID != c.id() {
		t.Errorf("listed %+v", got.Peers)
	}

	// It comes back, though it does not dial us.
	a.FromAbove(overlay.AddPeer{Ref: layers.Ref{12}, Node: b.url()})
	expect(t, a.sink, func(d overlay.Done) bool { return d.Ref == layers.Ref{12} })
	if got := expect(t, a.sink, with(b.id())); got.Inbound {
		t.Errorf("got %+v", got)
	}
}

func TestLinkThatOnlyTheOtherSideWantedCanBeRemoved(t *testing.T) {
	a, b := pair(t)
	a.FromAbove(overlay.RemovePeer{Ref: layers.Ref{1}, Node: b.url()})
	expect[overlay.Disconnected](t, a.sink, nil)
	expect[overlay.Done](t, a.sink, nil)
}

func TestFaultyRequestIsRefusedAndLeavesTheLinks(t *testing.T) {
	a, b := pair(t)
	key := &newKey(t).ECDSA().PublicKey
	for i, c := range []overlay.Command{
		overlay.AddPeer{Node: ""},
		overlay.AddPeer{Node: "enode://" + strings.Repeat("0", 128) + "@127.0.0.1:1"},
		overlay.AddPeer{Node: "enr:-AAAA"},
		overlay.AddPeer{Node: "http://127.0.0.1"},
		overlay.AddPeer{Node: "enr:" + strings.Repeat("A", 2000)},
		overlay.AddPeer{Node: a.url()},
		overlay.AddPeer{Node: enode.NewV4(key, net.IP{127, 0, 0, 1}, 0, 5).URLv4()},
		overlay.AddPeer{Node: enode.NewV4(key, nil, 5, 5).URLv4()},
		overlay.AddPeer{Node: enode.NewV4(key, net.IPv4zero, 5, 5).URLv4()},
		overlay.RemovePeer{Node: "x"},
		overlay.RemovePeer{Node: enode.NewV4(key, net.IP{127, 0, 0, 1}, 5, 5).URLv4()},
	} {
		ref := layers.Ref{byte(i + 1)}
		switch x := c.(type) {
		case overlay.AddPeer:
			x.Ref = ref
			a.FromAbove(x)
		case overlay.RemovePeer:
			x.Ref = ref
			a.FromAbove(x)
		}
		if got := expect[overlay.Refused](t, a.sink, nil); got.Ref != ref || got.Reason == "" {
			t.Errorf("%+v: got %+v", c, got)
		}
	}
	a.FromAbove(overlay.ListPeers{})
	if got := expect[overlay.Listed](t, a.sink, nil); len(got.Peers) != 1 || !got.Peers[0].Connected || got.Peers[0].ID != b.id() {
		t.Errorf("listed %+v", got.Peers)
	}
	if got := count[overlay.Done](a.all()); got != 0 {
		t.Errorf("%d Done", got)
	}
}

func TestTrustedNodesHaveABound(t *testing.T) {
	a := start(t, nil)
	var refused overlay.Refused
	for i := range maxTrusted + 1 {
		n := enode.NewV4(&newKey(t).ECDSA().PublicKey, net.IP{127, 0, 0, 1}, 1, 0)
		ref := layers.Ref{1, byte(i >> 8), byte(i)}
		a.FromAbove(overlay.AddPeer{Ref: ref, Node: n.URLv4(), Trusted: true})
		a.sink.wait(t, "an answer", func(all []overlay.Event) bool {
			r, no := all[len(all)-1].(overlay.Refused)
			d, yes := all[len(all)-1].(overlay.Done)
			if no && r.Ref == ref {
				refused = r
			}
			return no && r.Ref == ref || yes && d.Ref == ref
		})
		if got, want := refused.Reason != "", i == maxTrusted; got != want {
			t.Fatalf("node %d: %q", i, refused.Reason)
		}
	}
}

func TestRepeatedRequestIsAnsweredOnce(t *testing.T) {
	a := start(t, nil)
	block := make(chan struct{})
	a.requests <- func() { <-block }
	n := enode.NewV4(&newKey(t).ECDSA().PublicKey, net.IP{127, 0, 0, 1}, 1, 0).URLv4()
	for range 3 {
		a.FromAbove(overlay.AddPeer{Ref: layers.Ref{1}, Node: n})
	}
	close(block)
	a.FromAbove(overlay.AddPeer{Ref: layers.Ref{2}, Node: n})
	expect(t, a.sink, func(d overlay.Done) bool { return d.Ref == layers.Ref{2} })
	if got := count[overlay.Done](a.all()); got != 2 {
		t.Errorf("%d Done, want 2", got)
	}
}

func TestRequestsThatWaitAreBounded(t *testing.T) {
	a := start(t, nil)
	block, taken := make(chan struct{}), make(chan struct{})
	a.requests <- func() { close(taken); <-block }
	<-taken
	n := enode.NewV4(&newKey(t).ECDSA().PublicKey, net.IP{127, 0, 0, 1}, 1, 0).URLv4()
	for i := range maxRequests + 5 {
		a.FromAbove(overlay.AddPeer{Ref: layers.Ref{1, byte(i >> 8), byte(i)}, Node: n})
	}
	close(block)
	a.sink.wait(t, "all answers", func(all []overlay.Event) bool {
		return count[overlay.Done](all) == maxRequests && count[overlay.Refused](all) == 5
	})
}

func TestNodeThatIsNotInboundOpensNoPort(t *testing.T) {
	other := start(t, nil)
	a := start(t, func(c *Config) { c.Inbound = false; static(other)(c) })
	if a.listener != nil {
		t.Errorf("listens on %v", a.listener.Addr())
	}
	expect(t, a.sink, with(other.id()))
}

func TestNodeThatIsNotOutboundDoesNotDial(t *testing.T) {
	a, b := start(t, func(c *Config) { c.Outbound = false }), start(t, nil)
	a.FromAbove(overlay.AddPeer{Ref: layers.Ref{1}, Node: b.url()})
	if got := expect[overlay.Refused](t, a.sink, nil); !strings.Contains(got.Reason, "outbound") {
		t.Errorf("got %+v", got)
	}
	a.FromAbove(overlay.AddPeer{Ref: layers.Ref{2}, Node: b.url(), Trusted: true})
	expect[overlay.Done](t, a.sink, nil)
}

func TestAddressOutsideNetRestrictIsTurnedAway(t *testing.T) {
	a := start(t, func(c *Config) { c.NetRestrict = []string{"10.0.0.0/8"} })
	r := connect(t, a, nil)
	if n, err := r.fd.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes", n)
	}
	a.log.until(t, "the refusal", func() bool { return a.Stats().TurnedAway == 1 })
	a.FromAbove(overlay.AddPeer{Ref: layers.Ref{1}, Node: enode.NewV4(&newKey(t).ECDSA().PublicKey, net.IP{127, 0, 0, 1}, 1, 0).URLv4()})
	if got := expect[overlay.Refused](t, a.sink, nil); !strings.Contains(got.Reason, "net_restrict") {
		t.Errorf("got %+v", got)
	}
}

func TestAddressThatTriesTooOftenIsTurnedAway(t *testing.T) {
	t0 := time.Unix(1_600_000_000, 0)
	a := attempts{until: map[netip.Prefix]time.Time{}}
	for _, tt := range []struct {
		at   time.Duration
		ip   string
		want bool
	}{
		{0, "192.0.2.1", true},
		{time.Second, "192.0.2.1", false},
		{time.Second, "192.0.2.2", true},
		{29 * time.Second, "192.0.2.1", false},
		{30 * time.Second, "192.0.2.1", true},
		{30 * time.Second, "2001:db8::1", true},
		{30 * time.Second, "2001:db8::2", false}, // of the same household
		{30 * time.Second, "2001:db8:0:1::1", true},
	} {
		if got := a.allow(t0.Add(tt.at), netip.MustParseAddr(tt.ip)); got != tt.want {
			t.Errorf("%v after %v: %v, want %v", tt.ip, tt.at, got, tt.want)
		}
	}
	for i := range 3 * maxAttempts {
		a.allow(t0.Add(time.Minute), netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if len(a.until) != maxAttempts || len(a.order) != maxAttempts {
		t.Errorf("%d and %d addresses are remembered", len(a.until), len(a.order))
	}
}
