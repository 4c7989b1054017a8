package libp2p

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// Addresses of a network behind a router. All of them are of lo.
var (
	insideAddr  = netip.MustParseAddr("10.77.0.2")
	gatewayAddr = netip.MustParseAddr("10.77.0.1")
	outsideAddr = netip.MustParseAddr("11.77.0.9") // public, as the library judges
)

// The ports that the gateway gives by NAT-PMP, whatever is asked for; by UPnP it
// cannot choose.
const (
	outsideTCP = 7001
	outsideUDP = 7002
)

// gateway is a router that speaks NAT-PMP (RFC 6886) or UPnP, and carries TCP
// connections inwards.
type gateway struct {
	outside net.Listener

	mu     sync.Mutex
	mapped map[string][]mapping // by protocol, udp or tcp
}

type mapping struct {
	inside   uint16
	lifetime time.Duration // 0: given back
}

// openGateway starts a router; speak says which protocol.
func openGateway(t *testing.T, speak func(*gateway, *testing.T)) *gateway {
	t.Helper()
	address(t, "lo:1", insideAddr)
	defaultRoute(t, gatewayAddr)
	address(t, "lo:2", gatewayAddr)
	address(t, "lo:3", outsideAddr)
	g := &gateway{mapped: map[string][]mapping{}}
	var err error
	if g.outside, err = net.Listen("tcp4", netip.AddrPortFrom(outsideAddr, outsideTCP).String()); err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(g.carry)
	t.Cleanup(func() {
		g.outside.Close()
		work.Wait()
	})
	speak(g, t)
	return g
}

// speakPMP answers NAT-PMP.
func (g *gateway) speakPMP(t *testing.T) {
	t.Helper()
	pmp, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(gatewayAddr, 5351)))
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() { g.answerPMP(pmp) })
	t.Cleanup(func() {
		pmp.Close()
		work.Wait()
	})
}

// grant notes a mapping and returns the port outside, 0 for one given back.
func (g *gateway) grant(proto string, m mapping) uint16 {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mapped[proto] = append(g.mapped[proto], m)
	switch {
	case m.lifetime == 0:
		return 0
	case proto == "tcp":
		return outsideTCP
	default:
		return outsideUDP
	}
}

func (g *gateway) answerPMP(pmp *net.UDPConn) {
	buf := make([]byte, 64)
	for {
		n, from, err := pmp.ReadFromUDP(buf)
		if err != nil {
			return
		}
		m := buf[:n]
		if n < 2 || m[0] != 0 {
			continue
		}
		out := []byte{0, 128 + m[1], 0, 0, 0, 0, 0, 1}
		switch {
		case m[1] == 0 && n == 2:
			out = append(out, outsideAddr.AsSlice()...)
		case (m[1] == 1 || m[1] == 2) && n == 12:
			port := g.grant([]string{"udp", "tcp"}[m[1]-1], mapping{
				binary.BigEndian.Uint16(m[4:]), time.Duration(binary.BigEndian.Uint32(m[8:])) * time.Second,
			})
			out = append(out, m[4:6]...)
			out = binary.BigEndian.AppendUint16(out, port)
			out = append(out, m[8:12]...)
		default:
			continue
		}
		if _, err := pmp.WriteToUDP(out, from); err != nil {
			return
		}
	}
}

// last returns the latest mapping of a protocol.
func (g *gateway) last(proto string) (mapping, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := g.mapped[proto]
	if len(list) == 0 {
		return mapping{}, false
	}
	return list[len(list)-1], true
}

// carry takes connections from outside to the port for which they were mapped.
func (g *gateway) carry() {
	var work sync.WaitGroup
	defer work.Wait()
	for {
		c, err := g.outside.Accept()
		if err != nil {
			return
		}
		m, ok := g.last("tcp")
		if !ok {
			c.Close()
			continue
		}
		in, err := net.Dial("tcp4", netip.AddrPortFrom(insideAddr, m.inside).String())
		if err != nil {
			c.Close()
			continue
		}
		for _, way := range [][2]net.Conn{{c, in}, {in, c}} {
			work.Go(func() {
				_, _ = io.Copy(way[0], way[1]) // ends when either end does
				way[0].Close()
				way[1].Close()
			})
		}
	}
}

// awaitReturned waits until the node has given its ports back.
func (g *gateway) awaitReturned(t *testing.T) {
	t.Helper()
	for _, proto := range []string{"udp", "tcp"} {
		until(t, "the end of the mapping of "+proto, func() bool {
			m, ok := g.last(proto)
			return ok && m.lifetime == 0
		})
	}
}
