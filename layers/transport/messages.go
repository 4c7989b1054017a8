// Package transport is the contract of the transport: it carries opaque
// envelopes by topic, to nobody in particular. A transport sees topics and
// ciphertext, never a key, an identity or a plaintext (DESIGN §3); it is the
// slot that a plugin fills.
package transport

import (
	"encoding/hex"
	"time"

	"github.com/stratanode/strata/layers"
)

// Topic says roughly what an envelope is about (EIP-627).
type Topic [4]byte

// String returns the topic in hex, without 0x.
func (t Topic) String() string { return hex.EncodeToString(t[:]) }

// TopicOf returns the topic of a text: the first 4 bytes of its Keccak-256
// (Status 3/WHISPER-USAGE, Topic).
func TopicOf(text string) Topic {
	h := layers.Keccak256([]byte(text))
	return Topic(h[:4])
}

// Hash is the identity of an envelope within the transport.
type Hash [32]byte

// String returns the hash in hex, with 0x.
func (h Hash) String() string { return "0x" + hex.EncodeToString(h[:]) }

// Command is what the layer above may ask of the transport.
//
//sumtype:decl
type Command interface{ transportCommand() }

// Attach asks for a Ready. The upper layer sends it at each of its starts.
type Attach struct{}

// Subscribe sets the topics whose envelopes are reported from now on. It is the
// whole set and replaces the one before. The order of Topics has no meaning.
type Subscribe struct {
	Topics []Topic
	All    bool // every envelope, whatever Topics says: for a bridge or an archive
}

// Publish hands an envelope to the network. It is answered by exactly one
// final event, Relayed, Expired or Refused, and before it possibly by an
// Accepted. The own envelope is not reported as Received.
type Publish struct {
	Ref   layers.Ref
	Topic Topic
	Data  []byte
	TTL   time.Duration // how long it is worth carrying; zero leaves it to the transport

	// Raw is a whole envelope in the transport's own form, made with its own
	// tools, instead of Topic, Data and TTL. A transport without such a form
	// refuses it.
	Raw []byte
}

func (Attach) transportCommand()    {}
func (Subscribe) transportCommand() {}
func (Publish) transportCommand()   {}

// Event is what the transport reports to the layer above.
//
//sumtype:decl
type Event interface{ transportEvent() }

// Ready says that the transport is open, or open again after a restart or a
// replacement. It may come at any time, and always as the answer to Attach. The
// layer above then repeats Subscribe and every unanswered Publish.
type Ready struct{ Info Info }

// Info is what the layers above have to know of a transport.
type Info struct {
	Name    string        // as in the configuration file
	MaxData int           // the longest Data that Publish accepts, in bytes
	MinTTL  time.Duration // a shorter TTL is raised to it
	MaxTTL  time.Duration // a longer TTL is cut to it
	Latency time.Duration // the longest an envelope is likely to travel
}

// Peers reports how many peers take envelopes from this node, at each change.
type Peers struct{ Count int }

// Received reports envelopes of subscribed topics, each once while the
// transport remembers it.
type Received struct{ Envelopes []Envelope }

// Envelope is one envelope as the transport delivers it. The transport vouches
// for nothing in it.
type Envelope struct {
	Hash  Hash
	Topic Topic
	Data  []byte
	Sent  time.Time     // when the sender says it was sent, to the second
	TTL   time.Duration // from Sent; how long the sender wanted it carried

	// Of a transport that has them; only in Admitted, History and Page:
	Raw []byte  // the envelope in the transport's own form
	PoW float64 // proof of work per byte and second; not computed in History
}

// Accepted says that the transport carries the envelope and will offer it to
// peers.
type Accepted struct {
	Ref  layers.Ref
	Hash Hash
}

// Relayed says that a peer has taken the envelope. Whether anybody will read it
// only data sync can tell.
type Relayed struct {
	Ref  layers.Ref
	Hash Hash
}

// Expired says that no peer took the envelope in its time to live.
type Expired struct{ Ref layers.Ref }

// Refused says that the transport does not carry the envelope, and why.
type Refused struct {
	Ref    layers.Ref
	Reason string
}

func (Ready) transportEvent()    {}
func (Peers) transportEvent()    {}
func (Received) transportEvent() {}
func (Accepted) transportEvent() {}
func (Relayed) transportEvent()  {}
func (Expired) transportEvent()  {}
func (Refused) transportEvent()  {}

// Identity implements layers.Identified: the hashes of the envelopes.
func (r Received) Identity() []byte {
	b := make([]byte, 0, 32*len(r.Envelopes))
	for _, e := range r.Envelopes {
		b = append(b, e.Hash[:]...)
	}
	return b
}

// Parts implements layers.Bundle.
func (r Received) Parts() []Event {
	parts := make([]Event, len(r.Envelopes))
	for i, e := range r.Envelopes {
		parts[i] = Received{[]Envelope{e}}
	}
	return parts
}

// Identity implements layers.Identified.
func (p Publish) Identity() []byte { return p.Ref[:] }

// Identity implements layers.Identified.
func (a Accepted) Identity() []byte { return a.Hash[:] }

// Identity implements layers.Identified.
func (r Relayed) Identity() []byte { return r.Hash[:] }
