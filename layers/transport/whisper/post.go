package whisper

import (
	"fmt"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/mail"
)

const (
	// maxDirect bounds what waits to be written to one peer before no more Direct
	// is taken, in bytes.
	maxDirect = 4 << 20

	// requestTTL is the time to live of requests to mail servers in seconds. They
	// are not relayed; it is what the deployed clients write.
	requestTTL = 50

	// requestEffort is how many nonces a request is worth. It takes some hundreds
	// on average.
	requestEffort = 1 << 18
)

// mailSettings is what the mail half has to know.
func (n *Node) mailSettings() mail.Settings {
	return mail.Settings{
		MaxMessage: n.gate.maxMessage,
		Bundle:     min(n.cfg.BundleBytes, n.gate.maxMessage),
		MinPoW:     n.gate.minPoW,
		MaxTTL:     time.Duration(n.gate.maxTTL) * time.Second,
		Skew:       syncAllowance * time.Second,
		Make:       n.makeRequest,
	}
}

// makeRequest makes an envelope for a mail server.
func (n *Node) makeRequest(now time.Time, topic transport.Topic, data []byte) (raw []byte, hash transport.Hash, err error) {
	if len(data) > n.maxData() {
		return nil, hash, fmt.Errorf("whisper: request of %d bytes is longer than %d", len(data), n.maxData())
	}
	expiry := uint32(now.Unix()) + requestTTL
	s := NewSearch(Draft{Expiry: expiry, TTL: requestTTL, Topic: topic, Data: data}, max(n.cfg.PoW, statusPoW))
	nonce, found := s.Try(0, requestEffort)
	if !found {
		return nil, hash, fmt.Errorf("whisper: no proof of work for a request of %d bytes", len(data))
	}
	raw, hash = s.Seal(nonce)
	return raw, hash, nil
}

// deliver carries out what the mail half asks for in a step.
func (n *Node) deliver(o mail.Out, out *output) {
	out.Up = append(out.Up, o.Up...)
	out.Down = append(out.Down, o.Down...)
	for _, a := range o.Packets {
		if p := n.peers[a.Peer]; p != nil {
			p.mail.add(letter{packet: a.Packet, tell: a.Tell})
		}
	}
	if !o.Wake.IsZero() && (n.postWake.IsZero() || o.Wake.Before(n.postWake)) {
		n.postWake = o.Wake
	}
}

// mailed takes a packet of codes 123 to 127.
func (n *Node) mailed(now time.Time, p *peer, packet mail.Packet, out *output) {
	o := n.post.Packet(now, p.id, packet)
	for _, e := range o.Up {
		if h, ok := e.(transport.History); ok {
			for _, e := range h.Envelopes {
				n.journal.fate(deedFetched, e.Hash, p.who)
			}
		}
	}
	n.deliver(o, out)
}

// wakePost gives the mail half its turn.
func (n *Node) wakePost(now time.Time, out *output) {
	if n.postWake.IsZero() || now.Before(n.postWake) {
		return
	}
	n.postWake = time.Time{}
	n.deliver(n.post.Wake(now), out)
}

// letter is a packet for one peer alone.
type letter struct {
	packet overlay.Outgoing
	tell   bool // the mail half wants to know when it is out
	direct bool // ref does
	ref    layers.Ref
}

// letters are what there is for one peer alone, waiting and being written.
type letters struct {
	waiting []letter
	writing []letter // in the unanswered Send
	bytes   int      // of what waits
}

func (l *letters) add(x letter) {
	l.waiting = append(l.waiting, x)
	l.bytes += len(x.packet.Payload)
}

// take appends all that waits to the packets of a Send.
func (l *letters) take(packets []overlay.Outgoing) []overlay.Outgoing {
	for _, x := range l.waiting {
		packets = append(packets, x.packet)
	}
	for i := range l.waiting {
		l.waiting[i].packet = overlay.Outgoing{}
	}
	l.writing, l.waiting, l.bytes = l.waiting, nil, 0
	return packets
}

// awaits reports whether a Direct is under way.
func (l *letters) awaits(ref layers.Ref) bool {
	for _, list := range [][]letter{l.waiting, l.writing} {
		for _, x := range list {
			if x.direct && x.ref == ref {
				return true
			}
		}
	}
	return false
}

// lettersWritten answers for what was written to p.
func (n *Node) lettersWritten(now time.Time, p *peer, out *output) {
	written := p.mail.writing
	p.mail.writing = nil
	tell := false
	for _, x := range written {
		tell = tell || x.tell
		if x.direct {
			out.Up = append(out.Up, transport.Done{Ref: x.ref})
		}
	}
	for _, x := range p.mail.waiting {
		if x.tell {
			return // the mail half has handed over more since
		}
	}
	if tell {
		n.deliver(n.post.Written(now, p.id), out)
	}
}

// lettersLost answers for what cannot be written to p any more.
func (p *peer) lettersLost(out *output) {
	for _, list := range [][]letter{p.mail.writing, p.mail.waiting} {
		for _, x := range list {
			if x.direct {
				out.Up = append(out.Up, transport.Refused{Ref: x.ref, Reason: "whisper: the link ended before the envelope was written"})
			}
		}
	}
	p.mail = letters{}
}
