package whisper

import (
	"slices"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// skewSamples is of how many envelopes of a peer it is remembered by how much
// its clock, or that of whom it has them from, was ahead. No peer has more
// weight than this in the median.
const skewSamples = 8

// skews are by how many seconds envelopes of one peer were sent ahead of when
// they came.
type skews struct {
	since  int64 // unix seconds; when the link was made
	list   [skewSamples]int64
	count  int
	oldest int
}

// note looks at a new envelope. One that was sent before there was a link, by
// its own clock, has been pooled somewhere since and says nothing.
func (s *skews) note(now int64, e *Envelope) {
	sent := int64(e.Sent())
	if sent < s.since {
		return
	}
	s.list[s.oldest] = sent - now
	s.oldest = (s.oldest + 1) % skewSamples
	s.count = min(s.count+1, skewSamples)
}

// limited counts what peers did too much of.
type limited struct {
	updates       uint64 // changes of what they want that took effect later
	confirmations uint64 // dropped, because they do not read
	early         uint64 // packets dropped that came before their link
}

// describe answers Describe.
func (n *Node) describe(c transport.Describe, out *output) {
	s := transport.State{
		MinPoW:      n.gate.minPoW,
		MaxMessage:  n.gate.maxMessage,
		Light:       n.light,
		Pooled:      n.pool.len(),
		PooledBytes: n.pool.bytes,
		PoolLimit:   n.pool.limit,
		Admitted:    n.counts[admitted],
		Duplicates:  n.duplicates,
		Refused:     make(map[string]uint64, verdicts),
		Limited: map[string]uint64{
			"updates":       n.limited.updates,
			"confirmations": n.limited.confirmations,
			"early packets": n.limited.early,
		},
		Servers: n.post.Servers(),
	}
	if !n.gate.interest.Full() {
		s.Bloom = new([BloomSize]byte(n.gate.interest))
	}
	for v := late; v < verdicts; v++ {
		s.Refused[v.String()] = n.counts[v]
	}
	s.Skew, s.Samples = n.skew()
	out.Up = append(out.Up, transport.Described{Ref: c.Ref, State: s})
}

// skew is the median of what all peers say about the clock.
func (n *Node) skew() (median time.Duration, samples int) {
	var all []int64
	for _, p := range n.slots {
		if p != nil {
			all = append(all, p.skews.list[:p.skews.count]...)
		}
	}
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	low, high := all[(len(all)-1)/2], all[len(all)/2]
	return time.Duration(low+high) * time.Second / 2, len(all)
}
