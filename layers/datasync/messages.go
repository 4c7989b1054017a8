// Package datasync is the contract of data sync: it gets private messages to
// their receiver in spite of loss below, and says when they have arrived.
package datasync

import (
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/secure"
)

// Channel and Protection are what the secure transport calls so.
type (
	Channel    = secure.Channel
	Protection = secure.Protection
)

// The protections of a message, from the weakest to the strongest.
const (
	Public    = secure.Public
	Cleartext = secure.Cleartext
	Static    = secure.Static
	Ratcheted = secure.Ratcheted
)

// MessageID names a message within data sync (MVDS message identifier). The
// zero id stands for a message that is not synchronised.
type MessageID [32]byte

// Command is what the layer above may ask of data sync.
//
//sumtype:decl
type Command interface{ datasyncCommand() }

// Attach asks for a Ready, and for everything Received that was not yet Taken.
// The upper layer sends it at each of its starts.
type Attach struct{}

// Watch sets the public chats and people of interest; see secure.Watch.
type Watch struct {
	Channels []Channel
	Contacts []layers.PublicKey
}

// Publish delivers Body to a person. It is answered by Queued once the message
// is durable here, then possibly by Sent and Relayed, and at last by exactly one
// Delivered or Failed. After Queued it need not be repeated.
type Publish struct {
	Ref  layers.Ref
	To   layers.PublicKey
	Body []byte
}

// Broadcast sends Body to a public chat, once and without synchronisation. It
// is answered possibly by Sent, and at last by exactly one Relayed or Failed.
type Broadcast struct {
	Ref     layers.Ref
	Channel Channel
	Body    []byte
}

// Taken says that the message is durable above, or was refused there for good,
// so that it may be acknowledged to its sender.
type Taken struct{ ID MessageID }

func (Attach) datasyncCommand()    {}
func (Watch) datasyncCommand()     {}
func (Publish) datasyncCommand()   {}
func (Broadcast) datasyncCommand() {}
func (Taken) datasyncCommand()     {}

// Event is what data sync reports to the layer above.
//
//sumtype:decl
type Event interface{ datasyncEvent() }

// Ready says that the layer is open, or open again, or that Info has changed. It
// may come at any time, and always as the answer to Attach. The layer above then
// repeats Watch, every Publish without a Queued, and every unanswered Broadcast.
type Ready struct{ Info Info }

// Info is what the layers above have to know.
type Info struct {
	MaxBody int // the longest Body that Publish and Broadcast accept, in bytes
}

// Received reports a message. One with an id is reported again, also after a
// restart, until it is Taken, and not after.
type Received struct {
	ID         MessageID
	From       layers.PublicKey
	Channel    Channel // empty: private
	Protection Protection
	Body       []byte
	Sent       time.Time // when the sender says it was sent, to the second
}

// Queued says that the message is durable and will be delivered or given up by
// data sync alone.
type Queued struct{ Ref layers.Ref }

// Sent says that the message has left this node's queue.
type Sent struct{ Ref layers.Ref }

// Relayed says that a peer of the transport has taken the message.
type Relayed struct{ Ref layers.Ref }

// Delivered says that the receiver has acknowledged the message.
type Delivered struct{ Ref layers.Ref }

// Failed says that the message is given up, and why.
type Failed struct {
	Ref    layers.Ref
	Reason string
}

func (Ready) datasyncEvent()     {}
func (Received) datasyncEvent()  {}
func (Queued) datasyncEvent()    {}
func (Sent) datasyncEvent()      {}
func (Relayed) datasyncEvent()   {}
func (Delivered) datasyncEvent() {}
func (Failed) datasyncEvent()    {}

// Identity implements layers.Identified: who said what and where, however often
// it arrives.
func (r Received) Identity() []byte {
	h := layers.Keccak256(r.From[:], []byte(r.Channel), r.Body)
	return h[:]
}

// Identity implements layers.Identified.
func (p Publish) Identity() []byte { return p.Ref[:] }

// Identity implements layers.Identified.
func (b Broadcast) Identity() []byte { return b.Ref[:] }

// Identity implements layers.Identified.
func (d Delivered) Identity() []byte { return d.Ref[:] }

// Identity implements layers.Identified.
func (s Sent) Identity() []byte { return s.Ref[:] }

// Identity implements layers.Identified.
func (r Relayed) Identity() []byte { return r.Ref[:] }
