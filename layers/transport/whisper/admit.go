package whisper

import (
	"slices"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// weighAtOnce is how many envelopes are hashed and weighed together.
const weighAtOnce = 16

// candidate is an envelope that is not pooled, and what is thought of it so far.
type candidate struct {
	*Envelope
	verdict verdict
	early   uint32
	pow     float64
}

// intake is what comes of one packet of envelopes.
type intake struct {
	now      time.Time
	from     *peer
	packet   Messages
	batch    transport.Hash // zero until it is known
	refusals []Refusal
	received []transport.Envelope
	watched  []transport.Envelope
	mark     uint64   // of the last of them
	unkept   []uint64 // positions of what the confirmation has to wait for
}

// ingest takes a packet of envelopes from a peer.
func (n *Node) ingest(now time.Time, p *peer, m Messages, out *output) {
	var (
		in    = intake{now: now, from: p, packet: m}
		batch = n.candidates[:0]
	)
	for i := range m.Envelopes {
		e := &m.Envelopes[i]
		if x := n.pool.find(e); x != nil {
			e.Hash = x.hash
			n.repeated(x, &in, out)
			continue
		}
		if batch = append(batch, candidate{Envelope: e}); len(batch) == weighAtOnce {
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
		n.confirm(p, &in)
	}
}

// repeated takes an envelope that is pooled already.
func (n *Node) repeated(x *entry, in *intake, out *output) {
	n.duplicates++
	n.pool.known.set(x, in.from.slot)
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
	if len(batch) == 0 {
		return batch
	}
	for i := range batch {
		c := &batch[i]
		in.from.skews.note(in.now.Unix(), c.Envelope)
		c.early, c.verdict = n.gate.first(in.now.Unix(), c.Envelope)
	}
	n.weigh(batch, in)
	for i, c := range batch {
		v := c.verdict
		if v == admitted {
			if slices.ContainsFunc(batch[:i], func(o candidate) bool { return o.Hash == c.Hash }) {
				continue
			}
			v = n.admit(c, in)
		}
		if v != admitted {
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
	n.pool.known.set(x, in.from.slot)
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
		x.life |= markReported
		n.journal.fate(deedReported, x.hash, nil)
		in.received = append(in.received, plain(e))
	}
	if n.watch.on {
		in.watched, in.mark = append(in.watched, e), n.watch.mark(x)
	}
	return admitted
}

// weigh computes the hashes of a batch, and the proofs of work of those for which
// they matter. The hash of a short packet goes along at little cost.
func (n *Node) weigh(batch []candidate, in *intake) {
	var (
		scratch = n.scratch[:0]
		inputs  [2*weighAtOnce + 1][]byte
		whose   [2*weighAtOnce + 1]int // from weighAtOnce on: for the proof of work
		sizes   [weighAtOnce]int
		starts  [weighAtOnce]int
		ends    [weighAtOnce]int
		count   = 0
	)
	add := func(input []byte, i int) {
		inputs[count], whose[count] = input, i
		count++
	}
	for i, c := range batch {
		add(c.raw, i)
		if c.verdict == admitted {
			starts[i] = len(scratch)
			scratch, sizes[i] = c.appendWork(scratch)
			ends[i] = len(scratch)
		}
	}
	for i, c := range batch {
		if c.verdict == admitted {
			add(scratch[starts[i]:ends[i]], weighAtOnce+i)
		}
	}
	if in.from.confirms && len(in.packet.Envelopes) < lanes-1 {
		add(in.packet.payload, 2*weighAtOnce)
	}
	hashAll(inputs[:count], fourWay, func(k int, h [32]byte) {
		switch i := whose[k]; {
		case i < weighAtOnce:
			batch[i].Hash = h
		case i < 2*weighAtOnce:
			c := &batch[i-weighAtOnce]
			c.pow = powOf(h, sizes[i-weighAtOnce], c.TTL+c.early)
		default:
			in.batch = h
		}
	})
	if cap(scratch) <= maxScratch {
		n.scratch = scratch
	}
}

// maxScratch is how large a buffer the node keeps between packets, in bytes.
const maxScratch = 64 << 10
