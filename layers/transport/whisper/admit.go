package whisper

import (
	"slices"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// weighAtOnce is how many proofs of work are computed together.
const weighAtOnce = 16

// candidate is an envelope whose proof of work has yet to be looked at.
type candidate struct {
	*Envelope
	early uint32
	pow   float64
}

// intake is what comes of one packet of envelopes.
type intake struct {
	now      time.Time
	from     *peer
	refusals []Refusal
	received []transport.Envelope
	watched  []transport.Envelope
	mark     uint64   // of the last of them
	unkept   []uint64 // positions of what the confirmation has to wait for
}

// ingest takes a packet of envelopes from a peer.
func (n *Node) ingest(now time.Time, p *peer, m Messages, out *output) {
	var (
		in    = intake{now: now, from: p}
		unix  = now.Unix()
		batch = n.candidates[:0]
	)
	for i := range m.Envelopes {
		e := &m.Envelopes[i]
		if x := n.pool.byHash[e.Hash]; x != nil {
			n.repeated(x, &in, out)
			continue
		}
		p.skews.note(unix, e)
		early, v := n.gate.first(unix, e)
		if v != admitted {
			n.reject(e, v, &in)
			continue
		}
		if slices.ContainsFunc(batch, func(c candidate) bool { return c.Hash == e.Hash }) {
			continue
		}
		if batch = append(batch, candidate{Envelope: e, early: early}); len(batch) == weighAtOnce {
			batch = n.settle(batch, &in)
		}
	}
	n.candidates = n.settle(batch, &in)
	if len(in.received) > 0 {
		out.Up = append(out.Up, transport.Received{Envelopes: in.received})
	}
	if len(in.watched) > 0 {
		out.Up = append(out.Up, transport.Admitted{Mark: in.mark, Envelopes: in.watched})
	}
	if len(m.Envelopes) > 0 {
		n.confirm(p, m, &in)
	}
}

// repeated takes an envelope that is pooled already.
func (n *Node) repeated(x *entry, in *intake, out *output) {
	n.duplicates++
	x.known.set(in.from.slot)
	n.journal.move(deedRepeated, &x.hash, in.from.who)
	if n.watch.keeps && x.seq >= n.watch.kept {
		in.unkept = append(in.unkept, x.seq)
	}
	n.returned(x, out)
}

// reject counts an envelope that is not admitted, and notes it for the peer.
func (n *Node) reject(e *Envelope, v verdict, in *intake) {
	n.counts[v]++
	n.journal.reject(v, e.Hash, in.from.who)
	if v.refused() {
		in.refusals = append(in.refusals, Refusal{e.Hash, codeRefused, v.String()})
	}
}

// settle weighs and admits a batch, and returns it empty.
func (n *Node) settle(batch []candidate, in *intake) []candidate {
	n.weigh(batch)
	for _, c := range batch {
		if v := n.admit(c, in); v != admitted {
			n.reject(c.Envelope, v, in)
		}
	}
	clear(batch)
	return batch[:0]
}

// admit takes a weighed envelope into the pool, unless it is refused.
func (n *Node) admit(c candidate, in *intake) verdict {
	if v := n.gate.second(in.now, c.Topic, c.pow); v != admitted {
		return v
	}
	x, ok := n.pool.add(c.Envelope, c.pow, in.now, false)
	n.evicted()
	if !ok {
		return poolFull
	}
	n.counts[admitted]++
	x.known.set(in.from.slot)
	n.journal.admit(deedCame, x, in.from.who)
	if n.watch.keeps {
		in.unkept = append(in.unkept, x.seq)
	}
	reported := n.reports(c.Topic)
	if !reported && !n.watch.on {
		return admitted
	}
	// The copy keeps what is reported from holding on to the whole packet.
	e := c.copied().whole(c.pow)
	if reported {
		x.marks |= markReported
		n.journal.fate(deedReported, x.hash, nil)
		in.received = append(in.received, plain(e))
	}
	if n.watch.on {
		in.watched, in.mark = append(in.watched, e), n.watch.mark(x)
	}
	return admitted
}

// weigh computes the proofs of work of a batch.
func (n *Node) weigh(batch []candidate) {
	if len(batch) == 0 {
		return
	}
	var (
		scratch = n.scratch[:0]
		inputs  [weighAtOnce][]byte
		sizes   [weighAtOnce]int
		ends    [weighAtOnce]int
	)
	for i, c := range batch {
		scratch, sizes[i] = c.appendWork(scratch)
		ends[i] = len(scratch)
	}
	start := 0
	for i := range batch {
		inputs[i] = scratch[start:ends[i]]
		start = ends[i]
	}
	hashAll(inputs[:len(batch)], fourWay, func(i int, h [32]byte) {
		batch[i].pow = powOf(h, sizes[i], batch[i].TTL+batch[i].early)
	})
	if cap(scratch) <= maxScratch {
		n.scratch = scratch
	}
}

// maxScratch is how large a buffer the node keeps between packets, in bytes.
const maxScratch = 64 << 10
