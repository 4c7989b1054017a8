package transport

import (
	"time"

	"github.com/stratanode/strata/layers"
)

// What follows is for the API of a node and its command line. A transport that
// cannot do something answers Refused.

// Set changes how the transport works until it restarts. What is nil stays as it
// is. Answered by Done or Refused; if anything in it is wrong nothing changes.
type Set struct {
	Ref        layers.Ref
	MinPoW     *float64  // proof of work asked of peers; may be above what a configuration may say
	Bloom      *[64]byte // the interest that peers are told, instead of one made of topics
	MaxMessage *int      // longest packet and envelope, in bytes
	Light      *bool     // carry nothing for others
}

// Trust makes the transport take envelopes from a linked node unasked, as long
// as the link lives (shh_markTrustedPeer). Answered by Done or Refused.
type Trust struct {
	Ref  layers.Ref
	Node string // enode URL
}

// Direct sends an envelope to one linked node, and to nobody else. Answered by
// Done when it is written, or Refused.
type Direct struct {
	Ref  layers.Ref
	Node string // enode URL
	Raw  []byte // as in Publish
}

// Describe asks for one Described.
type Describe struct{ Ref layers.Ref }

// Explain asks for one Explained.
type Explain struct {
	Ref  layers.Ref
	Hash Hash
}

func (Set) transportCommand()      {}
func (Trust) transportCommand()    {}
func (Direct) transportCommand()   {}
func (Describe) transportCommand() {}
func (Explain) transportCommand()  {}

// Done answers a command that was carried out.
type Done struct{ Ref layers.Ref }

// Described answers Describe.
type Described struct {
	Ref   layers.Ref
	State State
}

// State is how a transport is doing. What it does not know is zero.
type State struct {
	MinPoW     float64   `json:"min_pow"`
	Bloom      *[64]byte `json:"-"` // nil: everything
	MaxMessage int       `json:"max_message_bytes"`
	Light      bool      `json:"light"`

	Pooled      int `json:"pooled"`
	PooledBytes int `json:"pooled_bytes"`
	PoolLimit   int `json:"pool_limit_bytes"`

	// Skew is by how much the clocks of others are ahead of ours, by the median
	// of Samples envelopes; an envelope on its way makes it seem smaller.
	Skew    time.Duration `json:"skew_ns"`
	Samples int           `json:"skew_samples"`

	Admitted   uint64            `json:"admitted"`
	Duplicates uint64            `json:"duplicates"`
	Refused    map[string]uint64 `json:"refused"` // by reason
	Limited    map[string]uint64 `json:"limited"` // what peers did too much of, by kind

	Servers []string `json:"servers,omitempty"` // archives that can be asked now
}

// Explained tells what the transport remembers of an envelope.
type Explained struct {
	Ref   layers.Ref
	Hash  Hash
	Facts []Fact // in the order of time; empty: nothing
}

// Fact is one thing that happened to an envelope.
type Fact struct {
	At     time.Time `json:"at"`
	Deed   Deed      `json:"deed"`
	Peer   string    `json:"peer,omitempty"`   // with whom
	Detail string    `json:"detail,omitempty"` // for people
}

// Deed is what was done with an envelope.
type Deed string

// The deeds.
const (
	Published Deed = "published" // by this node
	Came      Deed = "received"  // from a peer, for the first time
	Repeated  Deed = "repeated"  // from a peer again
	Rejected  Deed = "refused"   // the detail says why
	Pooled    Deed = "pooled"    // the detail says proof of work, topic and expiry
	Forwarded Deed = "forwarded" // to a peer
	Confirmed Deed = "confirmed" // by a peer
	Reported  Deed = "reported"  // to the layers above
	Fetched   Deed = "fetched"   // from an archive
	Ended     Deed = "expired"
	Evicted   Deed = "evicted"  // to make room
	Archived  Deed = "archived" // by the archive of this node
)

func (Done) transportEvent()      {}
func (Described) transportEvent() {}
func (Explained) transportEvent() {}
