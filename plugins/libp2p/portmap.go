package libp2p

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	natpmp "github.com/jackpal/go-nat-pmp"
	"github.com/libp2p/go-libp2p/core/network"
	basichost "github.com/libp2p/go-libp2p/p2p/host/basic"
	"github.com/libp2p/go-netroute"
	ma "github.com/multiformats/go-multiaddr"
)

// Times of NAT-PMP (RFC 6886).
const (
	pmpLifetime = 2 * time.Minute  // of a mapping: a killed node leaves it no longer
	pmpRound    = 40 * time.Second // until it is renewed, or a router is looked for again
	pmpTimeout  = time.Second      // for an answer, with the retransmissions of RFC 6886 §3.1
	pmpGoodbye  = 250 * time.Millisecond
)

// portMap asks the router for ports: by UPnP, which the library does, and by
// NAT-PMP, for which the library asks for the route to nowhere and gets none.
type portMap struct {
	upnp   basichost.NATManager
	net    network.Network
	listen chan struct{} // capacity 1; the ports have changed
	cancel context.CancelFunc
	work   sync.WaitGroup
	note   *network.NotifyBundle

	mu     sync.Mutex
	mapped map[port]netip.AddrPort
}

// port is one of this node.
type port struct {
	proto  string // "tcp" or "udp"
	number int
}

func newPortMap(n network.Network) basichost.NATManager {
	ctx, cancel := context.WithCancel(context.Background())
	m := &portMap{
		upnp: basichost.NewNATManager(n), net: n, listen: make(chan struct{}, 1), cancel: cancel,
	}
	m.note = &network.NotifyBundle{
		ListenF:      func(network.Network, ma.Multiaddr) { signal(m.listen) },
		ListenCloseF: func(network.Network, ma.Multiaddr) { signal(m.listen) },
	}
	n.Notify(m.note)
	m.work.Go(func() { m.run(ctx) })
	return m
}

// GetMapping implements basichost.NATManager. Where a router speaks both, the
// address is that of NAT-PMP, which answers first.
func (m *portMap) GetMapping(a ma.Multiaddr) ma.Multiaddr {
	p, rest, ok := portOf(a)
	if !ok {
		return nil
	}
	m.mu.Lock()
	outside, ok := m.mapped[p]
	m.mu.Unlock()
	if !ok {
		return m.upnp.GetMapping(a)
	}
	by, err := ma.NewMultiaddr("/ip4/" + outside.Addr().String() + "/" + p.proto + "/" + strconv.Itoa(int(outside.Port())))
	if err != nil {
		return nil
	}
	if rest != nil {
		by = by.Encapsulate(rest)
	}
	return by
}

// HasDiscoveredNAT implements basichost.NATManager.
func (m *portMap) HasDiscoveredNAT() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.mapped) > 0 || m.upnp.HasDiscoveredNAT()
}

// Close implements basichost.NATManager. It gives the ports back.
func (m *portMap) Close() error {
	m.cancel()
	m.net.StopNotify(m.note)
	err := m.upnp.Close()
	m.work.Wait()
	return err
}

func (m *portMap) run(ctx context.Context) {
	tick := time.NewTicker(pmpRound)
	defer tick.Stop()
	var gateway net.IP
	for {
		gateway = m.round(ctx)
		select {
		case <-m.listen:
		case <-tick.C:
		case <-ctx.Done():
			release(gateway, m.replace(nil))
			return
		}
	}
}

// round maps the ports on which the node listens and gives the others back. The
// mappings are those that the router has confirmed in this round.
func (m *portMap) round(ctx context.Context) net.IP {
	gateway, err := defaultGateway()
	if err != nil {
		m.replace(nil)
		return nil
	}
	client := natpmp.NewClientWithTimeout(gateway, pmpTimeout)
	var outside netip.Addr
	if r, err := client.GetExternalAddress(); err == nil {
		outside = netip.AddrFrom4(r.ExternalIPAddress)
	}
	mapped := map[port]netip.AddrPort{}
	for _, a := range m.net.ListenAddresses() {
		p, _, ok := portOf(a)
		if _, done := mapped[p]; !ok || done || !outside.IsValid() || outside.IsUnspecified() {
			continue
		}
		if ctx.Err() != nil {
			return gateway
		}
		r, err := client.AddPortMapping(p.proto, p.number, p.number, int(pmpLifetime/time.Second))
		if err == nil && r.MappedExternalPort != 0 {
			mapped[p] = netip.AddrPortFrom(outside, r.MappedExternalPort)
		}
	}
	before := m.replace(mapped)
	for p := range mapped {
		delete(before, p)
	}
	release(gateway, before)
	return gateway
}

// replace returns the mappings of before, which are the caller's now.
func (m *portMap) replace(mapped map[port]netip.AddrPort) map[port]netip.AddrPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.mapped
	m.mapped = mapped
	return before
}

// release gives ports back (RFC 6886 §3.4); a router that does not answer at
// once forgets them by itself.
func release(gateway net.IP, ports map[port]netip.AddrPort) {
	client := natpmp.NewClientWithTimeout(gateway, pmpGoodbye)
	for p := range ports {
		if _, err := client.AddPortMapping(p.proto, p.number, 0, 0); err != nil {
			return
		}
	}
}

// defaultGateway returns the router on the way to the rest of the world. The
// address stands for it: nothing is sent to it.
func defaultGateway() (net.IP, error) {
	router, err := netroute.New()
	if err != nil {
		return nil, err
	}
	_, gateway, _, err := router.Route(net.IPv4(8, 8, 8, 8))
	if err == nil && gateway.To4() == nil {
		err = errors.New("libp2p: no gateway of IPv4")
	}
	return gateway, err
}

// portOf returns the port of an address on which a router can help, and what
// comes behind it.
func portOf(a ma.Multiaddr) (p port, rest ma.Multiaddr, ok bool) {
	first, behind := ma.SplitFirst(a)
	if first == nil || first.Protocol().Code != ma.P_IP4 {
		return port{}, nil, false
	}
	ip := net.IP(first.RawValue())
	second, rest := ma.SplitFirst(behind)
	if second == nil || (!ip.IsGlobalUnicast() && !ip.IsUnspecified()) {
		return port{}, nil, false
	}
	proto := second.Protocol()
	if proto.Code != ma.P_TCP && proto.Code != ma.P_UDP {
		return port{}, nil, false
	}
	number, err := strconv.Atoi(second.Value())
	if err != nil || number == 0 {
		return port{}, nil, false
	}
	if len(rest) == 0 {
		rest = nil
	}
	return port{proto.Name, number}, rest, true
}
