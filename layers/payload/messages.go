// Package payload is the contract of the payload layer, the top of the stack:
// chats, their messages, and what became of each.
package payload

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
)

// ChatID names a chat: the name of a public chat, or the public key of the
// other person in the form 0x04….
type ChatID string

// MessageID names a chat message: Keccak-256 of the author's key and the signed
// bytes (Status 6/PAYLOADS). It is the same at all who have the message.
type MessageID [32]byte

// String returns the id in hex, with 0x.
func (m MessageID) String() string { return "0x" + hex.EncodeToString(m[:]) }

// MarshalText implements encoding.TextMarshaler.
func (m MessageID) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *MessageID) UnmarshalText(b []byte) error {
	if len(b) != 66 || b[0] != '0' || b[1] != 'x' {
		return fmt.Errorf("message id: want 0x and 64 hex digits")
	}
	_, err := hex.Decode(m[:], b[2:])
	return err
}

// Status says how far an own message has come. It only moves forward.
type Status uint8

// The states of an own message; Incoming is that of everybody else's.
const (
	Incoming  Status = iota
	Pending          // durable here
	Sent             // has left this node's queue
	Relayed          // a peer of the transport has taken it; the end for public messages
	Delivered        // the receiver has acknowledged it; the end for private messages
	Failed           // given up; the message says why
)

var statusNames = [...]string{"incoming", "pending", "sent", "relayed", "delivered", "failed"}

// String returns the name used in the API.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return fmt.Sprintf("status(%d)", uint8(s))
}

// MarshalText implements encoding.TextMarshaler.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Status) UnmarshalText(b []byte) error {
	for i, n := range statusNames {
		if n == string(b) {
			*s = Status(i)
			return nil
		}
	}
	return fmt.Errorf("status %q is unknown", b)
}

// Message is one chat message, own or received.
type Message struct {
	ID         MessageID           `json:"id"`
	Chat       ChatID              `json:"chat"`
	From       layers.PublicKey    `json:"from"`
	Text       string              `json:"text"`
	ResponseTo string              `json:"response_to,omitempty"`
	Clock      uint64              `json:"clock"`     // Lamport clock of the chat; orders it
	Timestamp  time.Time           `json:"timestamp"` // when the author says it was written
	Stored     time.Time           `json:"stored"`    // when it became durable here
	Public     bool                `json:"public"`
	Own        bool                `json:"own"`
	Protection datasync.Protection `json:"protection"`
	Status     Status              `json:"status"`
	Reason     string              `json:"reason,omitempty"` // why it failed
}

// Chat is one chat of this node.
type Chat struct {
	ID     ChatID `json:"id"`
	Public bool   `json:"public"`
	Clock  uint64 `json:"clock"` // of its last message
}

// Command is what an upper neighbour (the API) may ask of the payload layer.
//
//sumtype:decl
type Command interface{ payloadCommand() }

// Attach asks for a Ready.
type Attach struct{}

// Say writes a text into a chat, which is created if need be. It is answered by
// one Said or Refused; StatusChanged follows as the message moves on.
type Say struct {
	Ref  layers.Ref
	Chat ChatID
	Text string
}

// Join opens a public chat, so that its messages are received. Answered by Done
// or Refused.
type Join struct {
	Ref     layers.Ref
	Channel datasync.Channel
}

// Leave closes a chat; its history stays. Answered by Done or Refused.
type Leave struct {
	Ref  layers.Ref
	Chat ChatID
}

// History asks for the messages of a chat, newest first. Answered by one Page
// or Refused.
type History struct {
	Ref    layers.Ref
	Chat   ChatID // empty: all chats, in the order of Stored
	Limit  int    // at most 1000; zero means 100
	Before string // a Page's Next, to go on
}

// ListChats asks for one Chats.
type ListChats struct{ Ref layers.Ref }

func (Attach) payloadCommand()    {}
func (Say) payloadCommand()       {}
func (Join) payloadCommand()      {}
func (Leave) payloadCommand()     {}
func (History) payloadCommand()   {}
func (ListChats) payloadCommand() {}

// Event is what the payload layer reports to all that stand on it.
//
//sumtype:decl
type Event interface{ payloadEvent() }

// Ready says that the layer is open, or open again.
type Ready struct{ Self layers.PublicKey }

// Said answers Say: the message is durable and will be sent.
type Said struct {
	Ref     layers.Ref
	Message Message
}

// Received reports a message of somebody else, or of an own other device, once
// and after it has become durable.
type Received struct{ Message Message }

// StatusChanged reports that an own message has moved on.
type StatusChanged struct {
	ID     MessageID
	Chat   ChatID
	Status Status
	Reason string
}

// Done answers Join and Leave.
type Done struct{ Ref layers.Ref }

// Refused answers a command that cannot be carried out, and says why.
type Refused struct {
	Ref    layers.Ref
	Reason string
}

// Page answers History.
type Page struct {
	Ref      layers.Ref
	Messages []Message
	Next     string // for History.Before; empty at the end
}

// Chats answers ListChats, sorted by id.
type Chats struct {
	Ref   layers.Ref
	Chats []Chat
}

func (Ready) payloadEvent()         {}
func (Said) payloadEvent()          {}
func (Received) payloadEvent()      {}
func (StatusChanged) payloadEvent() {}
func (Done) payloadEvent()          {}
func (Refused) payloadEvent()       {}
func (Page) payloadEvent()          {}
func (Chats) payloadEvent()         {}

// Identity implements layers.Identified.
func (r Received) Identity() []byte { return r.Message.ID[:] }

// Identity implements layers.Identified.
func (s Said) Identity() []byte { return s.Message.ID[:] }

// Identity implements layers.Identified.
func (s StatusChanged) Identity() []byte { return append(s.ID[:], byte(s.Status)) }
