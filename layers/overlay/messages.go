// Package overlay is the contract of the overlay: authenticated links to peers,
// RLPx in devp2p. The slot is filled by an edge actor.
package overlay

import (
	"encoding/hex"
	"net/netip"
	"time"

	"github.com/stratanode/strata/layers"
)

// PeerID names a peer: keccak256 of its node key, as in discovery and ENR.
type PeerID [32]byte

// String returns the id in hex.
func (p PeerID) String() string { return hex.EncodeToString(p[:]) }

// Command is what an upper neighbour may ask of the overlay.
//
//sumtype:decl
type Command interface{ overlayCommand() }

// Attach asks for a Ready and for a Connected of every live link. An upper
// neighbour sends it at each of its starts.
type Attach struct{}

// Greet sets the first packet that is sent on every link, ahead of all others,
// from now on. Until the first Greet no link is completed.
type Greet struct{ Packet Outgoing }

// Send puts packets on the link to Peer, in order. It is answered by one
// Written when the last byte was handed to the operating system, or by
// Disconnected. There is at most one unanswered Send to a peer; a second one is
// a fault of the sender and is dropped with the link.
type Send struct {
	Peer    PeerID
	Packets []Outgoing
}

// Outgoing is one packet to be written. The payload is RLP, without the code.
type Outgoing struct {
	Code    uint64
	Payload []byte
}

// Drop ends the link to Peer. The reason is logged and counted.
type Drop struct {
	Peer   PeerID
	Reason string
}

// AddPeer makes the node keep a link to a node given by its enode URL or ENR.
// With Trusted it may connect beyond the peer limit. Answered by Done or Refused.
type AddPeer struct {
	Ref     layers.Ref
	Node    string
	Trusted bool
}

// RemovePeer undoes AddPeer and ends the link. Answered by Done or Refused.
type RemovePeer struct {
	Ref  layers.Ref
	Node string
}

// ListPeers asks for one Listed.
type ListPeers struct{ Ref layers.Ref }

func (Attach) overlayCommand()     {}
func (Greet) overlayCommand()      {}
func (Send) overlayCommand()       {}
func (Drop) overlayCommand()       {}
func (AddPeer) overlayCommand()    {}
func (RemovePeer) overlayCommand() {}
func (ListPeers) overlayCommand()  {}

// Event is what the overlay reports to all that stand on it.
//
//sumtype:decl
type Event interface{ overlayEvent() }

// Ready says that the overlay is open. It answers Attach, and comes unasked
// when the overlay has restarted; then all links are gone.
type Ready struct {
	ID    PeerID
	Enode string // enode URL
	ENR   string // enr: text form
}

// Connected reports a link on which both greetings have passed. State holds the
// peer's greeting and after it the latest of each Lasting packet, so that it
// tells all about a peer also to a neighbour that has restarted.
type Connected struct {
	Peer    PeerID
	Name    string         // the client name the peer claims
	Address netip.AddrPort // of the other end
	Inbound bool
	Trusted bool
	State   []Packet
}

// Disconnected reports the end of a link.
type Disconnected struct {
	Peer   PeerID
	Reason string
}

// Arrived brings one packet, decoded by the Codec in the read goroutine of the
// peer.
type Arrived struct {
	Peer   PeerID
	Packet Packet
}

// Written answers Send.
type Written struct{ Peer PeerID }

// Done answers AddPeer and RemovePeer.
type Done struct{ Ref layers.Ref }

// Refused answers a command that cannot be carried out.
type Refused struct {
	Ref    layers.Ref
	Reason string
}

// Listed answers ListPeers.
type Listed struct {
	Ref   layers.Ref
	Peers []PeerInfo
}

// PeerInfo describes a live link or a node that is to be linked.
type PeerInfo struct {
	ID        PeerID    `json:"-"`
	Enode     string    `json:"enode"`
	Name      string    `json:"name,omitempty"`
	Address   string    `json:"address,omitempty"`
	Inbound   bool      `json:"inbound"`
	Static    bool      `json:"static"`
	Trusted   bool      `json:"trusted"`
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"`
	In        uint64    `json:"packets_in"`
	Out       uint64    `json:"packets_out"`
}

func (Ready) overlayEvent()        {}
func (Connected) overlayEvent()    {}
func (Disconnected) overlayEvent() {}
func (Arrived) overlayEvent()      {}
func (Written) overlayEvent()      {}
func (Done) overlayEvent()         {}
func (Refused) overlayEvent()      {}
func (Listed) overlayEvent()       {}

// Codec is the pure half of the protocol that runs on the links. The overlay
// calls it in the read goroutine of each peer, so for different peers at the
// same time: it must not have changing state.
type Codec interface {
	// Capability is what the nodes must have in common: the name, version and
	// number of reserved packet codes of the protocol.
	Capability() (name string, version uint, length uint64)

	// Limit is the longest payload in bytes that Decode is to be shown. A peer
	// that sends more is dropped unread.
	Limit() int

	// Greeting decodes the first packet of a peer. An error drops the peer.
	Greeting(now time.Time, code uint64, payload []byte) (Packet, error)

	// Decode decodes every further packet. A nil Packet without an error means
	// that the packet is ignored; an error drops the peer.
	Decode(now time.Time, code uint64, payload []byte) (Packet, error)
}

// Packet is one decoded packet. Its kinds are known to the protocol whose Codec
// made it; the overlay passes it on.
type Packet interface {
	// Size is the length of the payload in bytes, as it came.
	Size() int
}

// Lasting is a Packet that describes the peer until the next one with the same
// code.
type Lasting interface {
	Packet
	Code() uint64
}

// Identity implements layers.Identified if the packet does.
func (a Arrived) Identity() []byte {
	if p, ok := a.Packet.(layers.Identified); ok {
		return p.Identity()
	}
	return nil
}
