package mail

import (
	"time"

	"github.com/stratanode/strata/layers/overlay"
)

// Inherit takes over from the Post of a node that is being replaced what its
// links owe: the rest of the answers to its syncs, which must not be taken for
// those to the syncs of p. It is called before any link is reported to p; before
// is not used any more. The numbers of asks go on, even if the clock was set back:
// an archive may still work on one of before.
func (p *Post) Inherit(before *Post) {
	p.nextAsk = max(p.nextAsk, before.nextAsk)
	for id, l := range before.links {
		if q := before.current(id); q != nil && q.Sync || !l.late.IsZero() {
			p.owing[id] = true
		}
	}
	for id := range before.owing {
		p.owing[id] = true
	}
}

// inherited sets what a link that is reported owes, if it is an inherited one.
func (p *Post) inherited(now time.Time, l *link) {
	if id := l.peer.Peer; p.owing[id] {
		delete(p.owing, id)
		l.late = now.Add(quarantine)
	}
}

// Acquit forgets what a link owes that has ended before it was reported.
func (p *Post) Acquit(peer overlay.PeerID) { delete(p.owing, peer) }
