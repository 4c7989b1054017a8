package plugin

import (
	"time"

	slot "github.com/stratanode/strata/layers/transport"
)

const (
	// peersPause is how long a change of the number of peers waits for the next,
	// so that a transport that counts wildly is heard ten times a second.
	peersPause = 100 * time.Millisecond

	// maxPeerCount is the largest number that is believed.
	maxPeerCount = 1 << 20
)

// peers is the number of peers as the layers above know it, and as it is.
type peers struct {
	told, now int
	at        time.Time   // when it was told
	timer     *time.Timer // runs while now waits to be told
	waiting   bool
}

func newPeers(tell func()) peers {
	t := time.AfterFunc(time.Hour, tell)
	t.Stop()
	return peers{timer: t}
}

func (p *peers) end() { p.timer.Stop() }

// countPeers takes a number from the transport.
func (e *Edge) countPeers(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := &e.peers
	p.now = max(0, min(n, maxPeerCount))
	if e.over || p.waiting {
		return
	}
	if wait := peersPause - time.Since(p.at); wait > 0 {
		p.waiting = true
		p.timer.Reset(wait)
		return
	}
	e.reportPeers()
}

// tellPeers is called when the pause is over.
func (e *Edge) tellPeers() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.peers.waiting = false
	if !e.over {
		e.reportPeers()
	}
}

// reportPeers reports the number if it has changed. mu is held.
func (e *Edge) reportPeers() {
	p := &e.peers
	if p.now == p.told {
		return
	}
	p.told, p.at = p.now, time.Now()
	e.up.Send(slot.Peers{Count: p.told})
}
