package shh

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/stratanode/strata/layers/transport"
)

// What passes the API, in JSON. Pointers stand where null is
// the same as nothing.

// NewMessage is the parameter of shh_post.
type NewMessage struct {
	SymKeyID   string         `json:"symKeyID,omitempty"` // either this
	PubKey     *hexutil.Bytes `json:"pubKey,omitempty"`   // or this, 65 bytes beginning with 4
	Sig        string         `json:"sig,omitempty"`      // id of the key pair that signs; empty: nobody
	TTL        uint32         `json:"ttl,omitempty"`      // seconds; 0: 50
	Topic      *Topic         `json:"topic,omitempty"`    // must be there and not zero with a symmetric key
	Payload    *hexutil.Bytes `json:"payload,omitempty"`
	Padding    *hexutil.Bytes `json:"padding,omitempty"`    // empty: random, up to the next multiple of 256 bytes
	PoWTime    uint32         `json:"powTime,omitempty"`    // how long to look for the proof of work, in seconds
	PoWTarget  float64        `json:"powTarget,omitempty"`  // per byte and second; below 0: the best of the whole powTime
	TargetPeer string         `json:"targetPeer,omitempty"` // enode URL of the only peer to send it to
}

// Criteria is the parameter of shh_newMessageFilter and of the subscription
// "messages": what a filter takes.
type Criteria struct {
	SymKeyID     string         `json:"symKeyID,omitempty"`     // either this
	PrivateKeyID string         `json:"privateKeyID,omitempty"` // or this
	Sig          *hexutil.Bytes `json:"sig,omitempty"`          // public key of the signer; empty: anybody
	MinPoW       float64        `json:"minPow,omitempty"`
	Topics       []Topic        `json:"topics,omitempty"` // empty: all; a subscription with a symmetric key needs one
	AllowP2P     bool           `json:"allowP2P,omitempty"`
}

// Message is what a filter has taken.
type Message struct {
	Sig       hexutil.Bytes `json:"sig,omitempty"` // public key of the signer
	TTL       uint32        `json:"ttl"`           // seconds
	Timestamp uint32        `json:"timestamp"`     // when it was sent, unix seconds
	Topic     Topic         `json:"topic"`
	Payload   hexutil.Bytes `json:"payload"`
	Padding   hexutil.Bytes `json:"padding"`
	PoW       float64       `json:"pow"`
	Hash      hexutil.Bytes `json:"hash"` // of the envelope
	Recipient hexutil.Bytes `json:"recipientPublicKey,omitempty"`
}

// Info is the result of shh_info.
type Info struct {
	Memory         int     `json:"memory"`   // bytes of the envelopes the node carries
	Messages       int     `json:"messages"` // envelopes that wait to be tried with the keys
	MinPoW         float64 `json:"minPow"`
	MaxMessageSize uint32  `json:"maxMessageSize"` // bytes
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *NewMessage) UnmarshalJSON(b []byte) error {
	type newMessage NewMessage
	return inKnownWords(json.Unmarshal(b, (*newMessage)(m)))
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *Criteria) UnmarshalJSON(b []byte) error {
	type criteria Criteria
	return inKnownWords(json.Unmarshal(b, (*criteria)(c)))
}

// knownTypes are the names that the types of this package have in go-ethereum.
var knownTypes = strings.NewReplacer(
	"shh.newMessage", "whisperv6.NewMessage", "field newMessage.", "field NewMessage.",
	"shh.criteria", "whisperv6.Criteria", "field criteria.", "field Criteria.",
	"shh.Topic", "whisperv6.TopicType",
)

// inKnownWords makes the error of encoding/json, which tells the client the type
// that was wanted, that of go-ethereum.
func inKnownWords(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(knownTypes.Replace(err.Error()))
}

// Topic is four bytes, in JSON 0x and eight hex digits.
type Topic transport.Topic

// MarshalText implements encoding.TextMarshaler.
func (t Topic) MarshalText() ([]byte, error) { return hexutil.Bytes(t[:]).MarshalText() }

// UnmarshalText implements encoding.TextUnmarshaler. Shorter and longer texts
// are refused.
func (t *Topic) UnmarshalText(b []byte) error {
	return hexutil.UnmarshalFixedText("Topic", b, t[:])
}

// deref returns what p points to, or nothing.
func deref(p *hexutil.Bytes) []byte {
	if p == nil {
		return nil
	}
	return *p
}

// messageOverhead is what a message takes of memory beside its bytes, about.
const messageOverhead = 512

// size is what the bounds of the stores count, in bytes.
func (m *Message) size() int {
	return messageOverhead + len(m.Payload) + len(m.Padding) + len(m.Sig) + len(m.Recipient)
}
