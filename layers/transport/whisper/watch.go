package whisper

import (
	"slices"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// reportAtOnce is how many pooled envelopes are put into one event when somebody
// asks for what is there already.
const reportAtOnce = 256

// heldCost and refusalCost are what a confirmation that waits takes, besides the
// positions it waits for, and each of its refusals, in bytes.
const (
	heldCost    = 96
	refusalCost = 64
)

// watch is what those beside the stack have asked for.
type watch struct {
	on     bool
	keeps  bool   // confirmations wait for kept
	base   uint64 // of marks: that of an envelope is base + its position + 1
	kept   uint64 // every position below it is durable
	at     time.Time
	topics map[transport.Topic]bool
}

func (w *watch) mark(x *entry) uint64 { return w.base + x.seq + 1 }

// after makes w that of an heir, with a pool that next is the end of. Marks of the
// one before say nothing here, even if the clock was set back, and if somebody
// kept for it the confirmations wait here too, for their Watch.
func (w *watch) after(before *watch, next uint64) {
	w.base = max(w.base, before.base+next)
	w.keeps = w.keeps || before.keeps
}

// observe answers Watch. What several ask for adds up.
func (n *Node) observe(now time.Time, c transport.Watch, out *output) {
	n.watch.on = true
	if c.Serves {
		n.post.Serve()
	}
	n.widen(now, c.Topics, out)
	from := uint64(0)
	if c.Keeps {
		n.rewatch()
		from = n.watch.kept
	}
	n.reportWatched(from, out)
}

// rewatch begins again with a keeper. The one before it may have gone with
// envelopes that it had heard of, and the one after it may have read a few of
// the same events since: marks made from now on are above all of those, so that
// an answer to an old one says nothing.
func (n *Node) rewatch() {
	n.watch.keeps = true
	n.watch.base += n.pool.next
	for _, p := range n.slots {
		if p != nil {
			p.held.forget(func(seq uint64) bool {
				return seq < n.watch.kept || n.pool.at(seq) != nil
			})
		}
	}
}

// widen makes topics a part of the interest.
func (n *Node) widen(now time.Time, topics []transport.Topic, out *output) {
	for _, t := range topics {
		n.watch.topics[t] = true
		n.wish(t)
	}
	if len(topics) > 0 && n.cfg.Interest == Subscribed {
		n.altered = true
	}
	n.announce(now, out)
}

// reportWatched reports what is pooled from a position on.
func (n *Node) reportWatched(from uint64, out *output) {
	var (
		found []transport.Envelope
		mark  uint64
	)
	report := func() {
		if len(found) > 0 {
			out.Up = append(out.Up, transport.Admitted{Mark: mark, Envelopes: found})
			found = nil
		}
	}
	for _, x := range n.pool.since(from) {
		if x.dead() {
			continue
		}
		mark = n.watch.mark(x)
		if found = append(found, n.pool.envelope(x)); len(found) == reportAtOnce {
			report()
		}
	}
	report()
}

// keptUp takes the word of the keeper, and sends the confirmations that have
// waited for it.
func (n *Node) keptUp(now time.Time, c transport.Kept) {
	if !n.watch.keeps || c.Mark <= n.watch.base {
		return // of an earlier Watch
	}
	kept := min(c.Mark-n.watch.base, n.pool.next)
	if kept <= n.watch.kept {
		return
	}
	n.watch.kept, n.watch.at = kept, now
	for _, p := range n.slots {
		if p == nil {
			continue
		}
		for _, h := range p.held.release(kept) {
			n.send(p, h)
		}
	}
}

// confirm tells a peer what has become of a packet: what was refused, then that
// it has come. If there is a keeper it is told once all of it is durable.
// Only those who have said that they confirm, too, listen: the others know no
// such packets, and for them the packet is not hashed.
func (n *Node) confirm(p *peer, in *intake) {
	if !p.confirms {
		return
	}
	if in.batch == (transport.Hash{}) {
		in.batch = in.packet.Batch()
	}
	h := held{in.batch, in.refusals, in.unkept}
	if len(in.unkept) == 0 {
		n.send(p, h)
		return
	}
	n.limited.confirmations += p.held.add(h)
}

// send queues a confirmation.
func (n *Node) send(p *peer, h held) {
	if len(h.refusals) > 0 {
		n.limited.confirmations += p.queue(encodeResponse(h.batch, h.refusals))
	}
	n.limited.confirmations += p.queue(encodeAcknowledged(h.batch))
}

// held is a confirmation that waits for the keeper.
type held struct {
	batch    transport.Hash
	refusals []Refusal
	unkept   []uint64 // positions in the order of arrival
}

func (h held) cost() int { return heldCost + 8*len(h.unkept) + refusalCost*len(h.refusals) }

// holding is the confirmations that wait for the keeper, of one peer, in the
// order of their packets.
type holding struct {
	list  []held
	bytes int
}

// add lets a confirmation wait. The oldest go if there are too many; their
// sender has its loss. It returns how many went.
func (q *holding) add(h held) (dropped uint64) {
	q.list = append(q.list, h)
	q.bytes += h.cost()
	for q.bytes > maxConfirmations {
		q.pop()
		dropped++
	}
	return dropped
}

func (q *holding) pop() held {
	h := q.list[0]
	q.list[0] = held{}
	q.list = q.list[1:]
	q.bytes -= h.cost()
	return h
}

// release takes out what has nothing more to wait for, up to the first that
// has: later packets rarely have less to wait for.
func (q *holding) release(kept uint64) (free []held) {
	for len(q.list) > 0 && slices.Max(q.list[0].unkept) < kept {
		free = append(free, q.pop())
	}
	return free
}

// forget drops what waits for an envelope that nobody can keep any more.
func (q *holding) forget(hope func(seq uint64) bool) {
	q.list = slices.DeleteFunc(q.list, func(h held) bool {
		for _, seq := range h.unkept {
			if !hope(seq) {
				q.bytes -= h.cost()
				return true
			}
		}
		return false
	})
}
