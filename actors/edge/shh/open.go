package shh

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	sealing "github.com/stratanode/strata/layers/envelope/whisper"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
)

// waiting is an envelope that a filter may want.
type waiting struct {
	transport.Envelope
	direct bool // sent to this node alone, perhaps long ago; the proof of work is not known
}

// itemOverhead is what an envelope takes of memory beside its bytes, about.
const itemOverhead = 256

func (w *waiting) size() int { return itemOverhead + len(w.Data) + len(w.Raw) }

// inbox is what waits to be opened.
type inbox struct {
	limit int
	fresh chan struct{}

	mu    *sync.Mutex
	items []waiting
	bytes int
	mark  uint64 // of the last Admitted
}

func newInbox(limit int) inbox {
	return inbox{limit: limit, fresh: make(chan struct{}, 1), mu: &sync.Mutex{}}
}

// put reports whether there was room.
func (q *inbox) put(w waiting) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes+w.size() > q.limit {
		return false
	}
	q.items = append(q.items, w)
	q.bytes += w.size()
	select {
	case q.fresh <- struct{}{}:
	default:
	}
	return true
}

// next takes the oldest envelope out.
func (q *inbox) next() (w waiting, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return w, false
	}
	w = q.items[0]
	q.items[0] = waiting{}
	if q.items = q.items[1:]; len(q.items) == 0 {
		q.items = nil
	}
	q.bytes -= w.size()
	return w, true
}

func (q *inbox) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

// since reports whether an Admitted is new. A Watch makes the transport repeat
// what it still holds, and a client that has just made a filter does not expect
// that; see also recent.
func (q *inbox) since(mark uint64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if mark <= q.mark {
		return false
	}
	q.mark = mark
	return true
}

func (q *inbox) anew() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mark = 0
}

// admitted takes what the transport carries. It must not wait.
func (a *API) admitted(e transport.Admitted) {
	if !a.inbox.since(e.Mark) {
		return
	}
	for _, one := range e.Envelopes {
		one.Raw = nil // its proof of work is known
		a.put(waiting{one, false})
	}
}

// historic takes what peers have sent to this node alone. It must not wait.
func (a *API) historic(e transport.History) {
	for _, one := range e.Envelopes {
		a.put(waiting{one, true})
	}
}

func (a *API) put(w waiting) {
	if a.filters.wants(w.Topic, w.direct) && !a.inbox.put(w) {
		a.counts.overflowed.Add(1)
	}
}

// openAll opens what comes until ctx ends.
func (a *API) openAll(ctx context.Context) {
	o := &a.opener
	for {
		for w, ok := a.inbox.next(); ok && ctx.Err() == nil; w, ok = a.inbox.next() {
			o.open(&w)
		}
		select {
		case <-a.inbox.fresh:
		case <-ctx.Done():
			return
		}
	}
}

// opener tries envelopes with the keys of the filters, one after the other. Only
// one goroutine uses it at a time.
type opener struct {
	api        *API
	attempt    uint64
	candidates []*filter
	scratch    []byte
	recent     recent
}

// open gives an envelope to the filters whose it is. No envelope may end the
// node: this goroutine has no supervisor that would start it again.
func (o *opener) open(w *waiting) {
	defer func() {
		if fault := recover(); fault != nil {
			o.api.counts.malformed.Add(1)
			o.api.log.Error("broke on an envelope", "hash", w.Hash, "panic", fmt.Sprint(fault))
		}
	}()
	if !w.direct && o.recent.has(w.Hash) {
		return
	}
	o.candidates = o.api.filters.candidates(o.candidates[:0], w.Topic, w.direct)
	defer func() { clear(o.candidates) }() // so that removed filters can go
	if m, to := o.match(w, o.candidates); m != nil {
		o.api.filters.deliver(m, to)
	}
}

// match tries each distinct key of the candidates once. The first that opens the
// envelope settles it: filters with another key do not match.
func (o *opener) match(w *waiting, candidates []*filter) (*Message, []*filter) {
	if len(candidates) == 0 {
		return nil, nil
	}
	pow, known := w.work()
	o.attempt++
	for i, f := range candidates {
		if f.lock.tried == o.attempt || !f.admits(pow, known) {
			continue
		}
		f.lock.tried = o.attempt
		plaintext, ok := f.lock.try(w.Data, &o.scratch)
		if !ok {
			continue
		}
		p, err := sealing.ParsePlaintext(plaintext)
		if err != nil {
			o.api.counts.malformed.Add(1)
			return nil, nil
		}
		o.api.counts.opened.Add(1)
		if !w.direct {
			o.recent.add(time.Now(), &w.Envelope)
		}
		to := slices.DeleteFunc(slices.Clone(candidates[i:]), func(c *filter) bool {
			return c.lock != f.lock || !c.admits(pow, known) || !c.from.IsZero() && c.from != p.Signer
		})
		return w.message(&p, f.lock, pow), to
	}
	return nil, nil
}

// work returns the proof of work, and whether it is known: that of an envelope of
// history is made out from its own form, if the transport has one.
func (w *waiting) work() (pow float64, known bool) {
	if !w.direct {
		return w.PoW, true
	}
	e, err := whisper.DecodeEnvelope(w.Raw)
	if err != nil {
		return 0, false
	}
	return e.PoW(0), true
}

// message is what clients get. It shares no memory with the plaintext.
func (w *waiting) message(p *sealing.Plaintext, by *lock, pow float64) *Message {
	m := &Message{
		TTL: uint32(w.TTL / time.Second), Timestamp: uint32(w.Sent.Unix()), Topic: Topic(w.Topic),
		Payload: bytes.Clone(p.Payload), Padding: bytes.Clone(p.Padding), PoW: pow, Hash: w.Hash[:],
	}
	if !p.Signer.IsZero() {
		m.Sig = p.Signer[:]
	}
	if by.aead == nil {
		public := by.private.Public()
		m.Recipient = public[:]
	}
	return m
}
