package mail

import (
	"slices"
	"time"

	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

const (
	// maxHeld bounds the requests that wait for their turn, one of each peer.
	maxHeld = 1024

	// holdFor is how long a request waits: its client has given up by then.
	holdFor = 30 * time.Second
)

// held is a request that waits because as many are being answered as may be. It
// keeps its place, so that a client gets its turn however fast others ask again.
type held struct {
	ask   *ask
	asked transport.Asked
	due   time.Time
}

// hold puts a request at the end of the queue, or in the place of an earlier one
// of the same peer, which is refused: its client has lost patience with it.
func (p *Post) hold(now time.Time, a *ask, asked transport.Asked, o *Out) {
	h := held{a, asked, now.Add(holdFor)}
	if i := slices.IndexFunc(p.held, func(h held) bool { return h.ask.link == a.link }); i >= 0 {
		p.fail(p.held[i].ask, errLimit, o)
		p.held[i] = h
		return
	}
	if len(p.held) >= maxHeld {
		p.fail(a, errLimit, o)
		return
	}
	p.held = append(p.held, h)
}

// admit gives their turn to those who wait.
func (p *Post) admit(now time.Time, o *Out) {
	n := 0
	for n < len(p.held) && len(p.asks) < p.cfg.Asks {
		p.report(now, p.held[n].ask, p.held[n].asked, o)
		n++
	}
	p.held = slices.Delete(p.held, 0, n)
}

// wakeHeld refuses what has waited too long.
func (p *Post) wakeHeld(now time.Time, o *Out) {
	p.held = slices.DeleteFunc(p.held, func(h held) bool {
		if now.Before(h.due) {
			return false
		}
		p.fail(h.ask, errLimit, o)
		return true
	})
}

// release forgets what a peer that is gone has waited for.
func (p *Post) release(peer overlay.PeerID) {
	p.held = slices.DeleteFunc(p.held, func(h held) bool { return h.ask.link.peer.Peer == peer })
}
