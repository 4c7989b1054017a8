package ratchet

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/secure"
)

// maxSkipPerMinute bounds the message keys that one sender can make us derive
// ahead of the one it claims to use. It lets through a genuine peer who was
// away, and costs below 10 ms of processor time.
const maxSkipPerMinute = 3 * maxSkip

// budget counts what senders have used in this minute.
type budget map[layers.PublicKey]int

var (
	errNoSession = errors.New("session not known")
	errReplay    = errors.New("message or opening of a session that was used before")
)

func compareTarget(a, b directMessage) int { return cmp.Compare(a.target, b.target) }

// purposeOf returns what a filter is for. It follows from the name alone, so
// that messages opened before a restart find their way after it.
func purposeOf(id envelope.FilterID) (purpose, secure.Channel, bool) {
	if c, ok := strings.CutPrefix(string(id), "channel/"); ok {
		return public, secure.Channel(c), true
	}
	kind, _, ok := strings.Cut(string(id), "/")
	switch {
	case !ok:
	case id == "own/contact-code" || kind == "code":
		return code, "", true
	case kind == "own" || kind == "peer":
		return private, "", true
	}
	return 0, "", false
}

// receive handles one opened envelope. If it returns an error, nothing has
// changed but the sender's budgets.
func (n *Node) receive(now time.Time, e envelope.Opened, out *output) error {
	if e.Signer.IsZero() {
		return errors.New("ratchet: signature: the envelope is not signed")
	}
	what, channel, known := purposeOf(e.Filter)
	if !known || what == public && !slices.Contains(n.channels, channel) {
		return fmt.Errorf("ratchet: filter: %.64q is not in use", string(e.Filter))
	}
	if len(e.Payload) == 0 {
		return errors.New("ratchet: payload: empty")
	}
	up := secure.Received{Hash: e.Hash, From: e.Signer, Channel: channel, Protection: secure.Public, Body: e.Payload, Sent: e.Sent}
	m, err := decodeMessage(e.Payload)
	switch {
	case err != nil && what == code:
		return fmt.Errorf("ratchet: contact code: %w", err)
	case err != nil && e.Signer == n.self && what == private:
		return nil // our own message, on a topic that both sides listen to
	case err != nil:
		if what == private {
			up.Protection = secure.Cleartext
		}
		out.Up = append(out.Up, up)
		return nil
	}
	news, err := n.checkBundles(e.Signer, m)
	if err != nil {
		return fmt.Errorf("ratchet: bundles: %w", err)
	}
	p := n.peer(e.Signer)
	if what == private && e.Signer != n.self && len(m.direct) > 0 {
		return n.receiveDirect(now, p, m, news, up, out)
	}
	n.learn(now, p, news, out)
	if m.hasPublic && len(m.public) > 0 && (what == public || what == private && e.Signer != n.self) {
		if what == private {
			up.Protection = secure.Cleartext
		}
		up.Body = m.public
		out.Up = append(out.Up, up)
	}
	return nil
}

// checkBundles verifies every bundle of m before anything else is done with the
// message, and returns that of the sender, if there is one. Bundles of others
// are of no use: they reach us from their owners.
func (n *Node) checkBundles(sender layers.PublicKey, m protocolMessage) (*bundle, error) {
	var found *bundle
	for i := range m.bundles {
		owner, err := m.bundles[i].verify()
		if err != nil {
			return nil, err
		}
		if owner == sender && found == nil {
			found = &m.bundles[i]
		}
	}
	return found, nil
}

// learn stores what a verified bundle tells of p. One that is not plausible is
// passed over; the message it came with is not to blame.
func (n *Node) learn(now time.Time, p *peer, d *bundle, out *output) {
	if d != nil && n.accept(now, p, *d) {
		n.keep(now, p, true, out)
	}
}

func (n *Node) accept(now time.Time, p *peer, d bundle) bool {
	if d.plausible(now) != nil {
		return false
	}
	if p.identity == n.self {
		d.prekeys = slices.DeleteFunc(slices.Clone(d.prekeys), func(e bundleEntry) bool {
			return e.installation == n.own.installation
		})
	}
	return p.accept(now, d)
}

// receiveDirect opens what is for this device, or for any.
func (n *Node) receiveDirect(now time.Time, p *peer, m protocolMessage, news *bundle, up secure.Received, out *output) error {
	i, found := slices.BinarySearchFunc(m.direct, directMessage{target: n.own.installation}, compareTarget)
	if !found {
		i, found = slices.BinarySearchFunc(m.direct, directMessage{target: dhOnlyTarget}, compareTarget)
	}
	if !found {
		n.unreadable(now, p, news, out)
		return nil
	}
	var (
		d   = m.direct[i]
		s   *session
		err error
	)
	switch {
	case d.ratchet != nil:
		up.Protection = secure.Ratcheted
		if s, up.Body, err = n.openRatchet(now, p, m.installation, d); errors.Is(err, errNoSession) {
			n.unreadable(now, p, news, out)
			return nil
		}
	case d.dh != nil:
		up.Protection = secure.Static
		up.Body, err = openStatic(n.identity, d)
	default:
		err = errors.New("no header")
	}
	if err != nil {
		return fmt.Errorf("ratchet: direct_message: %w", err)
	}
	changed := news != nil && n.accept(now, p, *news)
	if s != nil {
		changed = n.ratcheted(p, s, d.ratchet, out) || changed
		if s.flavour == flavour2019 {
			up.Protection = secure.Static // no protection beyond that of X3DH
		}
	}
	changed = n.agree(now, p, m.installation, news, out) || changed
	n.keep(now, p, changed, out)
	if len(up.Body) > 0 { // an empty one has only brought its bundle
		out.Up = append(out.Up, up)
	}
	return nil
}

// unreadable answers a message for devices or sessions we do not have with our
// bundle, so that the sender can do better.
func (n *Node) unreadable(now time.Time, p *peer, news *bundle, out *output) {
	if news != nil {
		n.accept(now, p, *news)
	}
	n.advertise(now, p, out)
	n.keep(now, p, true, out)
}

// ratcheted stores the session in which a message was opened, without the key
// of that message. It reports whether p has to be saved.
func (n *Node) ratcheted(p *peer, s *session, h *ratchetHeader, out *output) (changed bool) {
	s.forget(h)
	s.pending = nil
	changed = n.begin(p, s, out)
	out.Save = append(out.Save, s.record())
	if i := p.find(s.key.installation); i >= 0 && p.installations[i].legacy != (s.flavour == flavour2019) {
		p.installations[i].legacy = s.flavour == flavour2019
		changed = true
	}
	return changed
}

// agree notes that the sending installation knows the negotiated topic, which
// it says by the version in its bundle.
func (n *Node) agree(now time.Time, p *peer, id string, news *bundle, out *output) (changed bool) {
	if news == nil {
		return false
	}
	if e, found := news.of(id); !found || e.protocolVersion < 1 {
		return false
	}
	i, was := p.find(id), p.secret
	if i < 0 || p.installations[i].agreed && was || !n.hear(now, p, false, out) {
		return false
	}
	changed = !p.installations[i].agreed || !was
	p.installations[i].agreed = true
	return changed
}

// openRatchet decrypts a message of a session. The session that is returned is
// not stored yet; if there is an error, everything is as before.
func (n *Node) openRatchet(now time.Time, p *peer, from string, d directMessage) (*session, []byte, error) {
	h := d.ratchet
	if !validInstallation(from) {
		return nil, nil, errors.New("installation_id: not plausible")
	}
	if len(h.prekey) != 33 {
		return nil, nil, fmt.Errorf("DR_header.id: %d bytes, want 33", len(h.prekey))
	}
	f := flavour2020
	if len(h.key) == flavour2019.keyLen() {
		if f = flavour2019; !n.cfg.Legacy2019 {
			return nil, nil, errors.New("DR_header.key: the ratchet of 2019, and legacy_2019 is off")
		}
	}
	s := n.session(p, sessionRef{[33]byte(h.prekey), from})
	err := errNoSession
	if s != nil {
		var body []byte
		if body, err = n.open(now, s, h, d.payload); err == nil {
			return s, body, nil
		}
	}
	if d.x3dh == nil || !bytes.Equal(d.x3dh.prekey, h.prekey) || len(d.x3dh.ephemeral) != 33 {
		return nil, nil, err
	}
	// A peer that has lost its state opens the same session once more. What
	// opened a session of its before, under whatever installation id, opens none.
	if s != nil && (len(s.openings) == 0 || len(s.openings) >= maxOpenings) || n.openedBy(p, h.prekey, d.x3dh.ephemeral) {
		return nil, nil, errReplay
	}
	prekey, kept := n.prekeyOf(h.prekey)
	if !kept {
		return nil, nil, errNoSession
	}
	key := sessionKey{peer: p.identity, prekey: [33]byte(h.prekey), installation: from}
	fresh, err := respondSession(n.random, n.identity, prekey, key, d.x3dh.ephemeral, f)
	if err != nil {
		return nil, nil, err
	}
	body, err := n.open(now, fresh, h, d.payload)
	if err != nil {
		return nil, nil, err
	}
	if s != nil {
		fresh.openings = append(slices.Clone(s.openings), fresh.openings...)
	}
	return fresh, body, nil
}

// openedBy reports whether an ephemeral key of p has opened a session on a
// prekey of ours before.
func (n *Node) openedBy(p *peer, prekey, ephemeral []byte) bool {
	return slices.ContainsFunc(p.sessions, func(r sessionRef) bool {
		if !bytes.Equal(r.prekey[:], prekey) {
			return false
		}
		s := n.session(p, r)
		return s != nil && s.openedBy(ephemeral)
	})
}

// open decrypts within the sender's budget of skipped keys.
func (n *Node) open(now time.Time, s *session, h *ratchetHeader, payload []byte) ([]byte, error) {
	cost, err := s.skips(h)
	if err != nil {
		return nil, err
	}
	if cost > 0 {
		n.turn(now)
		if n.skipping[s.key.peer]+cost > maxSkipPerMinute {
			return nil, fmt.Errorf("%w: budget of this minute is used up", errSkip)
		}
		if n.skipping == nil {
			n.skipping = budget{}
		}
		n.skipping[s.key.peer] += cost
	}
	return s.open(n.random, h, payload)
}
