package transport

import (
	"net/netip"
	"time"

	"github.com/stratanode/strata/layers"
)

// Bounds of history.
const (
	// MaxPage is the most envelopes of one page (Status 4/WHISPER-MAILSERVER; the
	// deployed servers refuse more).
	MaxPage = 1000

	// MaxCursor is the longest cursor, in bytes. Those of Whisper have 36.
	MaxCursor = 256
)

// Query asks for one page of envelopes of the past. It is answered by any number
// of History and exactly one Queried. Whoever wants more repeats it with the
// Cursor and the Server of that, and another Ref.
type Query struct {
	Ref      layers.Ref
	From, To time.Time // when they were sent, to the second, both included; a zero To is now
	Topics   []Topic   // empty: all
	Limit    int       // of the page, up to MaxPage; zero leaves it to the transport
	Cursor   []byte    // of the page before; empty: the first
	Server   string    // one of Archives.Servers, or anything else the transport can find; empty: the best

	// Sync asks as an archive asks another one (packets 123 and 124 of Whisper).
	// It needs a Server. The envelopes that come are whole, with Raw, and only
	// those that the transport would have admitted when they were young. To a
	// transport that makes no difference it is a Query like others.
	Sync bool
}

// Cancel ends a Query early: its Queried follows with QueryCancelled.
type Cancel struct{ Ref layers.Ref }

func (Query) transportCommand()  {}
func (Cancel) transportCommand() {}

// Archives says whom history can be asked of now, the best first: at each
// change, and after every Ready if there is any.
type Archives struct{ Servers []string }

// History brings envelopes of the past. All that stand on the transport hear it,
// whoever asked. Their order has no meaning, and any of them may have come
// before. With a zero Ref a trusted peer has sent them unasked.
type History struct {
	Ref       layers.Ref
	Server    string
	Envelopes []Envelope
}

// Queried ends a Query.
type Queried struct {
	Ref    layers.Ref
	Server string // who was asked; empty if nobody could be
	Count  int    // envelopes that came
	Cursor []byte // where the next page begins; empty: there is none
	End    QueryEnd
	Reason string // what went wrong, unless End is QueryDone
}

// QueryEnd is how a Query ended.
type QueryEnd uint8

const (
	QueryDone      QueryEnd = iota
	QueryTimeout            // the server fell silent
	QueryGone               // the link to it ended
	QueryRefused            // it does not answer this: repeating it there makes no sense for now
	QueryNobody             // there is nobody to ask
	QueryCancelled          // by Cancel
)

// String returns the end in words.
func (e QueryEnd) String() string {
	return [...]string{"done", "timeout", "gone", "refused", "nobody to ask", "cancelled"}[e]
}

func (Archives) transportEvent() {}
func (History) transportEvent()  {}
func (Queried) transportEvent()  {}

// Identity implements layers.Identified: the hashes of the envelopes.
func (h History) Identity() []byte { return Received{h.Envelopes}.Identity() }

// Parts implements layers.Bundle.
func (h History) Parts() []Event {
	parts := make([]Event, len(h.Envelopes))
	for i, e := range h.Envelopes {
		parts[i] = History{h.Ref, h.Server, []Envelope{e}}
	}
	return parts
}

// Identity implements layers.Identified.
func (q Query) Identity() []byte { return q.Ref[:] }

// Identity implements layers.Identified.
func (q Queried) Identity() []byte { return q.Ref[:] }

// Watch asks for an Admitted for every envelope that is taken in from now on,
// and at once for those that the transport still holds. It is for those who
// stand beside the stack, an archive or an API, and does not touch Subscribe.
// What several of them ask for adds up, until the transport restarts; after a
// Ready it is to be repeated.
type Watch struct {
	Topics []Topic // are part of the interest that peers are told; an archive needs none on a relay
	Keeps  bool    // the sender answers with Kept: confirmations to peers wait for it
	Serves bool    // the sender answers Asked
}

// Admitted reports envelopes that were taken in, own ones included. Marks grow,
// over restarts of the transport too.
type Admitted struct {
	Mark      uint64 // of the last of them
	Envelopes []Envelope
}

// Kept says that every envelope admitted up to Mark is durable. Only then does
// the transport tell the peers that sent them that they have arrived.
type Kept struct{ Mark uint64 }

// Asked reports that a peer asks for history. It comes only to those who serve,
// and is answered by pages, one at a time, until one is the last.
type Asked struct {
	Ask      uint64     // tells it from others, over restarts of the transport too
	Peer     string     // who asks; it may cost nothing to be somebody else
	Address  netip.Addr // from where; zero if the transport does not know
	From, To time.Time  // when they were sent, to the second, both included
	Topics   []Topic    // empty: all
	Bloom    *[64]byte  // as well; nil: all (EIP-627 §Bloom filter)
	Limit    int        // at most, 1 to MaxPage
	Cursor   []byte     // of an earlier page; empty: the first
	Sync     bool       // a mail server asks for its own archive
}

// Page answers an Asked in part. After one that is not the last a Taken says when
// the next is wanted.
type Page struct {
	Ask       uint64
	Envelopes []Envelope // with Raw where the transport had given one
	Last      bool
	Cursor    []byte // with Last: where the next page begins; empty: there is nothing more
	Failure   string // with Last: why nothing more comes; it is told the peer
}

// Taken says that the peer has taken a Page.
type Taken struct{ Ask uint64 }

// Abandoned says that the peer that asked is gone. No Page is wanted any more.
type Abandoned struct{ Ask uint64 }

func (Watch) transportCommand() {}
func (Kept) transportCommand()  {}
func (Page) transportCommand()  {}

func (Admitted) transportEvent()  {}
func (Asked) transportEvent()     {}
func (Taken) transportEvent()     {}
func (Abandoned) transportEvent() {}

// Identity implements layers.Identified: the hashes of the envelopes.
func (a Admitted) Identity() []byte { return Received{a.Envelopes}.Identity() }

// Parts implements layers.Bundle.
func (a Admitted) Parts() []Event {
	parts := make([]Event, len(a.Envelopes))
	for i, e := range a.Envelopes {
		parts[i] = Admitted{a.Mark, []Envelope{e}}
	}
	return parts
}
