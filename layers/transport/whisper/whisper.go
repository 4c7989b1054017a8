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
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

type output = layers.Output[transport.Event, overlay.Command]

// Name is the name of the protocol in the configuration file.
const Name = "whisper"

// latency is how long an envelope may well travel: some ten hops, of which those
// over older nodes take 0.3 s each.
const latency = 3 * time.Second

// reportAtOnce is how many pooled envelopes are put into one Received when a
// topic is subscribed to.
const reportAtOnce = 256

// Node is a Whisper node. It keeps nothing over a restart: peers send again what
// they have, and the layer above publishes again what is unanswered.
type Node struct {
	cfg    Config
	opened bool

	gate       gate
	pool       pool
	subscribed bool // the layer above has said its topics at least once
	topics     map[transport.Topic]bool
	all        bool // the layer above wants every topic

	peers   map[overlay.PeerID]*peer
	slots   []*peer // peers by their slots, with gaps
	rescans []*peer // peers to be offered the whole pool again
	early   []early

	refs   map[layers.Ref]*publication
	own    map[transport.Hash][]*publication // of pooled envelopes
	mining []*publication                    // in the order of their turns

	counts     [verdicts]uint64
	candidates []candidate // buffers that are used again
	scratch    []byte
	picked     []*entry
}

var _ layers.Protocol[transport.Command, transport.Event, overlay.Command, overlay.Event] = (*Node)(nil)

// New returns a node. The configuration must be valid.
func New(cfg Config) *Node {
	n := &Node{
		cfg:    cfg,
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
	return n
}

// FromAbove implements layers.Protocol. It returns no errors: what cannot be
// published is Refused.
func (n *Node) FromAbove(now time.Time, c transport.Command) (out output, err error) {
	n.expire(now, &out)
	switch c := c.(type) {
	case transport.Attach:
		n.attach(&out)
	case transport.Subscribe:
		n.subscribe(now, c, &out)
	case transport.Publish:
		n.publish(now, c, &out)
	default:
		panic(fmt.Sprintf("whisper: unknown command %T", c))
	}
	return n.settled(now, out), nil
}

// FromBelow implements layers.Protocol. It returns no errors: packets that are
// wrong in themselves are dropped by the Codec, envelopes that are refused are
// counted and reported to their sender.
func (n *Node) FromBelow(now time.Time, e overlay.Event) (out output, err error) {
	n.expire(now, &out)
	switch e := e.(type) {
	case overlay.Ready:
		n.disconnectAll(&out)
		n.greet(&out)
	case overlay.Connected:
		n.connect(e, &out)
		if len(n.early) > 0 {
			n.replay(now, n.peers[e.Peer], &out)
		}
	case overlay.Disconnected:
		n.disconnect(e.Peer, &out)
		n.forgetEarly(e.Peer)
	case overlay.Arrived:
		if p := n.peers[e.Peer]; p != nil {
			n.arrived(now, p, e.Packet, &out)
		} else {
			n.keep(now, e)
		}
	case overlay.Written:
		if p := n.peers[e.Peer]; p != nil {
			n.written(p, &out)
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
	n.expire(now, &out)
	n.rescanDue(now)
	n.mineNext(now, &out)
	return n.settled(now, out)
}

func (n *Node) open(now time.Time, out *output) {
	n.opened = true
	if n.cfg.Interest == Subscribed {
		// Peers may know the interest of an earlier life, which comes back with
		// the first Subscribe.
		n.gate.former, n.gate.until = FullBloom(), now.Add(interestGrace)
	}
	out.Down = append(out.Down, overlay.Attach{})
	n.greet(out)
	out.Up = append(out.Up, n.ready())
}

// greet sets the status packet of links to come.
func (n *Node) greet(out *output) {
	s := Status{PoW: n.cfg.MinPoW, Bloom: n.gate.interest, Confirmations: true}
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
		x.marks &^= markReported
	}
	out.Up = append(out.Up, n.ready())
	if len(n.peers) > 0 {
		out.Up = append(out.Up, transport.Peers{Count: len(n.peers)})
	}
}

// subscribe replaces the topics, reports what is pooled of new ones, and tells
// the peers of a client what it wants now.
func (n *Node) subscribe(now time.Time, c transport.Subscribe, out *output) {
	var (
		topics   = make(map[transport.Topic]bool, len(c.Topics))
		added    = c.All && !n.all
		interest Bloom
	)
	for _, t := range c.Topics {
		topics[t] = true
		added = added || !n.reports(t)
		interest.Add(t)
	}
	if c.All {
		interest = FullBloom()
	}
	n.topics, n.all = topics, c.All
	if added {
		n.reportPooled(out)
	}
	if n.cfg.Interest == Subscribed {
		n.announce(now, interest, out)
	}
	n.subscribed = true
}

// reports says whether envelopes of topic t are reported to the layer above.
func (n *Node) reports(t transport.Topic) bool { return n.all || n.topics[t] }

func (n *Node) reportPooled(out *output) {
	var found []transport.Envelope
	report := func() {
		if len(found) > 0 {
			out.Up = append(out.Up, transport.Received{Envelopes: found})
			found = nil
		}
	}
	for _, x := range n.pool.log {
		if x.dead() || x.marks != 0 || !n.reports(x.topic) {
			continue
		}
		x.marks |= markReported
		if found = append(found, x.envelope()); len(found) == reportAtOnce {
			report()
		}
	}
	report()
}

func (n *Node) announce(now time.Time, interest Bloom, out *output) {
	if interest == n.gate.interest {
		return
	}
	n.gate.change(now, interest)
	n.greet(out)
	for _, p := range n.slots {
		if p != nil {
			p.update = new(encodeBloom(interest))
		}
	}
}

// arrived takes a packet from a peer.
func (n *Node) arrived(now time.Time, p *peer, packet overlay.Packet, out *output) {
	switch m := packet.(type) {
	case Messages:
		n.ingest(now, p, m, out)
	case PoWRequirement, BloomFilter:
		n.adjust(now, p, m)
	case BatchAcknowledged:
		n.acknowledged(p, m.Batch, nil, out)
	case MessageResponse:
		n.acknowledged(p, m.Batch, m.Refusals, out)
	case Status:
		// The peer repeats itself; the deployed nodes do not listen either.
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
