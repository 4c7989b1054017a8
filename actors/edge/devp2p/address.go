package devp2p

import (
	"net"
	"net/netip"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/p2p/nat"
)

// Self returns the enode URL and the text form of the signed record under which
// other nodes reach this one. They change when a NAT router tells another
// address. The edge must be open.
//
// When listening on all interfaces, the address is that of extip or the NAT
// router; before it is known, and without one, the most global address of the
// machine's interfaces.
func (e *Edge) Self() (enode, record string) {
	n := e.server.LocalNode().Node()
	return n.URLv4(), n.String()
}

// addressOf returns the address of a TCP listener.
func addressOf(l net.Listener) netip.AddrPort { return addrPort(l.Addr()) }

// addrPort returns one end of a TCP connection; it is invalid for another one.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	at := tcp.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// reachable returns the address to give to others for one that we listen on. An
// unspecified address is replaced by the most global one of the same family (of
// either, if it is ::) among those of our interfaces, or by loopback.
func reachable(listen netip.Addr, interfaces []netip.Addr) netip.Addr {
	if !listen.IsUnspecified() {
		return listen
	}
	best, score := netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0
	for _, ip := range interfaces {
		if ip = ip.Unmap(); listen.Is4() && !ip.Is4() {
			continue
		}
		if s := globality(ip); s > score {
			best, score = ip, s
		}
	}
	return best
}

// globality says from how far an address can be reached. Zero means not at all;
// IPv4 is preferred because more nodes have it.
func globality(ip netip.Addr) int {
	s := 0
	switch {
	case !ip.IsGlobalUnicast():
		return 0 // loopback, link-local, multicast, unspecified
	case ip.IsPrivate():
		s = 2
	default:
		s = 4
	}
	if ip.Is4() {
		s++
	}
	return s
}

func interfaceAddrs() []netip.Addr {
	var all []netip.Addr
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil // a sandbox may forbid to ask; loopback is announced then
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, p.Addr())
		}
	}
	return all
}

// Times of port mappings, as go-ethereum has them.
const (
	mapFor     = 10 * time.Minute
	mapRenewal = 8 * time.Minute
	mapRetry   = 5 * time.Minute
)

// mapsPorts reports whether m opens ports, rather than only telling an address.
func mapsPorts(m nat.Interface) bool {
	if _, fixed := m.(nat.ExtIP); fixed {
		return false
	}
	s, ok := m.(interface{ SupportsMapping() bool })
	return !ok || s.SupportsMapping()
}

// mapPort keeps our TCP port open on a NAT router and announces the port that it
// chose. The address is looked after by the server.
func (e *Edge) mapPort(m nat.Interface, port int) {
	outside := 0
	defer func() {
		if outside != 0 {
			m.DeleteMapping("TCP", outside, port)
		}
	}()
	for {
		next := mapRetry
		got, err := m.AddMapping("TCP", outside, port, "strata", mapFor)
		if err != nil {
			e.log.Debug("port not mapped", "nat", m.String(), "err", err)
		} else {
			next = mapRenewal
			outside = int(got)
			e.server.LocalNode().Set(enr.TCP(got))
		}
		t := time.NewTimer(next)
		select {
		case <-t.C:
		case <-e.ctx.Done():
			t.Stop()
			return
		}
	}
}
