package whisper

import (
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// Allowances for clocks that differ, in seconds (§Envelopes of go-ethereum's
// Whisper v6, which all deployed nodes share).
const (
	syncAllowance   = 10 // an envelope may come this much too early
	expireAllowance = 20 // an expired envelope is no offence for this long
)

// changeGrace is how long envelopes are still taken by what this node asked for
// before: a peer that has just heard of the change may have sent them earlier.
const changeGrace = syncAllowance * time.Second

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
	former     Bloom // earlier interests, good until the time below
	until      time.Time
	formerPoW  float64 // the least of earlier minima, good until the time below
	untilPoW   time.Time
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
	if g.low(now, pow) {
		return lowPoW
	}
	if !g.interest.Match(topic) && !(now.Before(g.until) && g.former.Match(topic)) {
		return offTopic
	}
	return admitted
}

// low reports whether a proof of work is below what peers were told in time.
func (g *gate) low(now time.Time, pow float64) bool {
	return pow < g.minPoW && !(now.Before(g.untilPoW) && pow >= g.formerPoW)
}

// raise replaces the minimum. The former one is tolerated for a while.
func (g *gate) raise(now time.Time, pow float64) {
	if !now.Before(g.untilPoW) {
		g.formerPoW = g.minPoW
	}
	g.formerPoW = min(g.formerPoW, g.minPoW)
	g.untilPoW = now.Add(changeGrace)
	g.minPoW = pow
}

// change replaces the interest. The former one stays good for a while.
func (g *gate) change(now time.Time, interest Bloom) {
	if !now.Before(g.until) {
		g.former = Bloom{}
	}
	g.former.Merge(g.interest)
	g.until = now.Add(changeGrace)
	g.interest = interest
}
