// Package transport is what the author of a transport imports: the contract of
// a transport, and Serve, which turns an implementation into a plugin process.
//
// A transport carries opaque envelopes by topic, to nobody in particular. It
// sees topics and ciphertext, never a key, an identity or a plaintext, and
// everything above it is built to live with a transport that loses, delays,
// reorders and repeats. It may therefore be simple: plugins/udp is one in 150
// lines.
//
// The package imports nothing else of Strata.
package transport

import (
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"time"
)

// Transport is what an author implements. The host is the node, by way of
// Serve or, for a transport that is compiled in, directly.
//
// The host calls Open once, first, and Close once, last, also after an Open
// that failed; a transport is never opened again. Between them it calls
// Subscribe and Publish from one goroutine each, Receive from a third, and the
// methods of the abilities from others: Subscribe, Publish and Receive may run
// at the same time, but no method runs twice at a time except Query.
//
// Every call but Receive and Serve has a deadline in its context: Open 10 s, Subscribe
// 5 s, Publish 5 s, Close 2 s, Query 30 s, Peers and Stats 2 s. A transport that
// misses one is taken for broken: its process is killed and started again. An
// error that is not an *Error counts as one with CodeInternal. A panic ends the
// process.
type Transport interface {
	// Open starts the transport with the settings of the node's configuration
	// file and says what it is. It returns when Publish may be called; it need
	// not wait for peers. A fault of the settings is an *Error with CodeInvalid
	// whose Field names the setting: the node reports it and does not retry.
	Open(ctx context.Context, o Options) (Info, error)

	// Subscribe sets the envelopes to be received from now on. It is the whole
	// set and replaces the one before. A transport may deliver more than was
	// asked for (the host drops it, and counts it) but never less. There are at
	// most MaxTopics topics. Subscribe should return at once.
	Subscribe(ctx context.Context, f Filter) error

	// Publish takes charge of a batch of 1 to MaxBatch envelopes, none longer
	// than Info.MaxData, and says of each by its index what came of it: nil if
	// it was taken, or why not. Taken means that the transport will offer it to
	// the network until its TTL is over; it need not have been sent. Publish
	// should not wait for the network: return ErrBusy for what does not fit
	// into the queue, and the host tries again.
	//
	// A returned slice shorter than the batch means nil for the rest, so a
	// transport that took everything returns nil. The host does not change the
	// envelopes afterwards, and the transport must not either.
	Publish(ctx context.Context, batch []Envelope) []error

	// Receive waits until there is something to report and returns it. The host
	// calls it again when it has room for more, so what arrives meanwhile is to
	// be kept in a bounded queue and dropped, with a counter, beyond. After
	// Close, or when ctx is done, it returns an error; any error before that
	// means that the transport is broken.
	//
	// The transport must not change what it returned.
	Receive(ctx context.Context) (Report, error)

	// Close frees everything: sockets, files, goroutines.
	Close(ctx context.Context) error
}

// Limits of the contract. The host refuses what is beyond, and a transport may
// rely on them.
const (
	MaxTopics   = 1 << 14 // topics in a Filter
	MaxBatch    = 256     // envelopes in a Publish or a Report
	MaxEnvelope = 1 << 20 // bytes of Data, whatever Info.MaxData says
	MaxText     = 256     // bytes of a name, label or reason; longer ones are cut
	MaxConfig   = 1 << 16 // bytes of Options.Config
	MaxStats    = 64      // counters
	MaxPeers    = 1024    // peers in a list
	MaxAsks     = 16      // calls of Archive at once

	MaxAddresses = 16 // of Info
)

// Topic says roughly what an envelope is about. Many conversations share one.
type Topic [4]byte

// String returns the topic in hex, without 0x.
func (t Topic) String() string { return hex.EncodeToString(t[:]) }

// Filter says which envelopes to receive.
type Filter struct {
	Topics []Topic
	All    bool // every topic, whatever Topics says; a bridge or an archive asks for it
}

// Envelope is what a transport carries. All of it travels, but for ID.
type Envelope struct {
	// ID is chosen by the host, unique in the life of the transport, and names
	// the envelope in a Receipt. It means nothing in a Report.
	ID uint64

	Topic Topic
	Data  []byte // opaque, 1 to Info.MaxData bytes

	// Sent is when the sender sent it, to the second, UTC. The host drops a
	// received envelope that says it was sent more than 20 s in the future.
	Sent time.Time

	// TTL is how long from Sent it is worth carrying, in whole seconds from 1 s
	// to Info.MaxTTL. A transport drops an envelope that is older.
	TTL time.Duration

	// Privacy asks for special treatment. It is not PrivacyNone only if Info
	// offered it. It need not travel.
	Privacy Privacy
}

// Expiry returns when the envelope is no longer worth carrying.
func (e Envelope) Expiry() time.Time { return e.Sent.Add(e.TTL) }

// Report is what a transport tells the host at once. Each part may be empty,
// but not all of them.
type Report struct {
	// Envelopes arrived from the network, at most MaxBatch. They should not
	// contain what this node published itself, nor what was reported before
	// (the host drops both, and counts them).
	Envelopes []Envelope

	// Receipts say what became of envelopes that were taken, if Info.Receipts.
	Receipts []Receipt

	// Peers is the number of peers that take envelopes from this node, if it
	// has changed; nil if not.
	Peers *int
}

// Receipt is the final word on an envelope that was taken. It is a hint: the
// node believes only the recipient's acknowledgement.
type Receipt struct {
	ID      uint64
	Outcome Outcome
	Reason  string // for OutcomeFailed; at most MaxText bytes
}

// Outcome is what became of an envelope.
type Outcome uint8

const (
	OutcomeRelayed Outcome = 1 // a peer has taken it
	OutcomeExpired Outcome = 2 // no peer took it in its time to live
	OutcomeFailed  Outcome = 3 // it will not be carried, for the Reason
)

// Options are what the host gives to a transport.
type Options struct {
	// Config is the JSON form of "settings.config" in the configuration file;
	// "{}" if there is none. Refuse keys that you do not know.
	Config []byte

	// Dir is a folder of the transport's own, which stays over restarts. It is
	// the only place where a confined plugin may write.
	Dir string

	// Log goes to the node's log, under the transport's name, up to a rate.
	Log *slog.Logger

	// Now and Rand are the clock and the randomness. A transport that uses no
	// other can be run in virtual time and repeated.
	Now  func() time.Time
	Rand io.Reader
}
