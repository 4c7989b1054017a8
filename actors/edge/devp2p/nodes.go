package devp2p

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
)

const (
	maxNodes    = 4096 // kept at a time, static and trusted; discovery tries a few dozen
	maxTrusted  = 256  // made trusted at run time; they go beyond max_peers, so they need a bound of their own
	maxRequests = 256  // AddPeer and RemovePeer that wait for the server; each takes up to some seconds
)

// node is a node that we know by configuration or AddPeer.
type node struct {
	at      *enode.Node
	static  bool // a link to it is to be kept
	fixed   bool // it is of static_nodes: it takes no place of max_peers
	trusted bool
	keeper  *keeper // nil if it is not dialled
}

// place is what a link takes of max_peers.
type place int

const (
	free     place = iota // nothing: static or trusted
	ours                  // to a node added at run time
	stranger              // to a node that dialled us
)

// places counts the links that max_peers bounds.
type places struct{ total, inbound, taken, strangers int }

func (p *places) take(k place) bool {
	if k == free {
		return true
	}
	if p.taken >= p.total || k == stranger && p.strangers >= p.inbound {
		return false
	}
	p.taken++
	if k == stranger {
		p.strangers++
	}
	return true
}

func (p *places) free(k place) {
	if k == free {
		return
	}
	p.taken--
	if k == stranger {
		p.strangers--
	}
}

// configure enters the nodes of the configuration.
func (e *Edge) configure() {
	for _, n := range e.cfg.static {
		e.nodes[n.ID()] = &node{at: n, static: true, fixed: true}
	}
	for _, n := range e.cfg.trusted {
		if known := e.nodes[n.ID()]; known != nil {
			known.trusted = true
			continue
		}
		e.nodes[n.ID()] = &node{at: n, trusted: true}
	}
}

// admit makes a link of a peer if there is a place for it.
func (e *Edge) admit(p *p2p.Peer, rw p2p.MsgReadWriter) (*link, error) {
	id := overlay.PeerID(p.ID())
	socket := e.sockets.of(p)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil || socket == nil {
		return nil, p2p.DiscQuitting
	}
	known, k := e.nodes[p.ID()], ours
	if !p.Inbound() && (known == nil || !known.static) {
		return nil, p2p.DiscRequested // removed while we dialled it
	}
	switch {
	case p.Trusted() || known != nil && (known.fixed || known.trusted):
		k = free
	case p.Inbound() && (known == nil || !known.static):
		k = stranger
	}
	if !e.places.take(k) {
		e.count.full.Add(1)
		e.log.Debug("no place for a link", "peer", id.String(), "inbound", p.Inbound())
		return nil, p2p.DiscTooManyPeers
	}
	l := &link{
		edge: e, id: id, peer: p, rw: rw, place: k,
		account: e.flight.account(),
		rates:   newRates(e.cfg.Config),
		since:   time.Now(),
		work:    make(chan []overlay.Outgoing, 1),
		first:   make(chan struct{}),
	}
	l.ctx, l.cancel = context.WithCancel(e.ctx)
	e.links[id] = l
	e.wg.Go(func() { l.account.collect(e.ctx) })
	return l, nil
}

// addPeer answers Done when the server has the node, not when it is linked. A
// node that is already there keeps its link; its address is replaced, and it
// becomes trusted if that is asked for, but is never made less than it was.
//
// It is dialled at once, also when it was removed just before; but a node outside
// our own network takes no second connection within 30 s (see throttle). Links
// should not be dropped to be made again.
func (e *Edge) addPeer(c overlay.AddPeer) {
	n, err := parseNode(c.Node)
	if err == nil {
		err = checkDialled(n, e.cfg.restrict)
	}
	if err != nil {
		e.refuse(c.Ref, err.Error())
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	known := e.nodes[n.ID()]
	switch {
	case n.ID() == e.server.LocalNode().ID():
		e.refuse(c.Ref, "node: is this node itself")
		return
	case !e.cfg.Outbound && !c.Trusted:
		e.refuse(c.Ref, "outbound is false, the node would not be dialled")
		return
	case known == nil && len(e.nodes) >= maxNodes:
		e.refuse(c.Ref, "too many nodes are kept, at most "+strconv.Itoa(maxNodes))
		return
	case c.Trusted && (known == nil || !known.trusted) && e.trusted() >= len(e.cfg.trusted)+maxTrusted:
		e.refuse(c.Ref, "too many nodes are trusted, at most "+strconv.Itoa(maxTrusted)+" besides trusted_nodes")
		return
	}
	if !e.request(c.Ref, func() {
		if c.Trusted {
			e.server.AddTrustedPeer(n)
		}
		e.keep(n.ID()) // here, so that a removal that waits does not end the new link
	}) {
		return
	}
	if known == nil {
		known = &node{at: n}
		e.nodes[n.ID()] = known
	}
	if known.keeper != nil && endpoint(known.at) != endpoint(n) {
		tell(known.keeper.moved)
	}
	known.at, known.static, known.trusted = n, true, known.trusted || c.Trusted
}

// trusted counts the trusted nodes. mu is held. AddPeer is rare.
func (e *Edge) trusted() (count int) {
	for _, n := range e.nodes {
		if n.trusted {
			count++
		}
	}
	return count
}

// removePeer answers Done when the link, if any, is gone. It undoes the
// configuration too, until the next start.
func (e *Edge) removePeer(c overlay.RemovePeer) {
	n, err := parseNode(c.Node)
	if err != nil {
		e.refuse(c.Ref, err.Error())
		return
	}
	id := n.ID()
	e.mu.Lock()
	defer e.mu.Unlock()
	l, known := e.links[overlay.PeerID(id)], e.nodes[id]
	if known == nil && l == nil {
		e.refuse(c.Ref, "node: is neither kept nor linked")
		return
	}
	if !e.request(c.Ref, func() {
		e.server.RemoveTrustedPeer(n)
		if l != nil {
			l.drop(removed, "removed", p2p.DiscRequested)
		}
		e.server.RemovePeer(n)
	}) {
		return
	}
	if known != nil && known.keeper != nil {
		known.keeper.cancel()
	}
	delete(e.nodes, id)
}

// request has the server do something and then answers Done. mu is held. The
// same command, repeated while it waits, is answered once.
func (e *Edge) request(ref layers.Ref, do func()) bool {
	if _, waits := e.pending[ref]; waits {
		return false
	}
	select {
	case e.requests <- func() { do(); e.done(ref) }:
		e.pending[ref] = struct{}{}
		return true
	default:
		e.refuse(ref, "too many requests wait, at most "+strconv.Itoa(maxRequests))
		return false
	}
}

func (e *Edge) done(ref layers.Ref) {
	e.mu.Lock()
	delete(e.pending, ref)
	e.mu.Unlock()
	e.out.Send(overlay.Done{Ref: ref})
}

func (e *Edge) refuse(ref layers.Ref, reason string) {
	e.out.Send(overlay.Refused{Ref: ref, Reason: reason})
}

// work carries out requests, which wait for the server.
func (e *Edge) work() {
	for {
		select {
		case do := <-e.requests:
			do()
		case <-e.ctx.Done():
			return
		}
	}
}

// list describes the links and the nodes that are to be linked, by id.
func (e *Edge) list() []overlay.PeerInfo {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]overlay.PeerInfo, 0, len(e.links)+len(e.nodes))
	for id, n := range e.nodes {
		if l := e.links[overlay.PeerID(id)]; n.static && (l == nil || !l.isUp()) {
			all = append(all, overlay.PeerInfo{ID: overlay.PeerID(id), Enode: n.at.URLv4(), Static: true, Trusted: n.trusted})
		}
	}
	for id, l := range e.links {
		if l.isUp() {
			all = append(all, l.describe(e.nodes[enode.ID(id)]))
		}
	}
	slices.SortFunc(all, func(a, b overlay.PeerInfo) int {
		return cmp.Or(slices.Compare(a.ID[:], b.ID[:]), cmp.Compare(a.Enode, b.Enode))
	})
	return all
}

func (l *link) isUp() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stage == up
}

// describe returns what is known about a live link to a node that may be known.
func (l *link) describe(known *node) overlay.PeerInfo {
	i := overlay.PeerInfo{
		ID:        l.id,
		Enode:     l.peer.Node().URLv4(), // of an inbound link, with the port it came from
		Name:      printable(l.peer.Fullname(), maxName),
		Address:   l.peer.RemoteAddr().String(),
		Inbound:   l.peer.Inbound(),
		Trusted:   l.peer.Trusted(),
		Connected: true,
		Since:     l.since,
		In:        l.packetsIn.Load(),
		Out:       l.packetsOut.Load(),
	}
	if known != nil {
		i.Enode, i.Static = known.at.URLv4(), known.static
	}
	return i
}
