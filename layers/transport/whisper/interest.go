package whisper

import (
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// subscribe replaces the topics, reports what is pooled of new ones, and tells
// the peers of a client what it wants now.
func (n *Node) subscribe(now time.Time, c transport.Subscribe, out *output) {
	topics := make(map[transport.Topic]bool, len(c.Topics))
	added := c.All && !n.all
	for _, t := range c.Topics {
		if topics[t] = true; !n.reports(t) {
			added = true
			n.wish(t)
		}
	}
	n.topics, n.all = topics, c.All
	if added {
		n.reportPooled(out)
	}
	n.announce(now, out)
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
		if x.dead() || x.life&marks != 0 || !n.reports(x.topic) {
			continue
		}
		x.life |= markReported
		n.journal.fate(deedReported, x.hash, nil)
		if found = append(found, plain(n.pool.envelope(x))); len(found) == reportAtOnce {
			report()
		}
	}
	report()
}

// wish adds a topic to an interest that was chosen, as go-ethereum does.
func (n *Node) wish(t transport.Topic) {
	if n.chosen != nil {
		b := *n.chosen
		b.Add(t)
		n.chosen = &b
	}
}

// interest is what peers are to be told.
func (n *Node) interest() (b Bloom) {
	switch {
	case n.chosen != nil:
		return *n.chosen
	case n.cfg.Interest == Everything || n.all:
		return FullBloom()
	}
	for t := range n.topics {
		b.Add(t)
	}
	for t := range n.watch.topics {
		b.Add(t)
	}
	return b
}

// announce tells the peers what this node wants, if that has changed.
func (n *Node) announce(now time.Time, out *output) {
	interest := n.interest()
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
