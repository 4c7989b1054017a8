// Package ratchet is the secure transport of Status clients: X3DH without
// one-time prekeys, the double ratchet per installation, DH-only messages to
// people of whom no device is known, and the choice of topic and key (Status
// 5/SECURE-TRANSPORT and 3/WHISPER-USAGE).
//
// What it receives and cannot open changes nothing. What it changes is saved
// before the ciphertext or the plaintext leaves, ratchet state and skipped
// message keys of a session in one record, so no message key is used twice,
// also not after a crash. A message key is erased as soon as its message was
// opened; a message whose opening is lost in a crash is not acknowledged by the
// layer above, and its sender encrypts it anew.
package ratchet

import (
	"cmp"
	"container/list"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/secure"
)

type output = layers.Output[secure.Event, envelope.Command]

// Node is one installation of an identity. It implements layers.Protocol.
type Node struct {
	cfg      Config
	identity layers.PrivateKey
	self     layers.PublicKey
	random   io.Reader
	saved    layers.Saved
	derive   func(text string) envelope.SymKey // costs tens of milliseconds

	own       own
	peers     map[layers.PublicKey]*peer
	strangers *list.List // peers that are not watched, the one used last in front
	sessions  sessionCache
	skipping  budget // message keys skipped, by sender
	deriving  int    // keys derived for strangers in this minute
	minute    time.Time

	keys     map[[32]byte]envelope.SymKey // by the hash of the password
	channels []secure.Channel             // sorted
	contacts []layers.PublicKey           // sorted
	filters  map[envelope.FilterID]heard
	behind   bool // some keys of filters are still to be derived
	changed  bool // filters differ from what was last said below

	info       *envelope.Info // nil until the layer below is ready
	unanswered map[layers.Ref]*sealed
	emitted    uint64 // counts them
	bytes      int    // of all unanswered payloads

	publishing bool      // the contact code is on its way
	retryCode  time.Time // not before, after a failure
	nextCode   time.Time // when to think of it again
}

// New returns a node of identity with what saved knows of an earlier life. It
// panics if saved is damaged or belongs to another identity. It draws an
// installation id from random if there is none.
func New(cfg Config, identity layers.PrivateKey, random io.Reader, saved layers.Saved) *Node {
	n := &Node{
		cfg: cfg, identity: identity, self: identity.Public(), random: random, saved: saved,
		derive:     envelope.KeyFromPassword,
		peers:      map[layers.PublicKey]*peer{},
		strangers:  list.New(),
		sessions:   newSessionCache(),
		keys:       map[[32]byte]envelope.SymKey{},
		filters:    map[envelope.FilterID]heard{},
		behind:     true,
		unanswered: map[layers.Ref]*sealed{},
	}
	for _, load := range []func() error{n.loadOwn, n.loadWatch, n.loadPeers, n.loadKeys} {
		if err := load(); err != nil {
			panic(fmt.Sprintf("ratchet: %v", err))
		}
	}
	return n
}

// FromAbove implements layers.Protocol.
func (n *Node) FromAbove(now time.Time, c secure.Command) (output, error) {
	var out output
	switch c := c.(type) {
	case secure.Attach:
		if n.info != nil {
			out.Up = append(out.Up, n.ready())
		}
	case secure.Watch:
		if err := n.watch(now, c, &out); err != nil {
			return output{}, err
		}
	case secure.Send:
		n.send(now, c, &out)
	case secure.Broadcast:
		n.broadcast(c, &out)
	default:
		panic(fmt.Sprintf("ratchet: unknown command %T", c))
	}
	n.sayFilters(&out)
	return out, nil
}

// FromBelow implements layers.Protocol.
func (n *Node) FromBelow(now time.Time, e envelope.Event) (output, error) {
	var out output
	switch e := e.(type) {
	case envelope.Ready:
		n.opened(now, e.Info, &out)
	case envelope.Opened:
		if err := n.receive(now, e, &out); err != nil {
			return output{}, err
		}
	case envelope.Accepted:
		n.accepted(e.Ref, &out)
	case envelope.Relayed:
		n.answer(now, e.Ref, secure.Relayed{Ref: e.Ref}, &out)
	case envelope.Expired:
		n.answer(now, e.Ref, secure.Expired{Ref: e.Ref}, &out)
	case envelope.Refused:
		n.answer(now, e.Ref, secure.Refused{Ref: e.Ref, Reason: e.Reason}, &out)
	case envelope.Progress:
		// For users.
	default:
		panic(fmt.Sprintf("ratchet: unknown event %T", e))
	}
	n.sayFilters(&out)
	return out, nil
}

// Wake implements layers.Protocol.
func (n *Node) Wake(now time.Time) output {
	var out output
	if !n.own.saved {
		n.own.saved = true
		out.Save = append(out.Save, n.ownRecord())
	}
	if n.info == nil {
		out.Down = append(out.Down, envelope.Attach{})
		return out // the rest follows when the layer below is ready
	}
	n.erasePrekeys(now, &out)
	if n.behind {
		n.listen(now, &out)
	}
	n.publishCode(now, &out)
	n.sayFilters(&out)
	out.WakeAt(n.nextCode)
	return out
}

// opened repeats to the layer below all that it may not know, and says above
// what is possible now.
func (n *Node) opened(now time.Time, info envelope.Info, out *output) {
	n.info = &info
	n.listen(now, out)
	n.changed = true
	n.sayFilters(out)
	repeat := make([]*sealed, 0, len(n.unanswered))
	for _, s := range n.unanswered {
		repeat = append(repeat, s)
	}
	slices.SortFunc(repeat, func(a, b *sealed) int { return cmp.Compare(a.order, b.order) })
	for _, s := range repeat {
		out.Down = append(out.Down, s.seal)
	}
	n.publishCode(now, out)
	out.Up = append(out.Up, n.ready())
	out.WakeAt(n.nextCode)
}

func (n *Node) ready() secure.Ready {
	return secure.Ready{Info: secure.Info{
		MaxBody: maxBody(n.info.MaxPayload), Latency: n.info.Latency, MaxTTL: n.info.MaxTTL,
	}}
}
