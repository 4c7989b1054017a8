package libp2p

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/zeroconf/v2"

	"github.com/stratanode/strata/plugins/transport"
)

// everywhere is what a node listens on by default.
var everywhere = DefaultConfig().Listen

// onLAN opens a node that knows no peer.
func onLAN(t *testing.T, s settings) *node {
	t.Helper()
	all := settings{"listen": everywhere, "mdns": true}
	for k, v := range s {
		all[k] = v
	}
	n := start(t, all)
	n.subscribe(t, topic)
	return n
}

// converse lets each of two nodes hear the other.
func converse(t *testing.T, a, b *node) {
	t.Helper()
	a.say(t, 1, topic, "is this the LAN")
	b.awaitEnvelopes(t, 1)
	b.say(t, 2, topic, "it is")
	a.awaitEnvelopes(t, 1)
	a.awaitReceipt(t, 1, transport.OutcomeRelayed)
	b.awaitReceipt(t, 2, transport.OutcomeRelayed)
}

func TestNodesFindEachOtherOnTheLAN(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T){
		"IPv4 and IPv6": func(*testing.T) {}, "no IPv6": withoutIPv6,
	} {
		t.Run(name, func(t *testing.T) {
			isolated(t, func(t *testing.T) {
				prepare(t)
				began := time.Now()
				a, b := onLAN(t, nil), onLAN(t, nil)
				converse(t, a, b)
				t.Logf("both heard each other after %v", time.Since(began))
			})
		})
	}
}

func TestNodeThatOnlyDialsFindsTheOthers(t *testing.T) {
	isolated(t, func(t *testing.T) {
		a := onLAN(t, settings{"listen": []string{}})
		b := onLAN(t, nil)
		converse(t, a, b)
		if n := len(a.Addrs()); n != 0 {
			t.Errorf("it listens on %v", a.Addrs())
		}
	})
}

// TestLostPeerIsMetAgain: what mDNS has told once it does not tell again by
// itself until an hour is over.
func TestLostPeerIsMetAgain(t *testing.T) {
	isolated(t, func(t *testing.T) {
		lanRound = 500 * time.Millisecond
		a, b := onLAN(t, nil), onLAN(t, nil)
		converse(t, a, b)
		for range 3 {
			a.awaitConnection(t, b, nil)
			before := a.host.Network().ConnsToPeer(b.host.ID())
			if err := a.host.Network().ClosePeer(b.host.ID()); err != nil {
				t.Fatal(err)
			}
			a.awaitConnection(t, b, before)
		}
	})
}

// awaitConnection polls for a connection that is not one of some former ones.
func (n *node) awaitConnection(t *testing.T, to *node, former []network.Conn) {
	t.Helper()
	until(t, "a connection", func() bool {
		return slices.ContainsFunc(n.host.Network().ConnsToPeer(to.host.ID()), func(c network.Conn) bool {
			return !slices.ContainsFunc(former, func(f network.Conn) bool { return f.ID() == c.ID() })
		})
	})
}

func TestNodeWithoutTheOptionIsNotFound(t *testing.T) {
	isolated(t, func(t *testing.T) {
		lanRound = 200 * time.Millisecond
		silent := start(t, settings{"listen": everywhere})
		a, b := onLAN(t, nil), onLAN(t, nil)
		converse(t, a, b)
		if n := len(silent.host.Network().Conns()); n != 0 {
			t.Errorf("it has %d connections, want none", n)
		}
	})
}

func TestWrongAnnouncementsHarmNobody(t *testing.T) {
	isolated(t, func(t *testing.T) {
		const stranger = "/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
		for name, texts := range map[string][]string{
			"empty":     {""},
			"foreign":   {"path=/"},
			"malformed": {lanText, lanText + "/ip4/999.0.0.1/tcp/1", lanText + "\x00\xff", lanText + "/ip4/127.0.0.1"},
			"nobody":    {lanText + "/ip4/127.0.0.1/tcp/1" + stranger},
			"browser":   {lanText + "/ip4/127.0.0.1/udp/1/quic-v1/webtransport" + stranger},
			"long":      {lanText + "/dns4/" + strings.Repeat("x", 200)},
		} {
			s, err := zeroconf.RegisterProxy(name, lanService, lanDomain, lanPort, name, []string{"127.0.0.1"}, texts, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Shutdown()
		}
		a := onLAN(t, nil)
		a.awaitCount(t, "dial_failures_total", 1)
		b := onLAN(t, nil)
		converse(t, a, b)
	})
}
