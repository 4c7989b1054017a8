package mail

import (
	"slices"
	"time"

	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

// Page brings a part of the answer to an Asked. One that nobody waits for any
// more is ignored.
func (p *Post) Page(now time.Time, page transport.Page) Out {
	var o Out
	i := slices.IndexFunc(p.asks, func(a *ask) bool { return a.number == page.Ask })
	if i < 0 || p.asks[i].ended {
		return o
	}
	a := p.asks[i]
	packets := a.deliver(p.settings, page.Envelopes)
	switch {
	case !page.Last:
		a.due = time.Time{}
		if len(packets) == 0 {
			a.due = now.Add(patience)
			o.Up = append(o.Up, transport.Taken{Ask: a.number})
			return p.settled(o)
		}
	case page.Failure != "":
		packets = append(packets, a.failed(clean(page.Failure)))
	case len(page.Cursor) != 0 && len(page.Cursor) != cursorSize:
		packets = append(packets, a.failed("the cursor of the archive cannot be sent"))
	default:
		packets = append(packets, a.complete(page.Cursor))
	}
	if page.Last {
		a.ended, a.due = true, time.Time{}
	}
	a.writing = true
	for j, packet := range packets {
		o.Packets = append(o.Packets, Addressed{Peer: a.link.peer.Peer, Packet: packet, Tell: j == len(packets)-1})
	}
	return p.settled(o)
}

// deliver makes packets of envelopes.
func (a *ask) deliver(s Settings, envelopes []transport.Envelope) []overlay.Outgoing {
	groups := s.split(envelopes, !a.batch)
	packets := make([]overlay.Outgoing, len(groups), len(groups)+1)
	for i, g := range groups {
		a.last = g[len(g)-1].hash
		if a.sync {
			packets[i] = syncPart(g, nil, false, "")
		} else {
			packets[i] = delivery(g)
		}
	}
	return packets
}

func (a *ask) complete(cursor []byte) overlay.Outgoing {
	if a.sync {
		return SyncResponse{Cursor: cursor, Final: true}.Encode()
	}
	return Complete{Request: a.request, Last: a.last, Cursor: cursor}.Encode()
}

// Written says that all packets with Tell for this peer are out: it can take more.
func (p *Post) Written(now time.Time, peer overlay.PeerID) Out {
	var o Out
	l := p.links[peer]
	if l == nil {
		return o
	}
	l.owed = 0
	p.asks = slices.DeleteFunc(p.asks, func(a *ask) bool {
		if a.link != l || !a.writing {
			return false
		}
		a.writing = false
		if !a.ended {
			a.due = now.Add(patience)
			o.Up = append(o.Up, transport.Taken{Ask: a.number})
		}
		return a.ended
	})
	p.admit(now, &o)
	return p.settled(o)
}

// abandon ends the asks of a peer that is gone.
func (p *Post) abandon(now time.Time, peer overlay.PeerID, o *Out) {
	p.release(peer)
	p.asks = slices.DeleteFunc(p.asks, func(a *ask) bool {
		if a.link.peer.Peer != peer {
			return false
		}
		if !a.ended {
			o.Up = append(o.Up, transport.Abandoned{Ask: a.number})
		}
		return true
	})
	p.admit(now, o)
}

// wakeAsks answers for an archive that does not.
func (p *Post) wakeAsks(now time.Time, o *Out) {
	for _, a := range p.asks {
		if a.due.IsZero() || now.Before(a.due) {
			continue
		}
		a.writing, a.ended, a.due = true, true, time.Time{}
		o.Up = append(o.Up, transport.Abandoned{Ask: a.number})
		o.Packets = append(o.Packets, Addressed{
			Peer: a.link.peer.Peer, Packet: a.failed("the archive does not answer"), Tell: true,
		})
	}
}
