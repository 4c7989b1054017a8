package ratchet

import (
	"cmp"
	"container/list"
	"fmt"
	"slices"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
)

// What is kept of one identity, whatever it sends.
const (
	maxInstallations = 10 // installations stored
	maxActive        = 3  // installations written to, the newest
	maxSessions      = 40 // sessions of a watched identity: both sides rotate daily, for more than two weeks
	strangerSessions = 8  // sessions of any other: each device in both directions, and to spare
)

// usedStep is how exactly the time of the last message is saved.
const usedStep = time.Hour

// peer is what is known of an identity.
type peer struct {
	identity      layers.PublicKey
	installations []installation
	sessions      []sessionRef // in the order of their creation
	used          time.Time    // last message from or to it
	answered      time.Time    // when our bundle was last sent because a device was not found
	secret        bool         // the negotiated topic is listened to

	watched  bool          // follows from Watch, which is saved by itself
	stranger *list.Element // its place among those not watched
	heard    time.Time     // used, as it was last saved

	topic   envelope.Topic // negotiated topic and key, once derived
	symKey  envelope.SymKey
	derived bool
}

// installation is a device of a peer, as its last bundle says.
type installation struct {
	id       string
	prekey   [33]byte
	version  uint32
	protocol uint32
	signed   int64 // timestamp of the bundle, nanoseconds
	saved    int64 // signed, as it was last saved
	seen     int64 // signed, but never in the future when it arrived
	agreed   bool  // it has shown that it knows the negotiated topic
	legacy   bool  // it speaks the ratchet of 2019
}

// sessionRef names a session of a peer.
type sessionRef struct {
	prekey       [33]byte
	installation string
}

func (p *peer) find(id string) int {
	return slices.IndexFunc(p.installations, func(i installation) bool { return i.id == id })
}

// add stores a further installation, in the place of the one longest not seen
// if there are too many.
func (p *peer) add(i installation) bool {
	if len(p.installations) == maxInstallations {
		oldest := slices.MinFunc(p.installations, func(a, b installation) int { return cmp.Compare(a.seen, b.seen) })
		if oldest.seen >= i.seen {
			return false
		}
		p.installations = slices.DeleteFunc(p.installations, func(o installation) bool { return o.id == oldest.id })
	}
	p.installations = append(p.installations, i)
	return true
}

// active returns the installations to write to, the newest first.
func (p *peer) active() []installation {
	a := slices.Clone(p.installations)
	slices.SortFunc(a, func(a, b installation) int {
		return cmp.Or(cmp.Compare(b.seen, a.seen), cmp.Compare(a.id, b.id))
	})
	return a[:min(len(a), maxActive)]
}

func (p *peer) record() layers.Record {
	p.heard = p.used
	b := pack()
	b.number(uint64(p.used.UnixNano()))
	answered := int64(0)
	if !p.answered.IsZero() {
		answered = p.answered.UnixNano()
	}
	b.number(uint64(answered))
	b.bool(p.secret)
	b.number(uint64(len(p.installations)))
	for k := range p.installations {
		i := &p.installations[k]
		i.saved = i.signed
		b.bytes([]byte(i.id))
		b.bytes(i.prekey[:])
		b.number(uint64(i.version))
		b.number(uint64(i.protocol))
		b.number(uint64(i.signed))
		b.number(uint64(i.seen))
		b.bool(i.agreed)
		b.bool(i.legacy)
	}
	b.number(uint64(len(p.sessions)))
	for _, s := range p.sessions {
		b.bytes(s.prekey[:])
		b.bytes([]byte(s.installation))
	}
	return layers.Record{Key: peerRecord(p.identity), Value: b.b}
}

func decodePeer(identity layers.PublicKey, b []byte) (*peer, error) {
	u := unpack(b)
	p := &peer{identity: identity, used: time.Unix(0, int64(u.number())).UTC()}
	p.heard = p.used
	if at := int64(u.number()); at != 0 {
		p.answered = time.Unix(0, at).UTC()
	}
	p.secret = u.bool()
	for range u.count() {
		var i installation
		i.id = string(u.bytes())
		u.fixed(i.prekey[:])
		i.version, i.protocol = uint32(u.number()), uint32(u.number())
		i.signed, i.seen = int64(u.number()), int64(u.number())
		i.saved = i.signed
		i.agreed, i.legacy = u.bool(), u.bool()
		p.installations = append(p.installations, i)
	}
	for range u.count() {
		var s sessionRef
		u.fixed(s.prekey[:])
		s.installation = string(u.bytes())
		p.sessions = append(p.sessions, s)
	}
	if err := u.done(); err != nil {
		return nil, fmt.Errorf("peer: %w", err)
	}
	return p, nil
}
