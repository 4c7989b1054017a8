package whisper

import (
	"slices"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// Allowances for clocks that differ, in seconds (§Envelopes of go-ethereum's
// Whisper v6, which all deployed nodes share).
const (
	syncAllowance   = 10 // an envelope may come this much too early
	expireAllowance = 20 // an expired envelope is no offence for this long
)

// interestGrace is how long envelopes of former interests are still taken: a
// peer that has just heard of new ones may have sent them before.
const interestGrace = syncAllowance * time.Second

// weighAtOnce is how many proofs of work are computed together.
const weighAtOnce = 16

// verdict is what becomes of an envelope.
type verdict uint8

const (
	admitted verdict = iota
	late             // expired on the way; nobody's fault
	veryOld
	fromFuture
	endless
	tooLong
	huge
	lowPoW
	offTopic
	poolFull
	verdicts // the number of verdicts
)

// String is the text that is sent in a message response. Where the deployed
// nodes refuse, too, it begins as theirs does.
func (v verdict) String() string {
	return [verdicts]string{
		"admitted", "expired", "very old envelope", "envelope from future", "envelope with ttl 0",
		"envelope with too long ttl", "huge messages are not allowed", "envelope with low PoW received",
		"envelope does not match bloom filter", "envelope pool is full",
	}[v]
}

// refused reports whether the peer is told.
func (v verdict) refused() bool { return v > late }

// codeRefused is the code of all refusals in a message response: statusd 0.40
// sends nothing else, whatever its reason is.
const codeRefused = 37

// gate decides which envelopes come in.
type gate struct {
	minPoW     float64
	maxMessage int    // bytes
	maxTTL     uint32 // seconds
	interest   Bloom
	former     Bloom // earlier interests
	until      time.Time
}

// first does the checks that cost nothing, in the order of the deployed nodes.
// Early is by how much the TTL counts as longer in the proof of work.
func (g *gate) first(now int64, e *Envelope) (early uint32, v verdict) {
	sent, expiry := int64(e.Sent()), int64(e.Expiry)
	switch {
	case sent > now+syncAllowance:
		return 0, fromFuture
	case expiry+expireAllowance < now:
		return 0, veryOld
	case expiry < now:
		return 0, late
	case e.TTL == 0:
		return 0, endless
	case e.TTL > g.maxTTL:
		return 0, tooLong
	case e.Size() > g.maxMessage:
		return 0, huge
	case sent > now:
		return uint32(sent - now + 1), admitted
	}
	return 0, admitted
}

// second does the checks that need the proof of work.
func (g *gate) second(now time.Time, topic transport.Topic, pow float64) verdict {
	if pow < g.minPoW {
		return lowPoW
	}
	if !g.interest.Match(topic) && !(now.Before(g.until) && g.former.Match(topic)) {
		return offTopic
	}
	return admitted
}

// change replaces the interest. The former one stays good for a while.
func (g *gate) change(now time.Time, interest Bloom) {
	if !now.Before(g.until) {
		g.former = Bloom{}
	}
	g.former.Merge(g.interest)
	g.until = now.Add(interestGrace)
	g.interest = interest
}

// candidate is an envelope whose proof of work has yet to be looked at.
type candidate struct {
	*Envelope
	early uint32
	pow   float64
}

// ingest takes a packet of envelopes from a peer.
func (n *Node) ingest(now time.Time, p *peer, m Messages, out *output) {
	var (
		refusals []Refusal
		received []transport.Envelope
		batch    = n.candidates[:0]
	)
	refuse := func(e *Envelope, v verdict) {
		n.counts[v]++
		if v.refused() {
			refusals = append(refusals, Refusal{e.Hash, codeRefused, v.String()})
		}
	}
	settle := func() {
		n.weigh(batch)
		for _, c := range batch {
			v := n.admit(now, p, c, &received)
			if v != admitted {
				refuse(c.Envelope, v)
			}
		}
		clear(batch)
		batch = batch[:0]
	}
	for i := range m.Envelopes {
		e := &m.Envelopes[i]
		if x := n.pool.byHash[e.Hash]; x != nil {
			x.known.set(p.slot)
			n.returned(x, out)
			continue
		}
		early, v := n.gate.first(now.Unix(), e)
		if v != admitted {
			refuse(e, v)
			continue
		}
		if slices.ContainsFunc(batch, func(c candidate) bool { return c.Hash == e.Hash }) {
			continue
		}
		if batch = append(batch, candidate{Envelope: e, early: early}); len(batch) == weighAtOnce {
			settle()
		}
	}
	settle()
	n.candidates = batch
	if len(received) > 0 {
		out.Up = append(out.Up, transport.Received{Envelopes: received})
	}
	if len(m.Envelopes) > 0 {
		p.confirm(m.Batch, refusals)
	}
}

// admit takes a weighed envelope into the pool, unless it is refused.
func (n *Node) admit(now time.Time, p *peer, c candidate, received *[]transport.Envelope) verdict {
	if v := n.gate.second(now, c.Topic, c.pow); v != admitted {
		return v
	}
	x, ok := n.pool.add(c.Envelope, c.pow, false)
	if !ok {
		return poolFull
	}
	n.counts[admitted]++
	x.known.set(p.slot)
	if n.reports(c.Topic) {
		x.marks |= markReported
		e := *c.Envelope
		e.Data = slices.Clone(e.Data)
		*received = append(*received, e.report())
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

// report returns e as the layer above sees it.
func (e *Envelope) report() transport.Envelope {
	return transport.Envelope{
		Hash: e.Hash, Topic: e.Topic, Data: e.Data,
		Sent: time.Unix(int64(e.Sent()), 0).UTC(),
		TTL:  time.Duration(e.TTL) * time.Second,
	}
}
