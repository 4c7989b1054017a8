package ratchet

import (
	"bytes"
	"fmt"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/secure"
)

// What a ProtocolMessage adds to a body at most, in bytes: the own installation
// id and bundle once, and for each device target, headers and encryption.
const (
	fixedOverhead  = 400
	deviceOverhead = 320
)

// maxBody returns the longest body that fits into an envelope for the greatest
// number of devices: it is encrypted for each of them.
func maxBody(payload int) int {
	return max(0, (payload-fixedOverhead)/maxActive-deviceOverhead)
}

// send encrypts and seals a body, or refuses it.
func (n *Node) send(now time.Time, c secure.Send, out *output) {
	if _, repeated := n.unanswered[c.Ref]; repeated {
		return
	}
	refuse := func(reason string) { out.Up = append(out.Up, secure.Refused{Ref: c.Ref, Reason: reason}) }
	switch {
	case c.To.IsZero():
		refuse("no receiver")
		return
	case c.To == n.self:
		refuse("the receiver is this identity, and no other device of it is paired")
		return
	}
	if reason := n.unfit(c.Body); reason != "" {
		refuse(reason)
		return
	}
	p := n.peer(c.To)
	was := p.secret
	n.hear(now, p, true, out)
	m := protocolMessage{installation: n.own.installation, bundles: []bundle{n.attach(now, out)}}
	targets, begun := n.encrypt(p, c.Body, &m, out)
	if len(targets) == 0 {
		m.direct = []directMessage{sealStatic(n.random, c.To, c.Body)}
	}
	n.keep(now, p, begun || p.secret != was, out)
	seal := envelope.Seal{Ref: c.Ref, Payload: m.encode()}
	seal.Topic, seal.Key = n.route(p, targets)
	n.emit(seal, messageOfAbove, out)
}

// unfit says why a body cannot be sent, or nothing.
func (n *Node) unfit(body []byte) string {
	if n.info != nil && len(body) > maxBody(n.info.MaxPayload) {
		return fmt.Sprintf("too long: %d bytes, at most %d", len(body), maxBody(n.info.MaxPayload))
	}
	if len(n.unanswered) >= maxUnanswered || n.bytes+len(body) > maxUnansweredBytes {
		return "too many unanswered messages"
	}
	return ""
}

// encrypt adds body to m for every active installation of p, and saves the
// sessions it changed. It reports the installations and whether p has to be
// saved because of a new session.
func (n *Node) encrypt(p *peer, body []byte, m *protocolMessage, out *output) (targets []installation, begun bool) {
	for _, i := range p.active() {
		s := n.sending(p, i)
		if s == nil {
			var err error
			key := sessionKey{peer: p.identity, prekey: i.prekey, installation: i.id}
			if s, err = initiateSession(n.random, n.identity, key, n.flavourFor(i)); err != nil {
				continue // a prekey that no secret can be agreed with
			}
			begun = n.begin(p, s, out) || begun
		}
		d, err := s.seal(n.random, body)
		if err != nil {
			panic(fmt.Sprintf("ratchet: seal: %v", err))
		}
		out.Save = append(out.Save, s.record())
		m.direct = put(m.direct, d, compareTarget)
		targets = append(targets, i)
	}
	return targets, begun
}

// sending returns the session to write to an installation in, or nil. It is
// one on the present prekey of either side, and of those the first that began:
// when both sides opened one at the same time, each stays with the same.
func (n *Node) sending(p *peer, i installation) *session {
	own := n.currentPrekey()
	for _, ref := range p.sessions {
		if ref.installation != i.id || ref.prekey != own && ref.prekey != i.prekey {
			continue
		}
		if s := n.session(p, ref); s != nil && s.flavour == n.flavourFor(i) {
			return s
		}
	}
	return nil
}

// flavourFor returns the flavour to write in: the one the installation has used.
func (n *Node) flavourFor(i installation) flavour {
	if n.cfg.Legacy2019 && i.legacy {
		return flavour2019
	}
	return flavour2020
}

// route decides topic and key (Status 5/SECURE-TRANSPORT, "topic negotiation").
// A message to nobody's device in particular goes to the partitioned topic,
// where all clients listen; those of 2020 no longer listen on the generic one.
func (n *Node) route(p *peer, targets []installation) (envelope.Topic, envelope.Key) {
	agreed, before := len(targets) > 0 && p.derived, false
	for _, t := range targets {
		agreed = agreed && t.agreed
		before = before || t.protocol == 0
	}
	switch {
	case agreed:
		return p.topic, p.symKey
	case before && n.cfg.GenericDiscovery:
		return envelope.TopicOf(genericDiscovery), envelope.Identity{Key: p.identity}
	}
	return envelope.TopicOf(partitioned(p.identity)), envelope.Identity{Key: p.identity}
}

// broadcast publishes a body as it is, the form of 2020: the mobile clients of
// 2019 did the same, and all understand it.
func (n *Node) broadcast(c secure.Broadcast, out *output) {
	if _, repeated := n.unanswered[c.Ref]; repeated {
		return
	}
	reason := n.unfit(c.Body)
	if c.Channel == "" {
		reason = "no channel"
	}
	if reason != "" {
		out.Up = append(out.Up, secure.Refused{Ref: c.Ref, Reason: reason})
		return
	}
	text := channelText(c.Channel)
	seal := envelope.Seal{Ref: c.Ref, Topic: envelope.TopicOf(text), Key: n.symKey(text, out), Payload: bytes.Clone(c.Body)}
	n.emit(seal, messageOfAbove, out)
}

// publishCode publishes the own bundle on the own contact code topic if it is
// time, so that strangers can open a session at once.
func (n *Node) publishCode(now time.Time, out *output) {
	if n.info == nil || n.publishing || now.Before(n.codeDue(now)) {
		n.nextCode = n.codeDue(now)
		return
	}
	text := contactCode(n.self)
	m := protocolMessage{installation: n.own.installation, bundles: []bundle{n.attach(now, out)}}
	n.publishing = true
	n.retryCode = now.Add(n.cfg.ContactCodeInterval)
	n.nextCode = n.retryCode
	n.emit(envelope.Seal{
		Ref: n.ownRef(), Topic: envelope.TopicOf(text), Key: n.symKey(text, out), Payload: m.encode(),
	}, contactCodeMessage, out)
}

// codeDue returns when the contact code has to be published next.
func (n *Node) codeDue(now time.Time) time.Time {
	due := n.own.published.Add(n.cfg.ContactCodeInterval)
	if n.own.published.After(now) {
		due = now // the clock was put back
	}
	if n.retryCode.After(due) {
		due = n.retryCode
	}
	return due
}

// advertise sends our bundle to p, who encrypted for devices that are not this
// one, or in a session that this device does not know. It does so once in a
// while only.
func (n *Node) advertise(now time.Time, p *peer, out *output) {
	since := now.Sub(p.answered)
	if since >= 0 && since < n.cfg.AnswerInterval || n.unfit(nil) != "" {
		return
	}
	p.answered = now
	m := protocolMessage{installation: n.own.installation, bundles: []bundle{n.attach(now, out)}}
	m.direct = []directMessage{sealStatic(n.random, p.identity, nil)}
	seal := envelope.Seal{Ref: n.ownRef(), Payload: m.encode()}
	seal.Topic, seal.Key = n.route(p, nil)
	n.emit(seal, bundleAnswer, out)
}

// ownRef returns the reference of a message of this layer's own. It contains
// the timestamp of its bundle, which is never used again.
func (n *Node) ownRef() layers.Ref {
	p := pack()
	p.bytes([]byte("ratchet: message of the layer itself"))
	p.bytes([]byte(n.own.installation))
	p.number(uint64(n.own.stamp))
	return layers.Ref(layers.Keccak256(p.b))
}
