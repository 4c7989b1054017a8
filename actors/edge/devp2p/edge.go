// Package devp2p fills the overlay slot with RLPx links of the devp2p network,
// carried by go-ethereum's p2p.
//
// Discovery is no part of it: whom to dial is said by the configuration and by
// AddPeer. Everything that waits is a goroutine of this package; FromAbove never
// does.
package devp2p

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/p2p/nat"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
)

// outlet is what the edge needs of actors.Outlet[overlay.Event]; a test may hold
// on to the credits.
type outlet interface {
	Send(overlay.Event)
	SendCredited(overlay.Event, *actors.Credit)
	Fail(error)
}

var (
	_ outlet                       = actors.Outlet[overlay.Event]{}
	_ actors.Edge[overlay.Command] = (*Edge)(nil)
)

// Edge is the overlay: a p2p server with one protocol. It implements
// actors.Edge[overlay.Command].
type Edge struct {
	cfg    parsed
	key    layers.PrivateKey
	codec  overlay.Codec
	log    *slog.Logger
	out    outlet
	length uint64 // packet codes of the protocol
	count  counters
	flight *budget

	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	server   *p2p.Server // nil until it runs
	listener net.Listener
	wg       sync.WaitGroup // every goroutine but those of server
	sockets  sockets
	requests chan func()   // for the server, in order
	dials    chan struct{} // full when max_pending_peers are dialled

	// order keeps the events of all links away while Attach is answered.
	order sync.RWMutex

	mu       sync.Mutex // guards what follows; taken after order, before link.mu
	links    map[overlay.PeerID]*link
	nodes    map[enode.ID]*node
	places   places
	pending  map[layers.Ref]struct{}
	greeting atomic.Pointer[overlay.Outgoing]
	greeted  chan struct{} // closed by the first Greet
}

// New returns an edge that is not yet open. cfg must be valid, or Open reports
// why it is not. The codec is called by many goroutines. Nothing that a peer
// causes is logged above debug.
func New(cfg Config, key layers.PrivateKey, codec overlay.Codec, log *slog.Logger, out actors.Outlet[overlay.Event]) *Edge {
	return newEdge(cfg, key, codec, log, out)
}

func newEdge(cfg Config, key layers.PrivateKey, codec overlay.Codec, log *slog.Logger, out outlet) *Edge {
	ctx, cancel := context.WithCancel(context.Background())
	return &Edge{
		cfg: parsed{Config: cfg}, key: key, codec: codec, log: log, out: out,
		flight:   newBudget(cfg.InFlightBytes, codec.Limit()),
		ctx:      ctx,
		cancel:   cancel,
		requests: make(chan func(), maxRequests),
		links:    map[overlay.PeerID]*link{},
		nodes:    map[enode.ID]*node{},
		pending:  map[layers.Ref]struct{}{},
		greeted:  make(chan struct{}),
	}
}

// Open implements actors.Edge: it takes the port, starts to dial the static
// nodes, and reports Ready. No link is completed before the first Greet.
func (e *Edge) Open() error {
	if err := e.open(); err != nil {
		return fmt.Errorf("devp2p: %w", err)
	}
	e.ready()
	return nil
}

func (e *Edge) open() (err error) {
	if e.cfg, err = e.cfg.parse(); err != nil {
		return err
	}
	mapper, err := nat.Parse(e.cfg.NAT)
	if err != nil {
		return fmt.Errorf("nat: %w", err)
	}
	if e.cfg.Inbound {
		if e.listener, err = net.Listen("tcp", e.cfg.Listen); err != nil {
			return err
		}
	}
	name, version, length := e.codec.Capability()
	e.length = length
	e.places = places{total: e.cfg.MaxPeers, inbound: e.cfg.inboundPlaces()}
	e.configure()
	most := len(e.cfg.static) + e.cfg.MaxPeers + maxTrusted
	server := &p2p.Server{Config: p2p.Config{
		PrivateKey: e.key.ECDSA(),
		Name:       e.cfg.clientName(),
		// All but the trusted count in go-ethereum, the static too, so it gets
		// room for as many as could ever be wanted, and for those that are refused
		// a place; the limits that are meant are those of places.
		MaxPeers:        2 * most,
		MaxPendingPeers: e.cfg.MaxPendingPeers,
		NoDiscovery:     true,
		NoDial:          true, // see keeper
		TrustedNodes:    e.cfg.trusted,
		NetRestrict:     e.cfg.restrict,
		Logger:          gethLogger(e.log),
		Protocols:       []p2p.Protocol{{Name: name, Version: version, Length: length, Run: e.run}},
	}}
	if e.listener == nil || !addressOf(e.listener).Addr().IsLoopback() {
		server.NAT = mapper // else there is nothing to reach from outside
	}
	if err := server.Start(); err != nil {
		return err
	}
	e.server = server
	e.dials = make(chan struct{}, e.cfg.MaxPendingPeers)
	e.watch()
	e.wg.Go(e.work)
	if e.listener != nil {
		e.announce(addressOf(e.listener))
		e.wg.Go(e.accept)
	}
	for _, n := range e.cfg.static {
		e.keep(n.ID())
	}
	return nil
}

// announce puts where we listen into our node record.
func (e *Edge) announce(at netip.AddrPort) {
	local := e.server.LocalNode()
	ip := reachable(at.Addr(), interfaceAddrs())
	if ip.Is6() {
		local.SetFallbackIP(net.IPv4zero) // takes back the 127.0.0.1 of the server
	}
	local.SetFallbackIP(ip.AsSlice())
	local.Set(enr.TCP(at.Port()))
	if m := e.server.NAT; m != nil && mapsPorts(m) {
		e.wg.Go(func() { e.mapPort(m, int(at.Port())) })
	}
}

// FromAbove implements actors.Edge.
func (e *Edge) FromAbove(c overlay.Command) {
	switch c := c.(type) {
	case overlay.Attach:
		e.attach()
	case overlay.Greet:
		e.greet(c.Packet)
	case overlay.Send:
		e.send(c)
	case overlay.Drop:
		e.drop(c)
	case overlay.AddPeer:
		e.addPeer(c)
	case overlay.RemovePeer:
		e.removePeer(c)
	case overlay.ListPeers:
		e.out.Send(overlay.Listed{Ref: c.Ref, Peers: e.list()})
	default:
		panic(fmt.Sprintf("devp2p: unknown command %T", c))
	}
}

// attach tells a neighbour that has started all there is. No other event of a
// link comes between the Ready and the Connected of that link.
func (e *Edge) attach() {
	e.order.Lock()
	defer e.order.Unlock()
	e.ready()
	for _, l := range e.live() {
		l.tellAgain()
	}
}

func (e *Edge) ready() {
	url, record := e.Self()
	e.out.Send(overlay.Ready{ID: overlay.PeerID(e.server.LocalNode().ID()), Enode: url, ENR: record})
}

// live returns the links, ordered by peer.
func (e *Edge) live() []*link {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]*link, 0, len(e.links))
	for _, l := range e.links {
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b *link) int { return slices.Compare(a.id[:], b.id[:]) })
	return all
}

func (e *Edge) link(id overlay.PeerID) *link {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.links[id]
}

func (e *Edge) greet(p overlay.Outgoing) {
	if e.greeting.Swap(&p) == nil {
		close(e.greeted)
	}
}

// send hands packets to the writer of a link. A link that is gone, or that has
// not been reported yet, is no fault: Disconnected was, or will be, reported.
func (e *Edge) send(c overlay.Send) {
	if l := e.link(c.Peer); l != nil && !l.send(c.Packets) {
		e.log.Error("a second Send before the first was answered, or a packet code beyond the protocol", "peer", c.Peer)
		l.drop(secondSend, "overlay: fault of the node itself", p2p.DiscRequested)
	}
}

func (e *Edge) drop(c overlay.Drop) {
	if l := e.link(c.Peer); l != nil {
		e.count.asked(c.Reason)
		l.drop(asked, c.Reason, p2p.DiscSubprotocolError)
	}
}

// Close implements actors.Edge. It takes no longer than linger, even if peers
// read nothing; but a talk with a NAT router that is under way is waited for, some
// seconds.
func (e *Edge) Close() {
	e.cancel()
	if e.listener != nil {
		e.listener.Close()
	}
	e.sockets.closeStrangers()
	if e.server != nil {
		e.server.Stop()
	}
	e.wg.Wait()
}
