// Package envelope is the contract of the envelope layer: it signs, pads and
// encrypts messages for the transport, and opens those that one of its filters
// has a key for.
package envelope

import (
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
)

// Topic and Hash are what the transport calls so.
type (
	Topic = transport.Topic
	Hash  = transport.Hash
)

// TopicOf returns the topic of a text; see transport.TopicOf.
func TopicOf(text string) Topic { return transport.TopicOf(text) }

// SymKey is a symmetric key. It prints as a fingerprint.
type SymKey [32]byte

// String returns a fingerprint of the key.
func (k SymKey) String() string {
	h := layers.Keccak256(k[:])
	return "symkey(" + hex.EncodeToString(h[:4]) + ")"
}

// Format keeps every verb from printing the key.
func (k SymKey) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// LogValue implements slog.LogValuer.
func (k SymKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText implements encoding.TextMarshaler with the fingerprint.
func (k SymKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// FilterID names a filter; the layer above chooses it.
type FilterID string

// Filter says which envelopes to open: those of Topic that Key opens.
type Filter struct {
	ID    FilterID
	Topic Topic
	Key   Key
}

// Key opens or seals an envelope.
//
//sumtype:decl
type Key interface{ envelopeKey() }

// Identity is the asymmetric key: in a Filter the node's own identity, whose
// private half the layer holds; in a Seal the recipient.
type Identity struct{ Key layers.PublicKey }

func (SymKey) envelopeKey()   {}
func (Identity) envelopeKey() {}

// Command is what the layer above may ask of the envelope layer.
//
//sumtype:decl
type Command interface{ envelopeCommand() }

// Attach asks for a Ready. The upper layer sends it at each of its starts.
type Attach struct{}

// Listen sets the filters from now on. It is the whole set and replaces the one
// before.
type Listen struct{ Filters []Filter }

// Seal signs Payload with the own identity, pads and encrypts it with Key, and
// publishes it. It is answered by exactly one Relayed, Expired or Refused, and
// before it possibly by an Accepted.
type Seal struct {
	Ref     layers.Ref
	Topic   Topic
	Key     Key
	Payload []byte
	TTL     time.Duration // zero leaves it to the transport
}

func (Attach) envelopeCommand() {}
func (Listen) envelopeCommand() {}
func (Seal) envelopeCommand()   {}

// Event is what the envelope layer reports to the layer above.
//
//sumtype:decl
type Event interface{ envelopeEvent() }

// Ready says that the layer is open, or open again, or that Info has changed. It
// may come at any time, and always as the answer to Attach. The layer above then
// repeats Listen and every unanswered Seal.
type Ready struct{ Info Info }

// Info is what the layers above have to know.
type Info struct {
	MaxPayload int           // the longest Payload that Seal accepts, in bytes
	Latency    time.Duration // the longest an envelope is likely to travel
	MaxTTL     time.Duration // the longest an envelope is carried
}

// Opened reports a message for each filter key that opened it, once.
type Opened struct {
	Hash    Hash
	Filter  FilterID
	Topic   Topic
	Payload []byte
	Signer  layers.PublicKey // zero: not signed
	Sent    time.Time        // when the sender says it was sent, to the second
}

// Accepted says that the transport carries the envelope.
type Accepted struct {
	Ref  layers.Ref
	Hash Hash
}

// Relayed says that a peer has taken the envelope.
type Relayed struct {
	Ref  layers.Ref
	Hash Hash
}

// Expired says that no peer took the envelope in its time to live.
type Expired struct{ Ref layers.Ref }

// Refused says that the message cannot be sealed or carried, and why.
type Refused struct {
	Ref    layers.Ref
	Reason string
}

// Progress tells how the node catches up with what was sent while it was away: at
// each change, for whoever shows it to a user. What was found comes as Opened.
type Progress struct {
	State     CatchUp
	From, To  time.Time // the window that is being asked for, or was
	Server    string    // who is or was asked
	Pages     int       // since the state was CatchingUp
	Envelopes int       // that came
	Opened    int       // of them, by some filter, for the first time
	Gaps      []Gap     // what could not be fetched, or what servers do not agree about
}

// Gap is a window of which envelopes may be missing.
type Gap struct {
	From, To time.Time
	Server   string // that failed, or lacked what another had
	Missing  int    // envelopes that the server lacked; zero if it failed
	Reason   string
}

// CatchUp is how far it has come.
type CatchUp uint8

const (
	Waiting    CatchUp = iota // for somebody to ask
	CatchingUp                // asking
	CaughtUp                  // everything up to To was fetched
	PartlyUp                  // Gaps says what was not; it is tried again
)

// String returns the state in words.
func (c CatchUp) String() string {
	return [...]string{"waiting", "catching up", "caught up", "partly caught up"}[c]
}

func (Progress) envelopeEvent() {}
func (Ready) envelopeEvent()    {}
func (Opened) envelopeEvent()   {}
func (Accepted) envelopeEvent() {}
func (Relayed) envelopeEvent()  {}
func (Expired) envelopeEvent()  {}
func (Refused) envelopeEvent()  {}

// Identity implements layers.Identified.
func (o Opened) Identity() []byte { return append(o.Hash[:], o.Filter...) }

// Identity implements layers.Identified.
func (s Seal) Identity() []byte { return s.Ref[:] }

// Identity implements layers.Identified.
func (a Accepted) Identity() []byte { return a.Ref[:] }

// Identity implements layers.Identified.
func (r Relayed) Identity() []byte { return r.Ref[:] }
