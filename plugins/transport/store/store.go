// Package store is the part that most transports have in common: it keeps
// envelopes until their TTL is over, knows repetitions, and hands each that is
// subscribed to, once, to the host. A transport embeds a Store for Subscribe,
// Receive and Stats, and has only to move datagrams; plugins/udp does.
//
// A Store has no goroutine and no timer, and reads no clock but the one it is
// given.
package store

import (
	"context"
	"sync"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// MaxFuture is how long after now an envelope may say that it was sent. The
// host would drop it, and a later one would stay for too long.
const MaxFuture = 20 * time.Second

// Limits bound what a Store keeps. What comes from the network may fill half
// of it, so that a flood from outside does not silence the node.
type Limits struct {
	Data      int           // bytes of one envelope's Data
	TTL       time.Duration // longest time to live
	Envelopes int           // envelopes kept
	Bytes     int           // bytes of Data of all envelopes kept
}

// Store keeps envelopes. Its methods may be called at the same time. New makes
// one.
type Store struct {
	limits Limits
	now    func() time.Time
	wake   chan struct{} // something is ready for Receive
	done   chan struct{} // closed by Close

	mu     sync.Mutex
	held   map[Key]*entry
	oldest byExpiry // the same entries
	bytes  int      // of their Data
	filter transport.Filter
	topics map[transport.Topic]bool
	ready  []*entry // wanted by the host, not yet handed over
	behind bool     // ready was full: some wanted entries are not in it
	peers  int
	news   bool // the host has not heard of peers
	count  counts
}

type entry struct {
	transport.Envelope
	key   Key
	taken bool // handed over, about to be, or published by the host itself
}

// New returns an empty Store. Now is Options.Now.
func New(now func() time.Time, l Limits) *Store {
	return &Store{
		limits: l, now: now,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
		held: map[Key]*entry{},
	}
}

// Add keeps an envelope until its TTL is over. Own says that it comes from
// Publish, and not from the network: it is never handed to the host, and may
// fill the whole Store.
//
// It returns the envelope's key and whether it is new. It refuses, with an
// error as Publish returns it, what is too large, too old, too long-lived or
// from the future, and what does not fit in now. The Store keeps e.Data, which
// must not be changed afterwards.
func (s *Store) Add(e transport.Envelope, own bool) (k Key, fresh bool, err error) {
	now := s.now()
	switch {
	case len(e.Data) > s.limits.Data:
		return k, false, transport.ErrTooLarge
	case len(e.Data) == 0:
		return k, false, transport.Invalid("data", "empty")
	case e.TTL < time.Second || e.TTL > s.limits.TTL:
		return k, false, transport.Invalid("ttl", "%v is not in 1s to %v", e.TTL, s.limits.TTL)
	case e.Sent.Sub(now) > MaxFuture:
		return k, false, transport.Invalid("sent", "more than %v in the future", MaxFuture)
	case !now.Before(e.Expiry()):
		return k, false, transport.ErrExpired
	}
	k = KeyOf(e)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	if s.held[k] != nil {
		s.count.repeated++
		return k, false, nil
	}
	envelopes, bytes := s.limits.Envelopes, s.limits.Bytes
	if !own {
		envelopes, bytes = envelopes/2, bytes/2
	}
	if len(s.held) >= envelopes || s.bytes+len(e.Data) > bytes {
		s.count.refused++
		return k, false, transport.ErrBusy
	}
	s.keep(&entry{Envelope: e, key: k, taken: own})
	return k, true, nil
}

// Holds reports whether the envelope of a key is kept and its TTL not over.
func (s *Store) Holds(k Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.held[k]
	return e != nil && s.now().Before(e.Expiry())
}

// Subscribe is Transport.Subscribe. What is kept and becomes wanted is handed
// over too.
func (s *Store) Subscribe(_ context.Context, f transport.Filter) error {
	topics := make(map[transport.Topic]bool, len(f.Topics))
	for _, t := range f.Topics {
		topics[t] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.filter, s.topics = f, topics
	s.behind = true
	s.signal()
	return nil
}

// SetPeers reports the number of peers with the next Receive, if it changed.
func (s *Store) SetPeers(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n != s.peers || n == 0 {
		s.peers, s.news = n, true
		s.signal()
	}
}

// Close ends Receive. It is called once.
func (s *Store) Close() { close(s.done) }

// Receive is Transport.Receive.
func (s *Store) Receive(ctx context.Context) (transport.Report, error) {
	for {
		if ctx.Err() != nil {
			return transport.Report{}, ctx.Err()
		}
		select {
		case <-s.done:
			return transport.Report{}, transport.ErrClosed
		default:
		}
		if r, ok := s.report(); ok {
			return r, nil
		}
		select {
		case <-s.wake:
		case <-s.done:
		case <-ctx.Done():
		}
	}
}

// report takes what is ready out of the Store.
func (s *Store) report() (r transport.Report, ok bool) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	if s.behind && len(s.ready) == 0 {
		s.catchUp()
	}
	n := min(len(s.ready), transport.MaxBatch)
	for _, e := range s.ready[:n] {
		if now.Before(e.Expiry()) {
			r.Envelopes = append(r.Envelopes, e.Envelope)
		} else {
			s.count.expired++
		}
	}
	if s.ready = s.ready[n:]; len(s.ready) == 0 {
		s.ready = nil // frees what was handed over
	}
	if s.news {
		peers := s.peers
		r.Peers, s.news = &peers, false
	}
	if len(s.ready) > 0 || s.behind {
		s.signal()
	}
	s.count.received += len(r.Envelopes)
	return r, r.Envelopes != nil || r.Peers != nil
}
