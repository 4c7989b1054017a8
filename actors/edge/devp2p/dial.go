package devp2p

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/enode"
)

// We dial ourselves because go-ethereum remembers for 35 s whom it has dialled:
// a client would be offline for so long when its relay restarts, or when the
// relay had not yet noticed the end of an old link.

// staticConn is go-ethereum's flag of a connection to a node that is kept. The
// server treats it as one to a node that was discovered: both count in its
// MaxPeers, from which only the trusted are free.
const staticConn = 1 << 1

// dialTimeout is for the TCP connection, as in go-ethereum.
const dialTimeout = 15 * time.Second

// keeper keeps a link to one node: it dials when there is none.
type keeper struct {
	linked  func() (inbound, up bool)
	attempt func(context.Context) (reached netip.Addr, at time.Time)
	ended   chan struct{} // has an element when a link to the node has ended
	moved   chan struct{} // has an element when the node is to be dialled elsewhere
	cancel  context.CancelFunc
}

func newKeeper() *keeper {
	return &keeper{ended: make(chan struct{}, 1), moved: make(chan struct{}, 1), cancel: func() {}}
}

// keep starts to keep a link to a node, unless that is done already or the node
// was removed meanwhile. The caller belongs to wg.
func (e *Edge) keep(id enode.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.nodes[id]
	if n == nil || n.keeper != nil || !e.cfg.Outbound {
		return
	}
	k := newKeeper()
	k.linked = func() (inbound, up bool) { return e.linked(id) }
	k.attempt = func(ctx context.Context) (netip.Addr, time.Time) { return e.attempt(ctx, id) }
	ctx, cancel := context.WithCancel(e.ctx)
	k.cancel = cancel
	n.keeper = k
	e.wg.Go(func() { k.run(ctx) })
}

// run keeps the link until ctx ends.
func (k *keeper) run(ctx context.Context) {
	var p pace
	for ctx.Err() == nil {
		if k.outlast(ctx, &p) || !k.due(ctx, &p) {
			continue
		}
		reached, at := k.attempt(ctx)
		p.tried(time.Now(), reached, at, rand.Float64())
	}
}

// outlast waits while there is a link, whoever has made it, and reports whether
// there was one.
func (k *keeper) outlast(ctx context.Context, p *pace) bool {
	since := time.Now()
	by, was := k.linked()
	for up := was; up; _, up = k.linked() {
		select {
		case <-k.ended:
		case <-ctx.Done():
			return true
		}
	}
	if was {
		p.lost(time.Now(), time.Since(since), by, rand.Float64())
	}
	return was
}

// due waits until it is time to dial. It reports false if something happened
// before, so that all is to be looked at again.
func (k *keeper) due(ctx context.Context, p *pace) bool {
	t := time.NewTimer(time.Until(p.next))
	defer t.Stop()
	select {
	case <-t.C:
		_, up := k.linked() // the node may have dialled us meanwhile
		return !up
	case <-k.moved:
		p.moved()
	case <-k.ended:
	case <-ctx.Done():
	}
	return false
}

// tell leaves word for a keeper.
func tell(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// linked reports whether the server has the node as a peer, and if so, whether
// that had dialled us. Until the server has forgotten a peer it refuses another
// connection to it, and that is some time after run has returned.
func (e *Edge) linked(id enode.ID) (inbound, up bool) {
	for _, p := range e.server.Peers() {
		if p.ID() == id {
			return p.Inbound(), true
		}
	}
	return false, false
}

// watch tells keepers which peers the server has forgotten.
func (e *Edge) watch() {
	events := make(chan *p2p.PeerEvent)
	sub := e.server.SubscribeEvents(events)
	e.wg.Go(func() {
		defer sub.Unsubscribe()
		for {
			select {
			case ev := <-events:
				if ev.Type == p2p.PeerEventTypeDrop {
					e.forgotten(ev.Peer)
				}
			case <-e.ctx.Done():
				return
			}
		}
	})
}

func (e *Edge) forgotten(id enode.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := e.nodes[id]; n != nil && n.keeper != nil {
		tell(n.keeper.ended)
	}
}

var (
	// errFull spares a peer a link that would be ended at once.
	errFull    = errors.New("max_peers is reached")
	errRemoved = errors.New("the node was removed")
)

// attempt dials a node, and returns when the server has it as a peer or will not
// have it. reached is the address that took the connection, at the given time.
func (e *Edge) attempt(ctx context.Context, id enode.ID) (reached netip.Addr, at time.Time) {
	select {
	case e.dials <- struct{}{}:
		defer func() { <-e.dials }()
	case <-ctx.Done():
		return reached, at
	}
	n, err := e.dialled(id)
	if err != nil {
		e.log.Debug("not dialled", "peer", id.String(), "err", err)
		return reached, at
	}
	e.count.dials.Add(1)
	c, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", endpoint(n))
	if err == nil {
		reached, at = addrPort(c.RemoteAddr()).Addr(), time.Now()
		s := e.sockets.add(e.ctx, c)
		defer context.AfterFunc(ctx, func() { c.Close() })() // the handshakes take up to 10 s
		err = e.server.SetupConn(s, staticConn, n)
	}
	if err != nil {
		e.count.dialsFailed.Add(1)
		e.log.Debug("dial", "peer", id.String(), "err", err)
	}
	return reached, at
}

// dialled returns a node that is to be dialled, where it is known to be now.
func (e *Edge) dialled(id enode.ID) (*enode.Node, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.nodes[id]
	if n == nil || !n.static {
		return nil, errRemoved
	}
	if !n.fixed && !n.trusted && e.places.taken >= e.places.total {
		return nil, errFull
	}
	return n.at, nil
}

// endpoint returns where to dial n. A host name is looked up at each attempt.
func endpoint(n *enode.Node) string {
	host := n.Hostname()
	if host == "" {
		host = n.IPAddr().String()
	}
	return net.JoinHostPort(host, strconv.Itoa(n.TCP()))
}
