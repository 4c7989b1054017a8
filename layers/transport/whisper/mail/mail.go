// Package mail is the half of Whisper that is about envelopes of the past: the
// requests of a mail client and the answers of a mail server (Status
// 4/WHISPER-MAILSERVER; packets 123 to 127). Like its other half it is pure.
package mail

import (
	"io"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

// Sealer makes and opens the envelopes that requests travel in. The transport
// has no keys; the node gives it one of these.
type Sealer interface {
	// Seal signs a payload as the node and encrypts it, for the holder of the
	// private half of server or, if that is zero, of the mail password. It
	// returns the data of an envelope.
	Seal(server layers.PublicKey, payload []byte) (data []byte, err error)

	// Open decrypts what a client sealed for this node or with the mail password.
	// It must be signed, by whomever.
	Open(data []byte) (payload []byte, signer layers.PublicKey, err error)
}

// Config is the part of the section layers.transport.settings that is about mail.
type Config struct {
	Servers []string `yaml:"mail_servers" comment:"Mail servers to keep a link to and to ask for history, as enode URLs, the preferred one first."`
	// Password is what the mail servers of the Status network share; it is no
	// secret there, but another network may have its own.
	Password string        `yaml:"mail_password" secret:"true" comment:"The password that requests to mail servers are encrypted with; empty: with the server's node key."`
	Timeout  time.Duration `yaml:"mail_timeout" comment:"How long a mail server may be silent before it is given up."`
	Asks     int           `yaml:"mail_requests" comment:"Requests of peers that are answered at the same time, when this node is a mail server."`
}

// Settings are what the mail half has to know of the other.
type Settings struct {
	MaxMessage int     // longest packet, in bytes
	Bundle     int     // longest packet of several envelopes that is sent, in bytes
	MinPoW     float64 // of the envelopes that requests come in, and of those of a sync

	MaxTTL time.Duration // of the envelopes of a sync
	Skew   time.Duration // by how much they may have been sent later than now

	// Make makes a whole envelope with the proof of work that peers want.
	Make func(now time.Time, topic transport.Topic, data []byte) (raw []byte, hash transport.Hash, err error)
}

// Post is the mail half of a node. It is driven by the other half, which gives
// it what concerns it and does what it says.
type Post struct {
	cfg      Config
	settings Settings
	sealer   Sealer
	random   io.Reader
	stats    Stats
	links    map[overlay.PeerID]*link
	owing    map[overlay.PeerID]bool // links of a Post before, not reported yet, on which the rest of a sync may come

	servers   []*server // those of the configuration first, in its order
	turn      uint64    // counts the ends of queries
	changed   bool      // perhaps other servers are linked than were announced
	announced []string  // sorted

	serves  bool
	asks    []*ask // by their numbers
	held    []held // waiting for their turn, the first first
	nextAsk uint64
	recent  recent
}

// Out is what one step asks for.
type Out struct {
	Up      []transport.Event
	Down    []overlay.Command // AddPeer and Drop
	Packets []Addressed       // to be written in this order, per peer
	Wake    time.Time         // zero: leave it
}

// Addressed is a packet for a peer.
type Addressed struct {
	Peer   overlay.PeerID
	Packet overlay.Outgoing
	Tell   bool // Written is to be called once it is out
}

// Packet is one decoded packet of codes 123 to 127. Those that hold envelopes
// are decoded by the other half.
//
//sumtype:decl
type Packet interface {
	overlay.Packet
	mailPacket()
}

// Request is packet 126 as an envelope: a request that only a mail server can
// read. PoW of the envelope is computed.
type Request struct {
	Envelope transport.Envelope
	Bytes    int // of the payload
}

// Delivery is packet 127: envelopes that skip the relay's rules. PoW is not
// computed.
type Delivery struct {
	Envelopes []transport.Envelope
	Bytes     int
}

// Size implements overlay.Packet.
func (r Request) Size() int { return r.Bytes }

// Size implements overlay.Packet.
func (d Delivery) Size() int { return d.Bytes }

func (Request) mailPacket()  {}
func (Delivery) mailPacket() {}
