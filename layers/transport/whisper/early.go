package whisper

import (
	"slices"
	"time"

	"github.com/stratanode/strata/layers/overlay"
)

const (
	// maxEarly bounds the envelopes, in bytes as encoded, that wait for the link
	// they came by to be reported.
	maxEarly = 4 << 20

	// earlyFor is how long they wait: the overlay reports a link as soon as what
	// is being written to it is out.
	earlyFor = 10 * time.Second
)

// early is a packet of envelopes that came by a link which the overlay has not
// reported to this life of the node. It answers Attach with all links, but what
// peers send meanwhile comes first, and they send it only once.
type early struct {
	peer   overlay.PeerID
	packet Messages
	at     time.Time
	size   int
}

// keep lets a packet wait for its link.
func (n *Node) keep(now time.Time, e overlay.Arrived) {
	m, ok := e.Packet.(Messages)
	if !ok {
		return // what describes the peer comes with the link
	}
	k := early{peer: e.Peer, packet: m, at: now, size: 256} // an empty packet costs too
	for i := range m.Envelopes {
		k.size += m.Envelopes[i].Size()
	}
	total := k.size
	n.early = slices.DeleteFunc(n.early, func(o early) bool {
		if now.Sub(o.at) > earlyFor {
			return true
		}
		total += o.size
		return false
	})
	if total > maxEarly {
		n.limited.early++
		return
	}
	n.early = append(n.early, k)
}

// replay takes what has waited for the link to p.
func (n *Node) replay(now time.Time, p *peer, out *output) {
	waited := n.early
	n.forgetEarly(p.id)
	for _, k := range waited {
		if k.peer == p.id && now.Sub(k.at) <= earlyFor {
			n.ingest(now, p, k.packet, out)
		}
	}
}

func (n *Node) forgetEarly(id overlay.PeerID) {
	kept := make([]early, 0, len(n.early))
	for _, k := range n.early {
		if k.peer != id {
			kept = append(kept, k)
		}
	}
	n.early = kept
}
