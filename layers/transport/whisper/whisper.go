// Package whisper is the Whisper v6 relay (EIP-627) as a transport: it carries
// envelopes between peers of an overlay, against a proof of work, and to the
// layer above those of the topics it has subscribed to.
//
// It forwards on arrival and never on a tick: every peer is offered what is new
// as soon as its last packet is written, and what has gathered in the meantime
// goes into one packet.
package whisper

import (
	"fmt"
	"io"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/mail"
)

type output = layers.Output[transport.Event, overlay.Command]

// Name is the name of the protocol in the configuration file.
const Name = "whisper"

// latency is how long an envelope may well travel: some ten hops, of which those
// over older nodes take 0.3 s each.
const latency = 3 * time.Second

// Node is a Whisper node. It keeps nothing over a restart: peers send again what
// they have, and the layer above publishes again what is unanswered.
type Node struct {
	cfg    Config
	opened bool

	gate       gate
	pool       pool
	light      bool // envelopes of others are not forwarded
	subscribed bool // the layer above has said its topics at least once
	topics     map[transport.Topic]bool
	all        bool   // the layer above wants every topic
	chosen     *Bloom // the interest by Set, and what was asked for since
	altered    bool   // the interest is another than that of the configuration
	repriced   bool   // so is the minimum of work

	watch    watch
	post     *mail.Post
	postWake time.Time // when the mail half wants its turn
	journal  journal

	peers   map[overlay.PeerID]*peer
	slots   []*peer // peers by their slots, with gaps
	rescans []*peer // peers to be offered the whole pool again
	early   []early
	heir    heir

	refs   map[layers.Ref]*publication
	own    map[transport.Hash][]*publication // of pooled envelopes
	mining []*publication                    // in the order of their turns

	counts     [verdicts]uint64
	duplicates uint64
	limited    limited
	candidates []candidate // buffers that are used again
	scratch    []byte
	picked     []*entry
}

var _ layers.Protocol[transport.Command, transport.Event, overlay.Command, overlay.Event] = (*Node)(nil)

// Tools are what a node needs of others. The zero value will do for a node that
// neither asks for mail nor serves it.
type Tools struct {
	Sealer mail.Sealer // nil: requests to mail servers can be made and read in clear only
	Random io.Reader   // for the ids of requests

	// Archive says that an archive stands on this transport: confirmations wait
	// for it from the beginning, and not only after its first Watch.
	Archive bool
}

// New returns a node without tools. The configuration must be valid.
func New(cfg Config) *Node { return NewWith(cfg, Tools{}) }

// NewWith returns a node. The configuration must be valid.
func NewWith(cfg Config, tools Tools) *Node {
	n := &Node{
		cfg:    cfg,
		light:  cfg.Light,
		watch:  watch{keeps: tools.Archive, topics: map[transport.Topic]bool{}},
		pool:   newPool(cfg.PoolBytes),
		topics: map[transport.Topic]bool{},
		peers:  map[overlay.PeerID]*peer{},
		refs:   map[layers.Ref]*publication{},
		own:    map[transport.Hash][]*publication{},
	}
	n.gate = gate{
		minPoW:     cfg.MinPoW,
		maxMessage: cfg.MaxMessageSize,
		maxTTL:     uint32(cfg.MaxTTL / time.Second),
	}
	if cfg.Interest == Everything {
		n.gate.interest = FullBloom()
	}
	n.post = mail.New(cfg.Mail, n.mailSettings(), tools.Sealer, tools.Random)
	return n
}

// FromAbove implements layers.Protocol. It returns no errors: what cannot be
// published is Refused.
func (n *Node) FromAbove(now time.Time, c transport.Command) (out output, err error) {
	n.begin(now, &out)
	switch c := c.(type) {
	case transport.Attach:
		n.attach(&out)
	case transport.Subscribe:
		n.subscribe(now, c, &out)
	case transport.Publish:
		n.publish(now, c, &out)
	case transport.Watch:
		n.observe(now, c, &out)
	case transport.Kept:
		n.keptUp(now, c)
	case transport.Query:
		n.deliver(n.post.Query(now, c), &out)
	case transport.Cancel:
		n.deliver(n.post.Cancel(now, c), &out)
	case transport.Page:
		n.deliver(n.post.Page(now, c), &out)
	case transport.Set:
		n.set(now, c, &out)
	case transport.Trust:
		n.trust(c, &out)
	case transport.Direct:
		n.direct(c, &out)
	case transport.Describe:
		n.describe(c, &out)
	case transport.Explain:
		n.explain(c, &out)
	default:
		panic(fmt.Sprintf("whisper: unknown command %T", c))
	}
	return n.settled(now, out), nil
}

// FromBelow implements layers.Protocol. It returns no errors: packets that are
// wrong in themselves are dropped by the Codec, envelopes that are refused are
// counted and reported to their sender.
func (n *Node) FromBelow(now time.Time, e overlay.Event) (out output, err error) {
	n.begin(now, &out)
	switch e := e.(type) {
	case overlay.Ready:
		n.linksBegin(&out)
		n.greet(&out)
		n.deliver(n.post.OverlayReady(now), &out)
	case overlay.Connected:
		if n.heir.waits {
			break // it is repeated
		}
		n.connect(now, e, &out)
		if len(n.early) > 0 {
			n.replay(now, n.peers[e.Peer], &out)
		}
	case overlay.Disconnected:
		n.disconnect(now, e.Peer, &out)
		n.forgetEarly(e.Peer)
	case overlay.Arrived:
		if p := n.peers[e.Peer]; p != nil {
			n.arrived(now, p, e.Packet, &out)
		} else {
			n.keep(now, e)
		}
	case overlay.Written:
		if p := n.peers[e.Peer]; p != nil {
			n.written(now, p, &out)
		}
	case overlay.Done, overlay.Refused, overlay.Listed:
		// Answers to others.
	default:
		panic(fmt.Sprintf("whisper: unknown event %T", e))
	}
	return n.settled(now, out), nil
}

// Wake implements layers.Protocol.
func (n *Node) Wake(now time.Time) (out output) {
	if !n.opened {
		n.open(now, &out)
	}
	n.begin(now, &out)
	n.rescanDue(now)
	n.wakePost(now, &out)
	n.mineNext(now, &out)
	return n.settled(now, out)
}

// begin begins every step.
func (n *Node) begin(now time.Time, out *output) {
	n.journal.now = now.UnixNano()
	n.expire(now, out)
}

func (n *Node) open(now time.Time, out *output) {
	n.opened = true
	n.watch.base = uint64(max(0, now.UnixNano())) // above the marks of an earlier life
	if n.cfg.Interest == Subscribed {
		// Peers may know the interest of an earlier life, which comes back with
		// the first Subscribe.
		n.gate.former, n.gate.until = FullBloom(), now.Add(changeGrace)
	}
	out.Down = append(out.Down, overlay.Attach{})
	n.greet(out)
	n.deliver(n.post.Open(now), out)
	n.announceReady(out)
}

// announceReady says that the node is open, and whom it can ask for mail.
func (n *Node) announceReady(out *output) {
	out.Up = append(out.Up, n.ready())
	out.Up = append(out.Up, n.post.Ready()...)
}

// greet sets the status packet of links to come.
func (n *Node) greet(out *output) {
	s := Status{PoW: n.gate.minPoW, Bloom: n.gate.interest, Light: n.light, Confirmations: true}
	out.Down = append(out.Down, overlay.Greet{Packet: s.encode()})
}

func (n *Node) ready() transport.Ready {
	return transport.Ready{Info: transport.Info{
		Name:    Name,
		MaxData: n.maxData(),
		MinTTL:  statusTTL,
		MaxTTL:  n.cfg.MaxTTL,
		Latency: latency,
	}}
}

// attach greets a layer above that has just started. What the one before it
// heard is reported again once it subscribes, because it may have got lost with
// it; until then nothing is.
func (n *Node) attach(out *output) {
	clear(n.topics)
	n.all = false
	for _, x := range n.pool.log {
		x.life &^= markReported
	}
	n.announceReady(out)
	if len(n.peers) > 0 {
		out.Up = append(out.Up, transport.Peers{Count: len(n.peers)})
	}
}

// arrived takes a packet from a peer.
func (n *Node) arrived(now time.Time, p *peer, packet overlay.Packet, out *output) {
	switch m := packet.(type) {
	case Messages:
		n.ingest(now, p, m, out)
	case PoWRequirement, BloomFilter:
		n.adjust(now, p, m)
	case mail.Packet:
		n.mailed(now, p, m, out)
	case BatchAcknowledged:
		n.acknowledged(p, m.Batch, nil, out)
	case MessageResponse:
		n.acknowledged(p, m.Batch, m.Refusals, out)
	case Status, RateLimits:
		// The deployed nodes do not listen either.
	default:
		panic(fmt.Sprintf("whisper: unknown packet %T", m))
	}
}

// settled ends every step: it sends what is to be sent and sets the alarm.
func (n *Node) settled(now time.Time, out output) output {
	n.flush(&out)
	if len(n.pool.due) > 0 {
		out.WakeAt(time.Unix(int64(n.pool.due[0].expiry)+1, 0))
	}
	for _, p := range n.rescans {
		out.WakeAt(p.rescan)
	}
	if len(n.mining) > 0 {
		out.WakeAt(now)
	}
	out.WakeAt(n.postWake)
	return out
}

// Counts says how many envelopes of peers were admitted, and how many were not
// for each reason, since the start. It is for the trace and tests, between two
// steps.
func (n *Node) Counts() map[string]uint64 {
	m := make(map[string]uint64, len(n.counts))
	for v, c := range n.counts {
		m[verdict(v).String()] = c
	}
	return m
}
