package ratchet

import (
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
)

const (
	// derivePerMinute is how many keys are derived for strangers. It bounds the
	// processor time that made-up identities can cost to a few per cent.
	derivePerMinute = 60

	// spareKeys is how many derived keys are kept beyond those in use.
	spareKeys = 256
)

func passwordHash(text string) [32]byte { return layers.Keccak256([]byte(text)) }

func symRecord(h [32]byte) string { return keySym + hex.EncodeToString(h[:]) }

func (n *Node) loadKeys() error {
	from, to := layers.Prefix(keySym)
	for key, b := range n.saved.Scan(from, to, false) {
		h, err := hex.DecodeString(key[len(keySym):])
		if err != nil || len(h) != 32 || len(b) != 32 {
			return fmt.Errorf("symmetric key: %w", errRecord)
		}
		n.keys[[32]byte(h)] = envelope.SymKey(b)
	}
	return nil
}

// symKey returns the key of a password. It is derived once and then kept.
func (n *Node) symKey(text string, out *output) envelope.SymKey {
	h := passwordHash(text)
	k, known := n.keys[h]
	if !known {
		k = n.derive(text)
		n.keys[h] = k
		out.Save = append(out.Save, layers.Record{Key: symRecord(h), Value: slices.Clone(k[:]), Secret: true})
	}
	return k
}

// dropKeys erases derived keys that no filter uses, if there are many.
func (n *Node) dropKeys(used map[[32]byte]bool, out *output) {
	if len(n.keys) <= len(used)+spareKeys {
		return
	}
	var drop [][32]byte
	for h := range n.keys {
		if !used[h] {
			drop = append(drop, h)
		}
	}
	slices.SortFunc(drop, func(a, b [32]byte) int { return slices.Compare(a[:], b[:]) })
	for _, h := range drop {
		n.dropKey(h, out)
	}
}

func (n *Node) dropKey(h [32]byte, out *output) {
	delete(n.keys, h)
	out.Save = append(out.Save, layers.Record{Key: symRecord(h), Secret: true})
}

// hear derives the negotiated topic and key of p and listens there. For a
// stranger it does so only within a budget; it reports whether it did.
func (n *Node) hear(now time.Time, p *peer, sending bool, out *output) bool {
	if p.derived {
		return true
	}
	text, err := negotiated(n.identity, p.identity)
	if err != nil {
		return false
	}
	if _, known := n.keys[passwordHash(text)]; !known && !sending && !p.watched {
		n.turn(now)
		if n.deriving >= derivePerMinute {
			return false
		}
		n.deriving++
	}
	p.topic, p.symKey, p.derived = envelope.TopicOf(text), n.symKey(text, out), true
	id := negotiatedID(p.identity)
	if _, listening := n.filters[id]; !listening {
		n.filters[id] = heard{filter: envelope.Filter{ID: id, Topic: p.topic, Key: p.symKey}}
		n.changed = true
	}
	p.secret = true
	return true
}

// unhear stops listening on the negotiated topic of p and erases its key.
func (n *Node) unhear(p *peer, out *output) {
	if !p.secret {
		return
	}
	if text, err := negotiated(n.identity, p.identity); err == nil {
		if h := passwordHash(text); n.keys[h] != (envelope.SymKey{}) {
			n.dropKey(h, out)
		}
	}
	id := negotiatedID(p.identity)
	if _, listening := n.filters[id]; listening {
		delete(n.filters, id)
		n.changed = true
	}
	p.derived, p.secret = false, false
}

// turn begins the budgets of a new minute.
func (n *Node) turn(now time.Time) {
	if d := now.Sub(n.minute); d >= time.Minute || d < 0 {
		n.minute, n.deriving, n.skipping = now, 0, nil
	}
}
