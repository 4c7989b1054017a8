package transport

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

const (
	// maxInFlight is how many envelopes may wait for their results. Beyond it
	// Publish returns ErrBusy, whatever credits the plugin claims to give.
	maxInFlight = 4096

	// maxCredits is how many credits count; more than that is for ever.
	maxCredits = 1 << 30

	// maxTaken is for how many envelopes a receipt is believed: the latest.
	maxTaken = 1 << 16
)

// offer is an envelope that waits for a credit.
type offer struct {
	envelope Envelope
	call     *call
}

// answer is where the result of an envelope goes.
type answer struct {
	call  *call
	index int
	sent  bool
	final bool // its receipt has overtaken the result
}

// call is a Publish that waits.
type call struct {
	errs []error // by index of the batch, nil if everything was taken
	size int
	left int           // how many have no result yet
	done chan struct{} // closed when left is 0
	gone bool          // nobody waits any more
}

func (c *call) set(index int, err error) {
	if err != nil {
		if c.errs == nil {
			c.errs = make([]error, c.size)
		}
		c.errs[index] = err
	}
	if c.left--; c.left == 0 {
		close(c.done)
	}
}

// Publish implements Transport, and may run several times at once. What the
// plugin does not take for want of credits until ctx is done, or CallTimeout is
// over, is ErrBusy; what it took and did not answer is the error of ctx, or a
// Breach.
func (r *Remote) Publish(ctx context.Context, batch []Envelope) []error {
	if len(batch) == 0 {
		return nil
	}
	c := &call{size: len(batch), left: len(batch), done: make(chan struct{})}
	if err := r.offer(batch, c); err != nil {
		return all(err, len(batch))
	}
	nudge(r.wake)
	ctx, cancel := r.deadline(ctx, CallTimeout)
	defer cancel()
	select {
	case <-c.done:
		return c.errs
	case <-r.broken:
		return r.abandon(c, r.Err(), r.Err())
	case <-ctx.Done():
	}
	err := fmt.Errorf("transport: Publish: %w", ctx.Err())
	late := errors.Is(context.Cause(ctx), errLate)
	if broken := r.Err(); broken != nil {
		return r.abandon(c, broken, broken)
	}
	if late && r.unanswered(c) {
		err = r.fail(breach(RuleDeadlineMissed, "Publish: %v", errLate))
	} else if !r.NoTimeouts { // nobody waits, but the plugin still has to answer
		time.AfterFunc(r.timeout(CallTimeout), func() {
			if r.unanswered(c) {
				r.fail(breach(RuleDeadlineMissed, "Publish: %v", errLate))
			}
		})
	}
	return r.abandon(c, err, &Error{Code: CodeBusy, Reason: "the plugin gave no credits"})
}

func all(err error, n int) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// offer queues what is good in a batch and answers what is not. An error is one
// for the whole batch.
func (r *Remote) offer(batch []Envelope, c *call) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.err != nil:
		return r.err
	case r.state != opened:
		return errNotOpen
	case len(batch) > MaxBatch:
		return Invalid("batch", "%d envelopes, at most %d are allowed", len(batch), MaxBatch)
	case len(r.flight)+len(batch) > maxInFlight:
		return &Error{Code: CodeBusy, Reason: "too many envelopes wait for the plugin"}
	}
	for i := range batch {
		e := &batch[i]
		if err := r.refuse(e); err != nil {
			c.set(i, err)
			continue
		}
		r.flight[e.ID] = answer{call: c, index: i}
		r.queue = append(r.queue, offer{*e, c})
	}
	return nil
}

// refuse says why an envelope cannot be published, if so.
func (r *Remote) refuse(e *Envelope) error {
	_, again := r.flight[e.ID]
	switch {
	case again:
		return Invalid("id", "%d is under way", e.ID)
	case len(e.Data) < 1:
		return Invalid("data", "empty")
	case len(e.Data) > r.info.MaxData:
		return &Error{CodeTooLarge, "data", fmt.Sprintf("%d bytes, at most %d are allowed", len(e.Data), r.info.MaxData)}
	case e.TTL < time.Second || e.TTL > r.info.MaxTTL || e.TTL%time.Second != 0:
		return Invalid("ttl", "%v is not 1 s to %v in whole seconds", e.TTL, r.info.MaxTTL)
	case !r.info.offers(uint32(e.Privacy)):
		return &Error{CodeUnsupported, "privacy", "not offered by the transport"}
	}
	return nil
}

// unanswered reports whether the plugin has something of c and did not answer.
func (r *Remote) unanswered(c *call) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.left == 0 {
		return false
	}
	for _, a := range r.flight {
		if a.call == c && a.sent {
			return true
		}
	}
	return false
}

// abandon ends a call: what was sent and not answered gets the first error, what
// was not sent the second.
func (r *Remote) abandon(c *call, sent, unsent error) []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.left == 0 {
		return c.errs
	}
	errs := make([]error, c.size)
	copy(errs, c.errs)
	for id, a := range r.flight {
		if a.call != c {
			continue
		}
		errs[a.index] = sent
		if !a.sent {
			errs[a.index] = unsent
			delete(r.flight, id)
			c.left--
		}
	}
	c.gone = true
	kept := r.queue[:0]
	for _, o := range r.queue {
		if o.call != c {
			kept = append(kept, o)
		}
	}
	clear(r.queue[len(kept):])
	r.queue = kept
	return errs
}

// take returns what may be sent now, at most one frame of it.
func (r *Remote) take() []Envelope {
	max := int(min(uint64(len(r.queue)), r.credits, MaxBatch))
	if max == 0 {
		return nil
	}
	es := make([]Envelope, max)
	for i := range es {
		es[i] = r.queue[i].envelope
	}
	n := fitting(es, max)
	for i := range n {
		a := r.flight[es[i].ID]
		a.sent = true
		r.flight[es[i].ID] = a
	}
	r.credits -= uint64(n)
	clear(r.queue[:n]) // do not hold on to the data
	if r.queue = r.queue[n:]; len(r.queue) == 0 {
		r.queue = nil
	}
	return es[:n]
}

// settle hands results to those who wait.
func (r *Remote) settle(results []*transportpb.Result) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range results {
		a, ok := r.flight[w.Id]
		if !ok || !a.sent {
			return breach(RuleResultUnknown, "id %d was not given to the plugin, or is answered", w.Id)
		}
		delete(r.flight, w.Id)
		err := r.fromError(w.Error)
		if err == nil && r.info.Receipts && !a.final {
			r.taken.add(w.Id)
		}
		a.call.set(a.index, err)
	}
	r.useful(2 * len(results))
	return nil
}

// ring remembers the latest maxTaken ids.
type ring struct {
	ids  []uint64
	next int
	has  map[uint64]struct{}
}

func (g *ring) add(id uint64) {
	if g.has == nil {
		g.has = make(map[uint64]struct{})
	}
	if len(g.ids) < maxTaken {
		g.ids = append(g.ids, id)
	} else {
		delete(g.has, g.ids[g.next])
		g.ids[g.next] = id
		g.next = (g.next + 1) % maxTaken
	}
	g.has[id] = struct{}{}
}

// remove reports whether id was there.
func (g *ring) remove(id uint64) bool {
	_, ok := g.has[id]
	delete(g.has, id)
	return ok
}
