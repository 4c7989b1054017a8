package ratchet

import (
	"cmp"
	"container/list"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/stratanode/strata/layers"
)

func (n *Node) loadPeers() error {
	watched := map[layers.PublicKey]bool{n.self: true}
	for _, c := range n.contacts {
		watched[c] = true
	}
	var strangers []*peer
	from, to := layers.Prefix(keyPeer)
	for key, b := range n.saved.Scan(from, to, false) {
		c, err := hex.DecodeString(key[len(keyPeer):])
		if err != nil {
			return fmt.Errorf("peer: %w", errRecord)
		}
		identity, err := layers.ParsePublicKey(c)
		if err != nil {
			return fmt.Errorf("peer: %w", errRecord)
		}
		p, err := decodePeer(identity, b)
		if err != nil {
			return err
		}
		n.peers[identity] = p
		if p.watched = watched[identity]; !p.watched {
			strangers = append(strangers, p)
		}
	}
	slices.SortStableFunc(strangers, func(a, b *peer) int { return cmp.Compare(a.used.UnixNano(), b.used.UnixNano()) })
	for _, p := range strangers {
		p.stranger = n.strangers.PushFront(p)
	}
	return nil
}

// peer returns what is known of an identity. A new one counts only once it is
// kept.
func (n *Node) peer(k layers.PublicKey) *peer {
	if p, known := n.peers[k]; known {
		return p
	}
	return &peer{identity: k, watched: k == n.self || n.watches(k)}
}

// keep stores p and saves it if changed or not saved for long. A stranger
// comes to the front, and the last one is forgotten if there are too many.
func (n *Node) keep(now time.Time, p *peer, changed bool, out *output) {
	if n.peers[p.identity] == nil {
		n.peers[p.identity] = p
		changed = true
	}
	p.used = now
	if changed || now.Sub(p.heard) >= usedStep {
		out.Save = append(out.Save, p.record())
	}
	if p.watched {
		return
	}
	if p.stranger == nil {
		p.stranger = n.strangers.PushFront(p)
	} else {
		n.strangers.MoveToFront(p.stranger)
	}
	for n.strangers.Len() > n.cfg.MaxStrangers {
		n.forget(n.strangers.Back().Value.(*peer), out)
	}
}

// forget erases all that is known of p.
func (n *Node) forget(p *peer, out *output) {
	for _, s := range p.sessions {
		n.erase(p.sessionKey(s), out)
	}
	out.Save = append(out.Save, layers.Record{Key: peerRecord(p.identity)})
	n.unhear(p, out)
	n.strangers.Remove(p.stranger)
	p.stranger = nil
	delete(n.peers, p.identity)
}

func (p *peer) sessionKey(s sessionRef) sessionKey {
	return sessionKey{peer: p.identity, prekey: s.prekey, installation: s.installation}
}

// session returns a session of p, or nil.
func (n *Node) session(p *peer, ref sessionRef) *session {
	if !slices.Contains(p.sessions, ref) {
		return nil // also if a record is still there: it is being erased
	}
	key := p.sessionKey(ref)
	if s := n.sessions.get(key); s != nil {
		return s
	}
	b, ok := n.saved.Get(key.record())
	if !ok {
		return nil
	}
	s, err := decodeSession(key, b, n.random)
	if err != nil {
		panic(fmt.Sprintf("ratchet: %v", err))
	}
	n.sessions.put(s)
	return s
}

// begin stores a new session of p. It reports whether p has to be saved for it.
// The oldest session goes if there are too many.
func (n *Node) begin(p *peer, s *session, out *output) bool {
	n.sessions.put(s)
	ref := sessionRef{s.key.prekey, s.key.installation}
	if slices.Contains(p.sessions, ref) {
		return false
	}
	most := strangerSessions
	if p.watched {
		most = maxSessions
	}
	for len(p.sessions) >= most {
		n.erase(p.sessionKey(p.sessions[0]), out)
		p.sessions = p.sessions[1:]
	}
	p.sessions = append(p.sessions, ref)
	return true
}

func (n *Node) erase(k sessionKey, out *output) {
	n.sessions.drop(k)
	out.Save = append(out.Save, layers.Record{Key: k.record(), Secret: true})
}

// maxCached is how many sessions are kept decoded. It is more than the steps
// between two commits, so that what is read again from the store is committed.
const maxCached = 1024

// sessionCache holds the sessions used last.
type sessionCache struct {
	byKey map[sessionKey]*list.Element
	order *list.List
}

func newSessionCache() sessionCache {
	return sessionCache{byKey: map[sessionKey]*list.Element{}, order: list.New()}
}

func (c *sessionCache) get(k sessionKey) *session {
	e, known := c.byKey[k]
	if !known {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*session)
}

func (c *sessionCache) put(s *session) {
	c.drop(s.key)
	c.byKey[s.key] = c.order.PushFront(s)
	for c.order.Len() > maxCached {
		c.drop(c.order.Back().Value.(*session).key)
	}
}

func (c *sessionCache) drop(k sessionKey) {
	if e, known := c.byKey[k]; known {
		c.order.Remove(e)
		delete(c.byKey, k)
	}
}
