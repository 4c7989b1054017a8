package ratchet

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/secure"
)

const (
	// derivePerStep is how many keys one step derives for filters, tens of
	// milliseconds each. The rest follows in the next ones.
	derivePerStep = 4
)

// purpose says what arrives at a filter.
type purpose uint8

const (
	private purpose = iota // messages to us
	code                   // bundles only
	public                 // a public chat
)

// heard is a filter and what it is for.
type heard struct {
	filter  envelope.Filter
	purpose purpose
	channel secure.Channel
}

func (n *Node) loadWatch() error {
	b, ok := n.saved.Get(keyWatch)
	if !ok {
		return nil
	}
	u := unpack(b)
	for range u.count() {
		n.channels = append(n.channels, secure.Channel(u.bytes()))
	}
	for range u.count() {
		k, err := layers.ParsePublicKey(u.bytes())
		if err != nil {
			return fmt.Errorf("watch: %w", errRecord)
		}
		n.contacts = append(n.contacts, k)
	}
	if err := u.done(); err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	return nil
}

func comparePublic(a, b layers.PublicKey) int { return slices.Compare(a[:], b[:]) }

func (n *Node) watches(k layers.PublicKey) bool {
	_, found := slices.BinarySearchFunc(n.contacts, k, comparePublic)
	return found
}

// watch replaces the watched chats and contacts. They are saved, so that
// nothing is missed after a restart before the layer above repeats them.
func (n *Node) watch(now time.Time, c secure.Watch, out *output) error {
	if slices.Contains(c.Channels, "") {
		return errors.New("ratchet: channels: empty name")
	}
	if slices.Contains(c.Contacts, layers.PublicKey{}) {
		return errors.New("ratchet: contacts: the zero key")
	}
	channels, contacts := slices.Clone(c.Channels), slices.Clone(c.Contacts)
	slices.Sort(channels)
	slices.SortFunc(contacts, comparePublic)
	channels, contacts = slices.Compact(channels), slices.Compact(contacts)
	if slices.Equal(channels, n.channels) && slices.Equal(contacts, n.contacts) {
		return nil
	}
	n.channels, n.contacts = channels, contacts
	p := pack()
	p.number(uint64(len(channels)))
	for _, c := range channels {
		p.bytes([]byte(c))
	}
	p.number(uint64(len(contacts)))
	for _, k := range contacts {
		c := k.Compressed()
		p.bytes(c[:])
	}
	out.Save = append(out.Save, layers.Record{Key: keyWatch, Value: p.b})
	n.sortStrangers(out)
	n.listen(now, out)
	return nil
}

// sortStrangers moves peers between the watched and the strangers.
func (n *Node) sortStrangers(out *output) {
	var left []*peer
	for k, p := range n.peers {
		watched := k == n.self || n.watches(k)
		switch {
		case watched && !p.watched:
			n.strangers.Remove(p.stranger)
			p.stranger = nil
		case !watched && p.watched:
			left = append(left, p)
		}
		p.watched = watched
	}
	slices.SortFunc(left, func(a, b *peer) int {
		return cmp.Or(cmp.Compare(a.used.UnixNano(), b.used.UnixNano()), comparePublic(a.identity, b.identity))
	})
	for _, p := range left {
		p.stranger = n.strangers.PushFront(p)
	}
	for n.strangers.Len() > n.cfg.MaxStrangers {
		n.forget(n.strangers.Back().Value.(*peer), out)
	}
}

// listen makes the filters anew. If more keys have to be derived than one step
// may, it goes on at the next wake-up.
func (n *Node) listen(now time.Time, out *output) {
	filters := map[envelope.FilterID]heard{}
	used := map[[32]byte]bool{}
	left := derivePerStep
	n.behind = false
	asymmetric := func(id envelope.FilterID, text string) {
		filters[id] = heard{filter: envelope.Filter{ID: id, Topic: envelope.TopicOf(text), Key: envelope.Identity{Key: n.self}}}
	}
	symmetric := func(id envelope.FilterID, text string, h heard) {
		hash := passwordHash(text)
		used[hash] = true
		if _, known := n.keys[hash]; !known {
			if left == 0 {
				n.behind = true
				return
			}
			left--
		}
		h.filter = envelope.Filter{ID: id, Topic: envelope.TopicOf(text), Key: n.symKey(text, out)}
		filters[id] = h
	}
	asymmetric("own/partitioned", partitioned(n.self))
	asymmetric("own/personal", personal(n.self))
	if n.cfg.GenericDiscovery {
		asymmetric("own/generic", genericDiscovery)
	}
	symmetric("own/contact-code", contactCode(n.self), heard{purpose: code})
	for _, c := range n.channels {
		symmetric(envelope.FilterID("channel/"+c), channelText(c), heard{purpose: public, channel: c})
	}
	for _, k := range n.negotiatedPeers() {
		if text, err := negotiated(n.identity, k); err == nil {
			symmetric(negotiatedID(k), text, heard{})
		}
	}
	for _, k := range n.contacts {
		if k != n.self {
			symmetric(envelope.FilterID("code/"+hex.EncodeToString(k[1:])), contactCode(k), heard{purpose: code})
		}
	}
	n.filters, n.changed = filters, true
	if n.behind {
		out.WakeAt(now)
	} else {
		n.dropKeys(used, out)
	}
}

func negotiatedID(k layers.PublicKey) envelope.FilterID {
	return envelope.FilterID("peer/" + hex.EncodeToString(k[1:]))
}

// negotiatedPeers returns the peers whose negotiated topic is listened to, the
// watched ones first.
func (n *Node) negotiatedPeers() []layers.PublicKey {
	var keys []layers.PublicKey
	for k, p := range n.peers {
		if p.secret && k != n.self {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b layers.PublicKey) int {
		if wa, wb := n.peers[a].watched, n.peers[b].watched; wa != wb {
			if wa {
				return -1
			}
			return 1
		}
		return comparePublic(a, b)
	})
	return keys
}

// sayFilters tells the layer below the filters, if they have changed and it is
// there to hear it; when it comes, it is told anyway.
func (n *Node) sayFilters(out *output) {
	if !n.changed || n.info == nil {
		return
	}
	n.changed = false
	filters := make([]envelope.Filter, 0, len(n.filters))
	for _, h := range n.filters {
		filters = append(filters, h.filter)
	}
	slices.SortFunc(filters, func(a, b envelope.Filter) int { return cmp.Compare(a.ID, b.ID) })
	out.Down = append(out.Down, envelope.Listen{Filters: filters})
}
