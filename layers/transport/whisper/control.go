package whisper

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/mail"
)

// set carries out Set, all of it or nothing.
func (n *Node) set(now time.Time, c transport.Set, out *output) {
	if reason := n.fault(c); reason != "" {
		out.Up = append(out.Up, transport.Refused{Ref: c.Ref, Reason: reason})
		return
	}
	if c.MinPoW != nil {
		n.setMinPoW(now, *c.MinPoW)
	}
	if c.MaxMessage != nil {
		n.gate.maxMessage = *c.MaxMessage
	}
	if c.Light != nil && n.light != *c.Light {
		n.light = *c.Light
		for _, p := range n.peers {
			p.cursor = 0 // there may be envelopes of others now that it was not offered
		}
	}
	if c.Bloom != nil {
		n.chosen, n.altered = new(Bloom(*c.Bloom)), true
		n.announce(now, out)
	}
	n.greet(out)
	n.post.Settle(n.mailSettings())
	out.Up = append(out.Up, transport.Done{Ref: c.Ref})
}

// fault says what is wrong with c, in go-ethereum's words where it has any.
func (n *Node) fault(c transport.Set) string {
	if p := c.MinPoW; p != nil && (math.IsNaN(*p) || math.IsInf(*p, 0) || *p < 0) {
		return fmt.Sprintf("invalid PoW: %f", *p)
	}
	if m := c.MaxMessage; m != nil {
		switch {
		case *m > maxMessageSize:
			return fmt.Sprintf("message size too large [%d>%d]", *m, maxMessageSize)
		case *m > n.cfg.MaxMessageSize:
			return fmt.Sprintf("whisper: message size of %d bytes is above max_message_size_bytes, %d, which the links were made for", *m, n.cfg.MaxMessageSize)
		case *m < minMessageSize:
			return fmt.Sprintf("whisper: message size of %d bytes is below %d", *m, minMessageSize)
		}
	}
	return ""
}

// setMinPoW replaces the minimum and tells all peers.
func (n *Node) setMinPoW(now time.Time, pow float64) {
	if pow == n.gate.minPoW {
		return
	}
	n.gate.raise(now, pow)
	n.repriced = true
	for _, p := range n.peers {
		p.price = new(encodePoW(pow))
	}
}

// trust carries out Trust.
func (n *Node) trust(c transport.Trust, out *output) {
	p, err := n.linked(c.Node)
	if err != nil {
		out.Up = append(out.Up, transport.Refused{Ref: c.Ref, Reason: err.Error()})
		return
	}
	n.post.Trust(p.id)
	out.Up = append(out.Up, transport.Done{Ref: c.Ref})
}

// direct queues an envelope for one peer. It skips the rules of the relay, there
// as well as here.
func (n *Node) direct(c transport.Direct, out *output) {
	refuse := func(err error) { out.Up = append(out.Up, transport.Refused{Ref: c.Ref, Reason: err.Error()}) }
	p, err := n.linked(c.Node)
	if err != nil {
		refuse(err)
		return
	}
	e, err := DecodeEnvelope(c.Raw)
	switch {
	case err != nil:
		refuse(err)
	case len(c.Raw) > n.gate.maxMessage || e.Size() > n.gate.maxMessage:
		refuse(errors.New(huge.String()))
	case p.mail.awaits(c.Ref):
		// The same command again.
	case p.mail.bytes+len(c.Raw) > maxDirect:
		refuse(fmt.Errorf("whisper: %d bytes wait to be written to the peer", p.mail.bytes))
	default:
		p.mail.add(letter{packet: encodeDirect(c.Raw), ref: c.Ref, direct: true})
	}
}

// linked returns the link to a node given by its enode URL. The text that there
// is none is go-ethereum's.
func (n *Node) linked(url string) (*peer, error) {
	id, _, err := mail.NodeOf(url)
	if err != nil {
		return nil, err
	}
	if p := n.peers[id]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("Could not find peer with ID: %x", id[:]) //nolint:staticcheck // go-ethereum's text
}
