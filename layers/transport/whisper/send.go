package whisper

import (
	"slices"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/internal/rlpwrite"
)

// bundle is a packet of envelopes.
type bundle struct {
	entries []*entry
	payload []byte
	batch   transport.Hash // zero until asked for
}

// flush sends to each peer that is free what there is for it. Peers that get the
// same envelopes share the packet.
func (n *Node) flush(out *output) {
	var last bundle
	for _, p := range n.slots {
		if p == nil || p.sending {
			continue
		}
		packets := p.confirmations
		p.confirmations, p.waiting = nil, 0
		if p.price != nil {
			packets = append(packets, *p.price)
			p.price = nil
		}
		if p.update != nil {
			packets = append(packets, *p.update)
			p.update = nil
		}
		if len(p.mail.waiting) > 0 {
			packets = p.mail.take(packets)
		}
		if p.cursor < n.pool.next && n.pick(p, &last) {
			packets = append(packets, overlay.Outgoing{Code: codeMessages, Payload: last.payload})
			n.expect(p, &last)
		}
		if len(packets) > 0 {
			p.sending = true
			out.Down = append(out.Down, overlay.Send{Peer: p.id, Packets: packets})
		}
	}
}

// pick makes b the next packet of envelopes for p, and reports whether there
// is one. It never holds what is below the peer's requirement or outside its
// interest, for which geth would end the link, or what the peer knows. What has
// expired left the pool at the beginning of the step.
func (n *Node) pick(p *peer, b *bundle) bool {
	var (
		picked = n.picked[:0]
		size   = 0
		alone  = n.gate.maxMessage - rlpwrite.MaxHeader
		limit  = min(n.cfg.BundleBytes-rlpwrite.MaxHeader, alone)
	)
	cursor := n.pool.next
	for _, x := range n.pool.since(p.cursor) {
		if x.dead() || n.pool.known.has(x, p.slot) || n.pool.size(x) > alone || !p.wants(x) || n.light && !x.own() {
			continue
		}
		if len(picked) > 0 && size+n.pool.size(x) > limit {
			cursor = x.seq
			break
		}
		picked = append(picked, x)
		size += n.pool.size(x)
		n.pool.known.set(x, p.slot)
		n.journal.move(deedForwarded, &x.hash, p.who)
	}
	p.cursor = cursor
	n.picked = picked
	if len(picked) == 0 {
		return false
	}
	if slices.Equal(picked, b.entries) {
		return true
	}
	payload := rlpwrite.ListHeader(make([]byte, 0, size+rlpwrite.MaxHeader), size)
	for _, x := range picked {
		payload = append(payload, n.pool.raw(x)...)
	}
	*b = bundle{entries: slices.Clone(picked), payload: payload}
	return true
}

// expect remembers which own envelopes go out to p in a packet.
func (n *Node) expect(p *peer, b *bundle) {
	var own []*entry
	for _, x := range b.entries {
		switch {
		case !x.own() || !n.unanswered(x):
		case p.confirms:
			own = append(own, x)
		default:
			p.unconfirmed = append(p.unconfirmed, x)
		}
	}
	if own == nil {
		return
	}
	if b.batch == (transport.Hash{}) {
		b.batch = layers.Keccak256(b.payload)
	}
	if len(p.awaited) == maxAwaited {
		p.awaited = slices.Delete(p.awaited, 0, 1)
	}
	p.awaited = append(p.awaited, awaited{b.batch, own})
}

// acknowledged settles the own envelopes of a packet that a peer has confirmed.
func (n *Node) acknowledged(p *peer, batch transport.Hash, refusals []Refusal, out *output) {
	i := slices.IndexFunc(p.awaited, func(a awaited) bool { return a.batch == batch })
	if i < 0 {
		return
	}
	own := p.awaited[i].own
	p.awaited = slices.Delete(p.awaited, i, i+1)
	refused := make(map[transport.Hash]bool, len(refusals))
	for _, r := range refusals {
		refused[r.Hash] = true
	}
	for _, x := range own {
		if !x.dead() && !refused[x.hash] {
			n.journal.fate(deedConfirmed, x.hash, p.who)
			n.returned(x, out)
		}
	}
}
