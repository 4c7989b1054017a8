// Package whisper seals and opens messages as Whisper v6 does: it signs, pads
// and encrypts on the way down, and on the way up tries the keys of the filters
// on the envelopes of their topics (EIP-627; Status 3/WHISPER-USAGE).
//
// What carries the envelopes is none of its business: it runs on any transport.
package whisper

import (
	"cmp"
	"crypto/cipher"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/envelope/whisper/history"
	"github.com/stratanode/strata/layers/transport"
)

type output = layers.Output[envelope.Event, transport.Command]

// Node is the envelope layer of one identity. Of what it seals it saves nothing:
// what is not answered is offered again by the layer above. It saves until when
// each topic was fetched (package history).
type Node struct {
	cfg      Config
	identity layers.PrivateKey
	random   io.Reader

	transport    *transport.Info // nil until the transport is ready
	dataLimit    int             // of the transport and of what may be kept, in bytes
	payloadLimit int             // what fits into dataLimit; -1: nothing

	unanswered map[layers.Ref]*sealed
	kept       int    // bytes of data in unanswered
	next       uint64 // order number of the next sealed

	listening  bool // a Listen has come
	filters    map[transport.Topic][]*opener
	places     map[place]*opener // the same by topic and key
	topics     []transport.Topic // of filters, sorted
	subscribed bool              // topics is what the ready transport has
	ciphers    map[envelope.SymKey]cipher.AEAD
	early      []transport.Envelope // arrived before the first Listen
	earlyBytes int
	scratch    []byte // memory for plaintexts, used again for each envelope

	history *history.Driver
	settled *history.Recent // envelopes that were opened, and own ones

	stats Stats
}

// New returns the layer of identity without a past: Restore with nothing saved.
func New(cfg Config, identity layers.PrivateKey, random io.Reader) *Node {
	return Restore(cfg, identity, random, nil)
}

// Restore returns the layer of identity, which signs what is sealed and opens
// what is sealed to it. Padding, salts and ephemeral keys are drawn from random.
// What was sent while the layer was away is fetched as saved says; nil is nothing.
func Restore(cfg Config, identity layers.PrivateKey, random io.Reader, saved layers.Saved) *Node {
	n := &Node{
		cfg: cfg, identity: identity, random: random, unanswered: map[layers.Ref]*sealed{},
		history: history.New(cfg.History, random, saved), settled: history.NewRecent(maxSettled),
	}
	n.limit(cfg.MaxUnansweredBytes)
	return n
}

// Format keeps the keys of the filters out of every print of the layer.
func (n *Node) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "whisper(%v, %d unanswered)", n.identity, len(n.unanswered))
}

// FromAbove implements layers.Protocol.
func (n *Node) FromAbove(now time.Time, c envelope.Command) (output, error) {
	switch c := c.(type) {
	case envelope.Attach:
		return n.attach(), nil
	case envelope.Listen:
		return n.listen(now, c.Filters)
	case envelope.Seal:
		return n.seal(c), nil
	}
	panic(fmt.Sprintf("whisper: unknown command %T", c))
}

// FromBelow implements layers.Protocol.
func (n *Node) FromBelow(now time.Time, e transport.Event) (output, error) {
	switch e := e.(type) {
	case transport.Ready:
		return n.resume(now, e.Info), nil
	case transport.Received:
		return n.received(e.Envelopes)
	case transport.Accepted:
		return n.accepted(e), nil
	case transport.Relayed:
		return n.relayed(e), nil
	case transport.Expired:
		return n.answer(e.Ref, envelope.Expired(e)), nil
	case transport.Refused:
		return n.answer(e.Ref, envelope.Refused(e)), nil
	case transport.Peers:
		return n.history.Peers(now, e.Count), nil
	case transport.Archives:
		return n.history.Archives(now, e.Servers), nil
	case transport.History:
		return n.past(now, e), nil
	case transport.Queried:
		return n.history.Queried(now, e), nil
	case transport.Admitted, transport.Asked, transport.Taken, transport.Abandoned,
		transport.Done, transport.Described, transport.Explained:
		return output{}, nil // for those who stand beside this layer
	}
	panic(fmt.Sprintf("whisper: unknown event %T", e))
}

// Wake implements layers.Protocol. Until the transport is ready it is asked
// again whether it is.
func (n *Node) Wake(now time.Time) output {
	out := n.history.Wake(now)
	if n.transport == nil {
		out.Down = append(out.Down, transport.Attach{})
	}
	return out
}

// limit sets how much the transport carries.
func (n *Node) limit(data int) {
	n.dataLimit = min(data, n.cfg.MaxUnansweredBytes)
	n.payloadLimit = payloadLimit(n.dataLimit)
}

// attach answers once it is known what the transport can do; until then the
// Ready that is still to come is the answer.
func (n *Node) attach() output {
	if n.transport == nil {
		return output{}
	}
	out := output{Up: []envelope.Event{n.ready()}}
	if p, any := n.history.Progress(); any {
		out.Up = append(out.Up, p)
	}
	return out
}

func (n *Node) ready() envelope.Ready {
	return envelope.Ready{Info: envelope.Info{
		MaxPayload: max(0, n.payloadLimit),
		Latency:    max(0, n.transport.Latency),
		MaxTTL:     max(0, n.transport.MaxTTL),
	}}
}

// resume repeats everything the transport has to know: it may be a new one. What
// the new one cannot carry is refused.
func (n *Node) resume(now time.Time, info transport.Info) output {
	n.transport = &info
	n.limit(info.MaxData)
	n.subscribed = false

	out := n.subscribe()
	for _, ref := range slices.SortedFunc(maps.Keys(n.unanswered), n.byOrder) {
		s := n.unanswered[ref]
		if len(s.publish.Data) > info.MaxData {
			out.Add(n.answer(ref, n.refusedAsTooLong(ref, s.payload)))
			continue
		}
		out.Down = append(out.Down, s.publish)
	}
	out.Up = append(out.Up, n.ready())
	out.Add(n.history.Ready(now))
	return out
}

func (n *Node) byOrder(a, b layers.Ref) int {
	return cmp.Compare(n.unanswered[a].order, n.unanswered[b].order)
}

// subscribe tells the transport the topics unless it has them. Before the first
// Listen there is nothing to tell: after a restart of this layer alone the
// transport still has the topics of the earlier life.
func (n *Node) subscribe() output {
	if n.transport == nil || !n.listening || n.subscribed {
		return output{}
	}
	n.subscribed = true
	return output{Down: []transport.Command{transport.Subscribe{Topics: slices.Clone(n.topics)}}}
}
