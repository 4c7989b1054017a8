// Package secure is the contract of the secure transport: it encrypts messages
// for every installation of a person, decides topic and key, and knows who sent
// what arrives.
package secure

import (
	"fmt"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
)

// Channel is the name of a public chat, without #.
type Channel string

// Command is what the layer above may ask of the secure transport.
//
//sumtype:decl
type Command interface{ secureCommand() }

// Attach asks for a Ready. The upper layer sends it at each of its starts.
type Attach struct{}

// Watch sets the public chats to listen to and the people whose contact codes
// (bundles) to follow. It is the whole set and replaces the one before. The
// own private topics are always listened to.
type Watch struct {
	Channels []Channel
	Contacts []layers.PublicKey
}

// Send encrypts Body for the installations of To. It is answered by exactly one
// Relayed, Expired or Refused, and before it possibly by an Accepted. Each
// repetition after an answer is encrypted anew.
type Send struct {
	Ref  layers.Ref
	To   layers.PublicKey
	Body []byte
}

// Broadcast publishes Body in a public chat, signed but readable by everybody
// who knows its name. It is answered as Send is.
type Broadcast struct {
	Ref     layers.Ref
	Channel Channel
	Body    []byte
}

func (Attach) secureCommand()    {}
func (Watch) secureCommand()     {}
func (Send) secureCommand()      {}
func (Broadcast) secureCommand() {}

// Event is what the secure transport reports to the layer above.
//
//sumtype:decl
type Event interface{ secureEvent() }

// Ready says that the layer is open, or open again, or that Info has changed. It
// may come at any time, and always as the answer to Attach. The layer above then
// repeats Watch and every unanswered Send and Broadcast.
type Ready struct{ Info Info }

// Info is what the layers above have to know.
type Info struct {
	MaxBody int           // the longest Body that Send and Broadcast accept, in bytes
	Latency time.Duration // the longest a message is likely to travel
	MaxTTL  time.Duration // the longest a message is carried for an absent receiver
}

// Protection says how a message was encrypted on its way.
type Protection uint8

// The protections, from the weakest to the strongest.
const (
	Public    Protection = iota // readable by all who know the chat
	Cleartext                   // on a private topic, but without a session: accepted as the peers do, and marked
	Static                      // DH-only: no forward secrecy on the receiver's side
	Ratcheted                   // double ratchet
)

var protectionNames = [...]string{"public", "cleartext", "static", "ratcheted"}

// String returns the name used in the API.
func (p Protection) String() string {
	if int(p) < len(protectionNames) {
		return protectionNames[p]
	}
	return fmt.Sprintf("protection(%d)", uint8(p))
}

// MarshalText implements encoding.TextMarshaler.
func (p Protection) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Protection) UnmarshalText(b []byte) error {
	for i, n := range protectionNames {
		if n == string(b) {
			*p = Protection(i)
			return nil
		}
	}
	return fmt.Errorf("protection %q is unknown", b)
}

// Received reports a message that was opened. A message can be reported more
// than once; the layers above compare its content.
type Received struct {
	Hash       envelope.Hash    // of the envelope it came in
	From       layers.PublicKey // who signed the envelope; never zero
	Channel    Channel          // empty: private
	Protection Protection
	Body       []byte
	Sent       time.Time // when the sender says it was sent, to the second
}

// Accepted says that the message is on its way out of this node.
type Accepted struct{ Ref layers.Ref }

// Relayed says that a peer has taken the message.
type Relayed struct{ Ref layers.Ref }

// Expired says that no peer took the message in its time to live.
type Expired struct{ Ref layers.Ref }

// Refused says that the message cannot be sent, and why.
type Refused struct {
	Ref    layers.Ref
	Reason string
}

func (Ready) secureEvent()    {}
func (Received) secureEvent() {}
func (Accepted) secureEvent() {}
func (Relayed) secureEvent()  {}
func (Expired) secureEvent()  {}
func (Refused) secureEvent()  {}

// Identity implements layers.Identified: who said what and where, however often
// it arrives.
func (r Received) Identity() []byte {
	h := layers.Keccak256(r.From[:], []byte(r.Channel), r.Body)
	return h[:]
}

// Identity implements layers.Identified.
func (s Send) Identity() []byte { return s.Ref[:] }

// Identity implements layers.Identified.
func (b Broadcast) Identity() []byte { return b.Ref[:] }

// Identity implements layers.Identified.
func (a Accepted) Identity() []byte { return a.Ref[:] }

// Identity implements layers.Identified.
func (r Relayed) Identity() []byte { return r.Ref[:] }
