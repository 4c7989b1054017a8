package devp2p

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/netutil"
)

// We accept ourselves, and dial ourselves (see keeper), and leave only what
// follows to the server. So we hold the sockets: go-ethereum waits up to 5 s for a
// stranger that says nothing and up to 20 s for a peer that reads nothing, and
// would do so also when the node is to stop.

// inboundConn is go-ethereum's flag of a connection that was accepted; only its
// name is unexported there.
const inboundConn = 1 << 2

const (
	acceptRetry  = 200 * time.Millisecond // when the process has no file descriptor left
	attemptEvery = 30 * time.Second       // between two attempts from one address
	maxAttempts  = 8192                   // addresses remembered, 100 bytes each; the oldest is forgotten
)

// accept takes connections until the listener is closed.
func (e *Edge) accept() {
	slots := make(chan struct{}, e.cfg.MaxPendingPeers)
	recent := attempts{until: map[netip.Prefix]time.Time{}}
	for {
		select {
		case slots <- struct{}{}:
		case <-e.ctx.Done():
			return
		}
		c, err := e.listener.Accept()
		if err != nil {
			<-slots
			if !e.survives(err) {
				return
			}
			continue
		}
		if err := e.admissible(c, &recent); err != nil {
			e.count.turnedAway.Add(1)
			e.log.Debug("connection refused", "from", c.RemoteAddr().String(), "err", err)
			c.Close()
			<-slots
			continue
		}
		e.wg.Go(func() {
			defer func() { <-slots }()
			if err := e.server.SetupConn(e.sockets.add(e.ctx, c), inboundConn, nil); err != nil {
				e.count.handshakes.Add(1)
				e.log.Debug("handshake of an inbound connection", "from", c.RemoteAddr().String(), "err", err)
			}
		})
	}
}

// survives waits if accepting failed only for now.
func (e *Edge) survives(err error) bool {
	if e.ctx.Err() != nil {
		return false
	}
	if !netutil.IsTemporaryError(err) {
		e.out.Fail(errors.Join(errors.New("devp2p: accept"), err))
		return false
	}
	t := time.NewTimer(acceptRetry)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-e.ctx.Done():
		return false
	}
}

func (e *Edge) admissible(c net.Conn, recent *attempts) error {
	ip := netutil.AddrAddr(c.RemoteAddr()).Unmap()
	if e.cfg.restrict != nil && !e.cfg.restrict.ContainsAddr(ip) {
		return errors.New("not in net_restrict")
	}
	if !netutil.AddrIsLAN(ip) && !recent.allow(time.Now(), ip) {
		return errors.New("tries too often")
	}
	return nil
}

// attempts remembers who dialled us lately.
type attempts struct {
	until map[netip.Prefix]time.Time
	order []netip.Prefix // by until
}

// allow reports whether ip may try now, and if so remembers it. IPv6 addresses
// count by their /64, which one household has.
func (a *attempts) allow(now time.Time, ip netip.Addr) bool {
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	from, err := ip.Prefix(bits)
	if err != nil {
		return false
	}
	for len(a.order) > 0 && !now.Before(a.until[a.order[0]]) {
		a.forget()
	}
	if _, ok := a.until[from]; ok {
		return false
	}
	if len(a.order) == maxAttempts {
		a.forget()
	}
	a.until[from] = now.Add(attemptEvery)
	a.order = append(a.order, from)
	return true
}

func (a *attempts) forget() {
	delete(a.until, a.order[0])
	a.order = a.order[1:]
}

// socket is a connection that can be closed over the head of the server.
type socket struct {
	net.Conn
	of     *sockets
	linked bool // it carries a link; guarded by of.mu
}

// Close implements net.Conn.
func (s *socket) Close() error {
	s.of.mu.Lock()
	if key := ends(s.LocalAddr(), s.RemoteAddr()); s.of.open[key] == s {
		delete(s.of.open, key)
	}
	s.of.mu.Unlock()
	return s.Conn.Close()
}

// sockets are all open connections.
type sockets struct {
	mu   sync.Mutex
	open map[string]*socket // by both ends
}

func ends(local, remote net.Addr) string { return local.String() + " " + remote.String() }

// add enters a connection. When the edge is closing it is closed at once.
func (s *sockets) add(ctx context.Context, c net.Conn) net.Conn {
	o := &socket{Conn: c, of: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		c.Close()
		return o
	}
	if s.open == nil {
		s.open = map[string]*socket{}
	}
	s.open[ends(c.LocalAddr(), c.RemoteAddr())] = o
	return o
}

// of returns the connection that carries a peer.
func (s *sockets) of(p *p2p.Peer) *socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.open[ends(p.LocalAddr(), p.RemoteAddr())]
	if o != nil {
		o.linked = true
	}
	return o
}

// closeStrangers closes the connections that carry no link yet. The others are
// closed by leave.
func (s *sockets) closeStrangers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.open {
		if !o.linked {
			o.Conn.Close()
		}
	}
}
