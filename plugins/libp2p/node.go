package libp2p

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"time"

	golibp2p "github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/gologshim"
	"github.com/libp2p/go-libp2p/p2p/host/autorelay"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	circuit "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/x/rate"
)

// Limits of a host, beyond max_peers.
const (
	connsPerAddress   = 16       // from one public IPv4 address or IPv6 /56
	dialsPerSecond    = 1.0      // new connections from such an address, after a burst
	dialBurst         = 32       // connections
	streamsPerPeer    = 64       // gossip, identify, requests; a normal peer has below 10
	memoryPerPeer     = 64 << 10 // bytes added to the library's base limit for each of max_peers
	trimGrace         = 20 * time.Second
	circuitBuffer     = 4 << 10 // bytes each way of a connection carried for others
	maxCircuits       = 64      // carried for one peer
	maxReservations   = 256     // peers reachable through this node
	reservationsPerIP = 16
)

// near are the networks from which many peers may come on one address.
var near = [...]string{
	"127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16",
	"::1/128", "fc00::/7", "fe80::/10",
}

// newNode makes a libp2p host that does not listen yet: what is connected before
// the protocols are set would not learn of them.
func newNode(c Config, key crypto.PrivKey, b bandwidth) (host.Host, error) {
	quiet()
	resources, err := newResources(c)
	if err != nil {
		return nil, fmt.Errorf("libp2p: resources: %w", err)
	}
	conns, err := connmgr.NewConnManager(c.MaxPeers*3/4, c.MaxPeers, connmgr.WithGracePeriod(trimGrace))
	if err != nil {
		return nil, fmt.Errorf("libp2p: connections: %w", err)
	}
	options := []golibp2p.Option{
		golibp2p.Identity(key),
		golibp2p.UserAgent("strata"),
		golibp2p.EnableRelay(), // to reach peers through relays; it must stand before NoListenAddrs
		golibp2p.NoListenAddrs,
		golibp2p.Transport(tcp.NewTCPTransport, tcpOptions(c.NAT)...),
		golibp2p.Transport(quic.NewTransport),
		golibp2p.Security(noise.ID, noise.New),
		golibp2p.Security(libp2ptls.ID, libp2ptls.New),
		golibp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		golibp2p.ResourceManager(resources),
		golibp2p.ConnectionManager(conns),
		golibp2p.BandwidthReporter(b),
		golibp2p.Ping(false),
		golibp2p.DisableMetrics(), // they go to a registry of the whole process
	}
	h, err := golibp2p.New(append(options, natOptions(c.NAT)...)...)
	if err != nil {
		return nil, fmt.Errorf("libp2p: host: %w", err)
	}
	return h, nil
}

// tcpOptions: a listening port that is shared for dialling helps to punch holes.
// Otherwise it is a trap, for two nodes on one port would take each other's
// connections without a word.
func tcpOptions(n NAT) []any {
	if n.HolePunching {
		return nil
	}
	return []any{tcp.DisableReuseport()}
}

// quiet keeps the library from writing to stderr what peers make it say. Who
// looks for a fault in it sets its own variable.
func quiet() {
	if os.Getenv("GOLOG_LOG_LEVEL") == "" {
		gologshim.SetDefaultHandler(slog.DiscardHandler)
	}
}

func natOptions(n NAT) []golibp2p.Option {
	var options []golibp2p.Option
	if n.PortMap {
		options = append(options, golibp2p.NATManager(newPortMap))
	}
	if n.AutoNAT {
		options = append(options, golibp2p.EnableAutoNATv2())
	}
	if n.HolePunching {
		options = append(options, golibp2p.EnableHolePunching())
	}
	if len(n.RelayClient) > 0 {
		relays := infos(n.RelayClient)
		options = append(options, golibp2p.EnableAutoRelayWithStaticRelays(relays,
			autorelay.WithBootDelay(0), autorelay.WithMinCandidates(1), autorelay.WithNumRelays(len(relays)),
			autorelay.WithBackoff(10*time.Second)))
	}
	if n.RelayService {
		r := circuit.DefaultResources()
		// The usual limit of 128 KiB and 2 minutes is made for hole punching only;
		// the number of circuits bounds us instead.
		r.Limit = nil
		r.BufferSize, r.MaxCircuits = circuitBuffer, maxCircuits
		r.MaxReservations, r.MaxReservationsPerIP = maxReservations, reservationsPerIP
		options = append(options, golibp2p.EnableRelayService(circuit.WithResources(r)))
	}
	switch n.Reachability {
	case "public":
		options = append(options, golibp2p.ForceReachabilityPublic())
	case "private":
		options = append(options, golibp2p.ForceReachabilityPrivate())
	}
	if !n.AutoNAT && !n.HolePunching && !n.PortMap && len(n.RelayClient) == 0 {
		// Asking peers how they see us is of use to those alone.
		options = append(options, golibp2p.DisableIdentifyAddressDiscovery())
	}
	return options
}

// newResources bounds what peers can make the host use. The library's own
// limits allow 8 connections from one address at a time and one new one in 5 s,
// loopback excepted, which a LAN or a rack behind one address exceeds at once.
func newResources(c Config) (network.ResourceManager, error) {
	limits := rcmgr.DefaultLimits
	golibp2p.SetDefaultServiceLimits(&limits)
	n := c.MaxPeers + c.MaxPeers/2 + 16 // some are on their way in or out
	base := limits.Scale(int64(n)*memoryPerPeer+512<<20, n)
	own := rcmgr.PartialLimitConfig{
		System: rcmgr.ResourceLimits{
			Conns: rcmgr.LimitVal(2 * n), ConnsInbound: rcmgr.LimitVal(n), ConnsOutbound: rcmgr.LimitVal(2 * n),
			FD:      rcmgr.LimitVal(2*n + 64),
			Streams: rcmgr.LimitVal(n * streamsPerPeer), StreamsInbound: rcmgr.LimitVal(n * streamsPerPeer),
			StreamsOutbound: rcmgr.LimitVal(n * streamsPerPeer),
		},
		Transient: rcmgr.ResourceLimits{Conns: rcmgr.LimitVal(n), ConnsInbound: rcmgr.LimitVal(n), ConnsOutbound: rcmgr.LimitVal(n)},
		PeerDefault: rcmgr.ResourceLimits{
			Streams: 2 * streamsPerPeer, StreamsInbound: streamsPerPeer, StreamsOutbound: streamsPerPeer,
		},
	}
	v4, v6, rates := nearLimits(c, n)
	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(own.Build(base)),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithNetworkPrefixLimit(v4, v6),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: connsPerAddress}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: connsPerAddress}, {PrefixLength: 48, ConnCount: 8 * connsPerAddress}}),
		rcmgr.WithConnRateLimiters(&rate.Limiter{
			NetworkPrefixLimits: rates,
			SubnetRateLimiter: rate.SubnetLimiter{
				IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: rate.Limit{RPS: dialsPerSecond, Burst: dialBurst}}},
				IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 56, Limit: rate.Limit{RPS: dialsPerSecond, Burst: dialBurst}}},
				GracePeriod:      time.Minute,
			},
		}))
}

// nearLimits lets peers of near networks and of allow_subnets use up to n
// connections.
func nearLimits(c Config, n int) (v4, v6 []rcmgr.NetworkPrefixLimit, rates []rate.PrefixLimit) {
	for _, s := range append(near[:len(near):len(near)], c.AllowSubnets...) {
		prefix, err := netip.ParsePrefix(s)
		if err != nil {
			continue // DecodeConfig has refused it
		}
		limit := rcmgr.NetworkPrefixLimit{Network: prefix, ConnCount: n}
		if prefix.Addr().Is4() {
			v4 = append(v4, limit)
		} else {
			v6 = append(v6, limit)
		}
		rates = append(rates, rate.PrefixLimit{Prefix: prefix})
	}
	return v4, v6, rates
}

// infos parses addresses that DecodeConfig has checked, one result a peer.
func infos(addrs []string) []peer.AddrInfo {
	var list []peer.AddrInfo
	at := map[peer.ID]int{}
	for _, s := range addrs {
		info, err := peer.AddrInfoFromString(s)
		if err != nil {
			continue
		}
		if i, ok := at[info.ID]; ok {
			list[i].Addrs = append(list[i].Addrs, info.Addrs...)
			continue
		}
		at[info.ID] = len(list)
		list = append(list, *info)
	}
	return list
}
