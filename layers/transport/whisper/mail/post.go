package mail

import (
	"io"
	"slices"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

// New returns the mail half of a node, which has no links yet. Without a sealer
// requests in envelopes can neither be made nor read; those in clear can. The
// configuration must be valid.
func New(cfg Config, s Settings, sealer Sealer, random io.Reader) *Post {
	p := &Post{cfg: cfg, settings: s, sealer: sealer, random: random, links: map[overlay.PeerID]*link{}}
	p.recent.seen = map[transport.Hash]bool{}
	p.owing = map[overlay.PeerID]bool{}
	for _, url := range cfg.Servers {
		id, key, err := parseEnode(url)
		if err != nil {
			panic(err) // Validate was not called
		}
		p.servers = append(p.servers, &server{id: id, key: key, url: url, kept: true})
	}
	return p
}

// Stats counts what became of what peers sent, since the start.
type Stats struct {
	Fetched    uint64 // envelopes that were asked for
	Accidental uint64 // let through by the bloom though of another topic
	Outside    uint64 // of another time than was asked for
	Repeated   uint64 // more than once in one page
	Future     uint64 // of a sync: sent later than now
	BadTTL     uint64 // of a sync: without a time to live, or above the longest
	Huge       uint64 // of a sync: longer than the longest packet
	LowPoW     uint64 // of a sync: of too little work
	Unasked    uint64 // packets of nobody who was asked or trusted
	Asked      uint64 // requests of peers that were taken
	Refused    uint64 // requests of peers that were answered with an error
}

// Stats returns the counts. Like the entrances it must not be called while a
// step runs.
func (p *Post) Stats() Stats { return p.stats }

// link is a live link to a peer.
type link struct {
	peer    overlay.Connected
	trusted bool
	owed    int // answers handed over since the last Written

	// late is until when more may come of a sync that has ended early; zero: nothing.
	late time.Time
}

// Open begins. It is called once, before anything else, and makes the overlay
// keep links to the servers. The numbers of asks begin at now, so that they grow
// over restarts.
func (p *Post) Open(now time.Time) Out {
	p.nextAsk = uint64(max(now.UnixNano(), 1))
	var o Out
	p.keepLinks(&o)
	return p.settled(o)
}

// Ready returns what is to be said after each transport.Ready.
func (p *Post) Ready() []transport.Event {
	if servers := p.Servers(); len(servers) > 0 {
		return []transport.Event{transport.Archives{Servers: servers}}
	}
	return nil
}

// OverlayReady begins anew after the overlay has restarted: all links are gone.
func (p *Post) OverlayReady(now time.Time) Out {
	var o Out
	peers := make([]overlay.PeerID, 0, len(p.links))
	for id := range p.links {
		peers = append(peers, id)
	}
	slices.SortFunc(peers, func(a, b overlay.PeerID) int { return slices.Compare(a[:], b[:]) })
	for _, s := range p.servers {
		s.link = nil // before anything waits for another of them
	}
	for _, id := range peers {
		p.unlink(now, id, &o)
	}
	p.keepLinks(&o)
	return p.settled(o)
}

// keepLinks makes the overlay keep links to the servers.
func (p *Post) keepLinks(o *Out) {
	for _, s := range p.servers {
		if s.kept {
			p.keepLink(s, o)
		}
	}
}

func (p *Post) keepLink(s *server, o *Out) {
	o.Down = append(o.Down, overlay.AddPeer{Ref: layers.Ref(p.draw()), Node: s.url, Trusted: true})
}

// Connected reports a link to a peer, or renews one.
func (p *Post) Connected(now time.Time, c overlay.Connected) Out {
	var o Out
	c.State = nil
	if l := p.links[c.Peer]; l != nil {
		l.peer = c
		return o
	}
	l := &link{peer: c}
	p.links[c.Peer] = l
	p.inherited(now, l)
	if s := p.server(c.Peer); s != nil {
		p.linked(now, s, &o)
	}
	return p.settled(o)
}

// Disconnected reports the end of a link.
func (p *Post) Disconnected(now time.Time, peer overlay.PeerID) Out {
	var o Out
	p.unlink(now, peer, &o)
	return p.settled(o)
}

func (p *Post) unlink(now time.Time, peer overlay.PeerID, o *Out) {
	p.Acquit(peer)
	if p.links[peer] == nil {
		return
	}
	delete(p.links, peer)
	p.abandon(now, peer, o)
	if s := p.server(peer); s != nil {
		p.unlinked(now, s, o)
	}
}

// Packet takes a packet of a linked peer. One that nobody asked for is ignored.
func (p *Post) Packet(now time.Time, peer overlay.PeerID, packet Packet) Out {
	l := p.links[peer]
	if l == nil {
		return Out{}
	}
	var o Out
	switch m := packet.(type) {
	case Request:
		p.takeRequest(now, l, m, &o)
	case PlainRequest:
		p.takePlain(now, l, m, &o)
	case SyncRequest:
		p.takeSync(now, l, m, &o)
	case Delivery:
		p.takeDelivery(now, l, m, &o)
	case Complete:
		p.takeComplete(now, l, m, &o)
	case SyncResponse:
		p.takeSyncResponse(now, l, m, &o)
	default:
		panic("mail: unknown packet")
	}
	return p.settled(o)
}

// Wake does what is due. It may come early.
func (p *Post) Wake(now time.Time) Out {
	var o Out
	p.wakeAsks(now, &o)
	p.wakeHeld(now, &o)
	p.wakeQueries(now, &o)
	return p.settled(o)
}

// Trust makes what a linked peer delivers unasked be taken, as long as the link
// lives (shh_markTrustedPeer).
func (p *Post) Trust(peer overlay.PeerID) {
	if l := p.links[peer]; l != nil {
		l.trusted = true
	}
}

// Settle replaces the settings.
func (p *Post) Settle(s Settings) { p.settings = s }

// settled completes the output of a step: with a word about the servers if they
// have changed, and the time of the next Wake.
func (p *Post) settled(o Out) Out {
	p.announce(&o)
	wake := p.nextTimeout()
	for _, a := range p.asks {
		wake = earlier(a.due, wake)
	}
	for _, h := range p.held {
		wake = earlier(h.due, wake)
	}
	o.Wake = wake
	return o
}

// draw returns 32 random bytes.
func (p *Post) draw() (b [32]byte) {
	if _, err := io.ReadFull(p.random, b[:]); err != nil {
		panic("mail: random source: " + err.Error())
	}
	return b
}
