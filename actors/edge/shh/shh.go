// Package shh is the JSON-RPC API of Whisper v6, the methods shh_* of
// go-ethereum 1.9, as an edge that stands on the transport slot. A client that
// was written for them finds the same names, parameters, results and error
// texts.
//
// It has keys of its own, which its clients make and which are forgotten when
// the node ends; it knows nothing of the identity of the node. What a client
// posts is signed, padded, encrypted and given its proof of work here, and then
// handed to the transport as a whole envelope. What the transport takes in is
// tried with the keys of the filters, away from the actor, so that a flood costs
// messages of this API and never the node.
//
// # Where it differs, and why
//
//   - Proof of work and size are checked before the mining, not after it.
//   - Mining stops when the client goes away.
//   - Every distinct key of the filters of a topic is tried once. go-ethereum may
//     miss a message if two keys are on one topic.
//   - A subscription is told at once, not every 250 ms.
//   - Filters that nobody polls end, and everything is bounded; what is dropped is
//     counted. The errors of bounds begin with "shh: ".
//   - A null is no value for a parameter, only for a field of an object, and a
//     request must say that it is JSON-RPC 2.0.
//   - The longest message can be set between 4096 bytes and what the links of the
//     node were made for, max_message_size_bytes, not from 0 to 10 MiB.
//   - shh_uninstallFilter is there, too, as in Status.
//   - A peer is trusted until its link ends or the transport starts anew.
//   - The minPow of a filter also holds for envelopes of history, whose proof of
//     work is computed for it; go-ethereum compares with zero and loses them. Where
//     a transport does not say what was hashed, they pass.
package shh

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/layers/transport"
)

// Namespace is the prefix of the methods.
const Namespace = "shh"

// version is that of the protocol, in the form the API gives it.
const version = "6.0"

// errStopping ends what waits when the node stops.
var errStopping = errors.New("shh: the node is stopping")

// API is the edge. It is made by New, put on a stack by Stand, and then opened
// and closed by it. Service and Report are safe for concurrent use.
type API struct {
	cfg      Config
	log      *slog.Logger
	keys     keys
	settings settings
	filters  *filters
	calls    calls
	inbox    inbox
	opener   opener
	watch    watch
	mining   chan struct{} // a place for each post that may mine
	counts   counts

	deriving chan struct{} // the place of the password that is worked on

	info atomic.Pointer[transport.Info] // of the transport; nil until it is ready

	mu   sync.Mutex
	life *life // nil while closed
}

// life is the time from Open to Close.
type life struct {
	ctx  context.Context
	end  context.CancelFunc
	work sync.WaitGroup
}

// New returns an API without keys or filters. The configuration must be valid.
func New(cfg Config, log *slog.Logger) *API {
	a := &API{cfg: cfg, log: log.With("edge", Namespace), mining: make(chan struct{}, cfg.Posts), deriving: make(chan struct{}, 1)}
	a.keys = newKeys(cfg.Keys)
	a.filters = newFilters(cfg, &a.counts)
	a.calls = newCalls(func(transport.Command) {})
	a.inbox = newInbox(cfg.QueueBytes)
	a.opener.api = a
	a.watch.topics = a.filters.topics
	a.watch.send = func(c transport.Command) { a.calls.send(c) } // which Stand sets
	return a
}

// Stand puts the API on the transport, which must be filled already.
func (a *API) Stand(s *actors.Stack, slot actors.Slot[transport.Command, transport.Event]) {
	top := actors.NewTop(s, Namespace)
	a.calls.send = actors.Hear(top, slot, a.hear).Send
	top.Run(a)
}

// Service returns what is to be registered in a JSON-RPC server under Namespace.
func (a *API) Service() any { return &service{a} }

// Open implements actors.Life.
func (a *API) Open() error {
	l := &life{}
	l.ctx, l.end = context.WithCancel(context.Background())
	a.mu.Lock()
	a.life = l
	a.mu.Unlock()
	a.filters.wind()
	a.watch.begin()
	l.work.Go(func() { a.openAll(l.ctx) })
	a.calls.send(transport.Attach{}) // the transport may have been ready long ago
	return nil
}

// Close implements actors.Life. Keys and polled filters stay for the next Open.
func (a *API) Close() {
	a.mu.Lock()
	l := a.life
	a.life = nil
	a.mu.Unlock()
	if l == nil {
		return
	}
	l.end()
	a.watch.end()
	l.work.Wait()
	a.filters.unwind()
}

// alive returns the present life, or errStopping.
func (a *API) alive() (*life, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.life == nil {
		return nil, errStopping
	}
	return a.life, nil
}

// begin starts work in the present life. It returns false if there is none.
func (a *API) begin(work func(context.Context)) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.life
	if l == nil {
		return false
	}
	l.work.Go(func() { work(l.ctx) })
	return true
}

// hear takes the events of the transport. It must not wait.
func (a *API) hear(e transport.Event) {
	switch e := e.(type) {
	case transport.Ready:
		if before := a.info.Swap(&e.Info); before != nil && before.Name != e.Info.Name {
			a.inbox.anew() // another transport counts its marks in its own way
		}
		a.watch.repeat()
		a.settings.repeat(a.calls.send)
		a.calls.repeat()
	case transport.Admitted:
		a.admitted(e)
	case transport.History:
		a.historic(e)
	case transport.Accepted:
		a.calls.answered(e.Ref, e)
	case transport.Relayed:
		a.calls.answered(e.Ref, e)
	case transport.Expired:
		a.calls.answered(e.Ref, e)
	case transport.Refused:
		a.calls.answered(e.Ref, e)
	case transport.Done:
		a.calls.answered(e.Ref, e)
	case transport.Described:
		a.calls.answered(e.Ref, e)
	}
}
