package devp2p

import (
	"net/netip"
	"time"

	"github.com/ethereum/go-ethereum/p2p/netutil"
)

const (
	firstDelay = time.Second      // between the first attempts at a node
	maxDelay   = 30 * time.Second // between all later ones; each doubles the delay
	longLived  = maxDelay         // a link that lived so long has shown that the node works
	lostSpread = 200 * time.Millisecond

	// throttle is the least time between two attempts that reach one address
	// outside our own network. go-ethereum, and so every deployed peer, closes a
	// second connection from such an address within 30 s unread; an attempt that
	// comes too early is therefore sure to fail, and the second on top covers that
	// its clock starts a little after ours. Peers of one network are not limited.
	throttle = attemptEvery + time.Second
)

// pace says when a node is to be dialled. The zero pace says at once. chance is
// a random number in [0, 1): without it two nodes that keep each other, and all
// clients of a relay that restarts, would dial in step.
type pace struct {
	attempts int       // since a link was long-lived
	last     time.Time // when the last attempt was over
	next     time.Time // the earliest time of the next attempt
}

// tried notes that an attempt, successful or not, is over. It connected to
// reached at the given time, or reached is invalid.
func (p *pace) tried(now time.Time, reached netip.Addr, at time.Time, chance float64) {
	p.attempts++
	p.last = now
	p.next = now.Add(spread(delay(p.attempts), chance))
	if !reached.IsValid() || netutil.AddrIsLAN(reached) {
		return
	}
	if t := at.Add(throttle + time.Duration(chance*float64(time.Second))); t.After(p.next) {
		p.next = t
	}
}

// lost notes that a link, made by us or inbound, has ended. The node is dialled
// at once unless the last attempt is too recent. But a node that had dialled us
// will do so again, so it is given the time: two connections that cross are
// refused by both ends.
func (p *pace) lost(now time.Time, lived time.Duration, inbound bool, chance float64) {
	if lived >= longLived {
		p.attempts = 0
	}
	wait := time.Duration(chance * float64(lostSpread))
	if inbound {
		wait = spread(firstDelay, chance)
	}
	if t := now.Add(wait); t.After(p.next) {
		p.next = t
	}
}

// moved notes that the node is to be dialled elsewhere. Whoever says so again and
// again does not make us dial without a pause.
func (p *pace) moved() {
	p.attempts = 0
	if !p.last.IsZero() {
		p.next = p.last.Add(firstDelay)
	}
}

// delay is how long to wait after that many attempts.
func delay(attempts int) time.Duration {
	d := firstDelay
	for range attempts - 1 {
		if d *= 2; d >= maxDelay {
			return maxDelay
		}
	}
	return d
}

// spread returns three to five quarters of d.
func spread(d time.Duration, chance float64) time.Duration {
	return d*3/4 + time.Duration(chance*float64(d)/2)
}
