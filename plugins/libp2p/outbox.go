package libp2p

import (
	"github.com/stratanode/strata/plugins/transport"
)

// take takes charge of an envelope of the host, whose arguments have been
// checked.
func (p *pool) take(e transport.Envelope, wire []byte, shard int) error {
	id := idOf(wire)
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.byID[id]; old != nil {
		return p.takeAgain(old, e.ID)
	}
	if len(p.receipts) >= maxInbox { // the host does not call Receive
		return transport.ErrBusy
	}
	if p.own >= p.limit.own || p.ownBytes+len(wire) > p.limit.ownBytes {
		p.count.queueFull.Add(1)
		return transport.ErrBusy
	}
	n := &entry{id: id, envelope: e, wire: wire, shard: shard, own: true, receipts: []uint64{e.ID}}
	n.envelope.Data = nil // the host's; the wire form has it
	p.insert(n)
	p.own++
	p.ownBytes += len(wire)
	p.outbox[shard] = append(p.outbox[shard], n)
	p.count.published.Add(1)
	p.trim()
	signal(p.leaving)
	return nil
}

// takeAgain answers for an envelope that is known to the last byte.
func (p *pool) takeAgain(old *entry, name uint64) error {
	if old.own && !old.settled {
		if len(old.receipts) >= transport.MaxBatch {
			return transport.ErrBusy
		}
		old.receipts = append(old.receipts, name)
		return nil
	}
	// The network has it.
	p.receipts = append(p.receipts, transport.Receipt{ID: name, Outcome: transport.OutcomeRelayed})
	signal(p.arrived)
	return nil
}

// next returns the oldest envelope that waits for one of the shards that are
// ready, and its wire form, and puts it in flight.
func (p *pool) next(ready []bool) (*entry, []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	for shard, list := range p.outbox {
		for len(list) > 0 && (list[0].settled || list[0].wire == nil || !now.Before(list[0].expiry)) {
			list = list[1:] // expire settles it
		}
		if len(list) == 0 {
			delete(p.outbox, shard)
			continue
		}
		p.outbox[shard] = list
		if !ready[shard] {
			continue
		}
		e := list[0]
		p.outbox[shard] = list[1:]
		e.gossiped = true
		p.flight[&e.wire[0]] = e
		return e, e.wire
	}
	return nil, nil
}

// flying returns the entries among the messages that are own and in flight.
func (p *pool) flying(messages [][]byte) []*entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.flight) == 0 {
		return nil
	}
	var list []*entry
	for _, m := range messages {
		if len(m) == 0 {
			continue
		}
		if e := p.flight[&m[0]]; e != nil {
			list = append(list, e)
		}
	}
	return list
}

// relayed settles entries that a peer has been sent.
func (p *pool) relayed(list ...*entry) {
	if len(list) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range list {
		p.settle(e, transport.OutcomeRelayed, "")
	}
	p.trim()
}

// relayedID settles an envelope that a peer has fetched.
func (p *pool) relayedID(id envelopeID) {
	p.mu.Lock()
	e := p.byID[id]
	p.mu.Unlock()
	if e != nil {
		p.relayed(e)
	}
}

// failed settles an entry that gossip has refused, and forgets it so that it
// may be tried again.
func (p *pool) failed(e *entry, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle(e, transport.OutcomeFailed, reason)
	if e.known {
		p.forget(e)
	}
}

// settle tells the host what became of an envelope, once.
func (p *pool) settle(e *entry, o transport.Outcome, reason string) {
	if !e.own || e.settled {
		return
	}
	e.settled = true
	p.own--
	if e.wire != nil {
		delete(p.flight, &e.wire[0])
		p.ownBytes -= len(e.wire)
		p.keptSize += len(e.wire) + entryCost // from now on it counts as any other
	}
	if o == transport.OutcomeRelayed {
		p.count.relayed.Add(uint64(len(e.receipts)))
	}
	if len(reason) > transport.MaxText {
		reason = reason[:transport.MaxText]
	}
	for _, name := range e.receipts {
		p.receipts = append(p.receipts, transport.Receipt{ID: name, Outcome: o, Reason: reason})
	}
	e.receipts = nil
	signal(p.arrived)
}
