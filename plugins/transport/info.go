package transport

import (
	"context"
	"net/netip"
	"time"
)

// Info says what a transport is and what it claims. The host believes the
// limits, within its own; the claims are shown to users.
type Info struct {
	Name    string // short, of a-z, 0-9 and -
	Version string // of the implementation

	MaxData int           // longest Data it carries, in bytes, 1 to MaxEnvelope
	MaxTTL  time.Duration // longest TTL, at least 10 s
	Latency time.Duration // the longest an envelope is likely to travel

	// Addresses are where others reach it, in its own notation, at most
	// MaxAddresses of at most MaxText bytes; empty if it takes no connections.
	Addresses []string

	Sender    Anonymity // what a peer can learn of who sent an envelope
	Receiver  Anonymity // what a peer can learn of who receives it
	Ordering  Ordering
	Storage   Storage
	Receipts  bool      // Receive reports what becomes of every envelope taken
	Privacy   []Privacy // what Envelope.Privacy may ask for, beside PrivacyNone
	Abilities Abilities // filled in by the package; an author leaves it zero
}

// Anonymity is what a transport claims to hide.
type Anonymity uint8

const (
	AnonymityNone    Anonymity = 0 // peers know
	AnonymityAmong   Anonymity = 1 // hidden among the peers of a node or a shard
	AnonymityNetwork Anonymity = 2 // hidden among all nodes from a local observer
	AnonymityGlobal  Anonymity = 3 // hidden even from an observer of all links
)

// Ordering is the order in which envelopes of one sender arrive.
type Ordering uint8

const (
	OrderingNone   Ordering = 0
	OrderingSender Ordering = 1 // as they were sent
)

// Storage is how long envelopes wait for a node that is away.
type Storage uint8

const (
	StorageNone Storage = 0
	StorageTTL  Storage = 1 // until their TTL is over
	StorageLong Storage = 2 // longer; see Querier
)

// Privacy is a treatment of an envelope.
type Privacy uint8

const (
	PrivacyNone  Privacy = 0
	PrivacyStem  Privacy = 1 // a random walk before it is spread
	PrivacyMix   Privacy = 2 // by mixes, at the price of latency
	PrivacyCover Privacy = 3 // among cover traffic of a steady rate
)

// Abilities say which of the optional interfaces a transport implements. The
// host never calls a method to find out.
type Abilities struct {
	Query bool // Querier
	Peers bool // Peerer
	Stats bool // Counter
	Serve bool // Server
}

// AbilitiesOf returns the abilities of t by its methods.
func AbilitiesOf(t Transport) Abilities {
	var a Abilities
	_, a.Query = t.(Querier)
	_, a.Peers = t.(Peerer)
	_, a.Stats = t.(Counter)
	_, a.Serve = t.(Server)
	return a
}

// Querier is the optional ability to ask for envelopes of the past.
type Querier interface {
	// Query returns one page. It may run several times at once.
	Query(ctx context.Context, q Query) (Page, error)
}

// Query asks for stored envelopes. A page is oldest first; whether the next page
// goes on with newer envelopes or with older ones is for who stores them to say.
type Query struct {
	Filter   Filter
	From, To time.Time // when sent, From included, To not
	Limit    int       // of the page, 1 to MaxBatch
	Cursor   []byte    // of the page before, nil for the first; at most MaxText bytes
}

// Page is an answer. A nil Cursor means that there is no more. There may be fewer
// Envelopes than were asked for, or none, and more all the same.
type Page struct {
	Envelopes []Envelope
	Cursor    []byte
}

// Server is the optional ability to answer peers that ask for envelopes of the
// past, out of the archive of this node.
type Server interface {
	// Serve is called when the node has an archive. It lets peers ask until ctx
	// is done or Close is called, and then returns; it may be called again after
	// that, but does not run twice at a time. archive may be called from any
	// goroutine while Serve runs, MaxAsks times at once. That Serve returns early
	// means that nothing is served any more, and is no fault.
	Serve(ctx context.Context, archive Archive) error
}

// Archive asks the archive of the node for a page. Beyond MaxAsks at once, and at
// a rate that is more than the node has to spare, it returns ErrBusy; bound what
// one peer may ask for, so that it cannot use up what is there for all. When ctx
// is done the node gives up the search.
type Archive func(ctx context.Context, a Ask) (Page, error)

// Ask is what a peer wants of the archive.
type Ask struct {
	Query
	Peer    string     // who asks, in the transport's own notation, at most MaxText bytes
	Address netip.Addr // from where; zero if that is not known
}

// Peerer is the optional ability to list peers.
type Peerer interface {
	// Peers returns at most MaxPeers.
	Peers(ctx context.Context) ([]Peer, error)
}

// Peer is one peer as the transport knows it.
type Peer struct {
	ID      string // in the transport's own notation, at most MaxText bytes
	Address string
	Inbound bool
}

// Counter is the optional ability to count what happens.
type Counter interface {
	// Stats returns at most MaxStats counters. It is called every 10 s. Names
	// are of a-z, 0-9 and _, end in _total for what only grows, and there are
	// no others later: the host shows the first MaxStats it sees.
	Stats(ctx context.Context) ([]Stat, error)
}

// Stat is one counter.
type Stat struct {
	Name  string
	Value float64
}
