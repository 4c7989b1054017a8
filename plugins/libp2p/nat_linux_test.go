package libp2p

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	ma "github.com/multiformats/go-multiaddr"
)

// until polls ok, for what the library does without an event.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for !ok() {
		if !pause(ctx, 10*time.Millisecond) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func TestRouterOpensPortsAndTheNodeTellsThem(t *testing.T) {
	isolated(t, func(t *testing.T) {
		g := openGateway(t, (*gateway).speakPMP)
		inside := start(t, settings{"listen": everywhere, "nat": settings{"port_map": true}})
		inside.subscribe(t, topic)
		tcp := fmt.Sprintf("/ip4/%s/tcp/%d", outsideAddr, outsideTCP)
		udp := fmt.Sprintf("/ip4/%s/udp/%d/quic-v1", outsideAddr, outsideUDP)
		suffix := "/p2p/" + inside.ID()
		began := time.Now()
		until(t, "mapped addresses", func() bool {
			list := inside.Addrs()
			return slices.Contains(list, tcp+suffix) && slices.Contains(list, udp+suffix)
		})
		t.Logf("mapped after %v", time.Since(began))
		for _, proto := range []string{"udp", "tcp"} {
			m, ok := g.last(proto)
			want := fmt.Sprintf("/ip4/%s/%s/%d", insideAddr, proto, m.inside)
			if !ok || m.lifetime != pmpLifetime || !strings.Contains(strings.Join(inside.Addrs(), " "), want) {
				t.Errorf("%s: asked for %+v (%v), want a port of %v", proto, m, ok, inside.Addrs())
			}
		}

		// A node outside knows only the address that the router gave, and learns
		// the other one of the node itself.
		outside := start(t, settings{"peers": []string{tcp + suffix}})
		outside.subscribe(t, topic)
		converse(t, outside, inside)
		for _, c := range outside.host.Network().ConnsToPeer(inside.host.ID()) {
			if got := c.RemoteMultiaddr().String(); got != tcp {
				t.Errorf("connected to %s, want %s", got, tcp)
			}
		}
		until(t, "the QUIC address in the outer node", func() bool {
			return slices.ContainsFunc(outside.host.Peerstore().Addrs(inside.host.ID()), func(a ma.Multiaddr) bool { return a.String() == udp })
		})

		inside.stop(t)
		g.awaitReturned(t)
		awaitSearch(t)
	})
}

// awaitSearch waits for the library's search for UPnP, which nothing ends before
// its 5 s are over.
func awaitSearch(t *testing.T) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	until(t, "the end of the search", func() bool {
		return !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "go-ssdp")
	})
}

func TestNodeFindsOutThatItIsReachable(t *testing.T) {
	isolated(t, func(t *testing.T) {
		address(t, "lo:1", outsideAddr)
		const confirmations = 3 // other nodes, for the library asks each but once in 2 minutes
		public := settings{"listen": []string{"/ip4/" + outsideAddr.String() + "/tcp/0"}, "nat": settings{"auto_nat": true}}
		var peers []string
		for range confirmations {
			peers = append(peers, start(t, public).Addrs()...)
		}
		n := start(t, settings{"listen": public["listen"], "nat": public["nat"], "peers": peers})
		sub, err := n.host.EventBus().Subscribe(new(event.EvtHostReachableAddrsChanged))
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Close()
		limit := time.NewTimer(patience)
		defer limit.Stop()
		own := strings.TrimSuffix(n.Addrs()[0], "/p2p/"+n.ID())
		for {
			select {
			case e := <-sub.Out():
				e2 := e.(event.EvtHostReachableAddrsChanged)
				if slices.ContainsFunc(e2.Reachable, func(a ma.Multiaddr) bool { return a.String() == own }) {
					return
				}
			case <-limit.C:
				t.Fatalf("%s is not known to be reachable within %v", own, patience)
			}
		}
	})
}

// publicAddrs gives the network n addresses that the library takes for public,
// and returns settings of nodes that listen there.
func publicAddrs(t *testing.T, n int) [][]string {
	t.Helper()
	var listen [][]string
	for i := range n {
		a := netip.AddrFrom4([4]byte{11, 77, 0, byte(i + 1)})
		address(t, fmt.Sprint("lo:", i+1), a)
		listen = append(listen, []string{"/ip4/" + a.String() + "/tcp/0"})
	}
	return listen
}

func TestHolePunchingMakesARelayedConnectionDirect(t *testing.T) {
	isolated(t, func(t *testing.T) {
		listen := publicAddrs(t, 3)
		relay := start(t, settings{"listen": listen[0], "network": "relay", "nat": settings{"relay_service": true, "reachability": "public"}})
		punch := settings{"hole_punching": true, "reachability": "private"}
		hidden := start(t, settings{"listen": listen[1], "nat": settings{"relay_client": relay.Addrs(), "hole_punching": true, "reachability": "private"}})
		hidden.subscribe(t, topic)
		caller := start(t, settings{"listen": listen[2], "nat": punch})
		caller.subscribe(t, topic)
		// The library begins when it knows a public address of its own, and leaves
		// connections from before that as they are.
		for _, n := range []*node{hidden, caller} {
			until(t, "hole punching to begin", func() bool { return slices.Contains(n.host.Mux().Protocols(), holepunch.Protocol) })
		}
		through, err := peer.AddrInfoFromString(relay.Addrs()[0] + "/p2p-circuit/p2p/" + hidden.ID())
		if err != nil {
			t.Fatal(err)
		}
		until(t, "a relayed connection", func() bool {
			return caller.host.Connect(network.WithAllowLimitedConn(t.Context(), "test"), *through) == nil
		})
		converse(t, caller, hidden)
		until(t, "a direct connection", func() bool {
			for _, c := range caller.host.Network().ConnsToPeer(hidden.host.ID()) {
				if !c.Stat().Limited && !strings.Contains(c.RemoteMultiaddr().String(), "p2p-circuit") {
					return true
				}
			}
			return false
		})
	})
}

// TestNodeThatCannotListenIsReachedThroughARelay: there is no other way to it.
// The addresses are public ones, for the library tells of no other relay.
func TestNodeThatCannotListenIsReachedThroughARelay(t *testing.T) {
	isolated(t, func(t *testing.T) {
		listen := publicAddrs(t, 1)
		relay := start(t, settings{"listen": listen[0], "network": "relay", "nat": settings{"relay_service": true, "reachability": "public"}})
		hidden := start(t, settings{"listen": []string{}, "nat": settings{"relay_client": relay.Addrs(), "reachability": "private"}})
		hidden.subscribe(t, topic)
		through := relay.Addrs()[0] + "/p2p-circuit/p2p/" + hidden.ID()
		until(t, "the relayed address", func() bool { return slices.Contains(hidden.Addrs(), through) })
		caller := start(t, settings{"peers": hidden.Addrs()})
		caller.subscribe(t, topic)
		converse(t, caller, hidden)
	})
}

// TestEveryOptionOfNATOpens: each starts what it names, seen by the protocols
// of the node.
func TestEveryOptionOfNATOpens(t *testing.T) {
	isolated(t, func(t *testing.T) {
		relay := start(t, settings{"nat": settings{"relay_service": true, "reachability": "public"}})
		for option, tt := range map[string]struct {
			nat  settings
			want protocol.ID
		}{
			"none":          {settings{}, ""},
			"port_map":      {settings{"port_map": true}, ""},
			"auto_nat":      {settings{"auto_nat": true}, "/libp2p/autonat/2/dial-request"},
			"relay_client":  {settings{"relay_client": relay.Addrs()}, ""},
			"hole_punching": {settings{"hole_punching": true, "reachability": "private"}, ""},
			"relay_service": {settings{"relay_service": true, "reachability": "public"}, "/libp2p/circuit/relay/0.2.0/hop"},
			"all": {settings{
				"port_map": true, "auto_nat": true, "relay_client": relay.Addrs(), "hole_punching": true,
				"relay_service": true,
			}, "/libp2p/autonat/2/dial-request"},
		} {
			n := start(t, settings{"nat": tt.nat, "peers": relay.Addrs()})
			got := n.host.Mux().Protocols()
			if tt.want != "" && !slices.Contains(got, tt.want) {
				t.Errorf("%s: speaks %v, want %s", option, got, tt.want)
			}
			if option == "none" && slices.ContainsFunc(got, func(p protocol.ID) bool {
				return strings.Contains(string(p), "autonat/2") || strings.HasSuffix(string(p), "/hop") || strings.Contains(string(p), "dcutr")
			}) {
				t.Errorf("without options it speaks %v", got)
			}
			n.subscribe(t, topic)
			n.awaitPeers(t, 0)
			n.stop(t)
		}
		awaitSearch(t)
	})
}
