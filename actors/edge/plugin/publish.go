package plugin

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/transport"
)

const (
	// maxPublications bounds the publications that are not answered, in count.
	maxPublications = 1 << 16

	// maxBatchBytes bounds the data of a batch; a single envelope may have as
	// much.
	maxBatchBytes = transport.MaxEnvelope

	// firstRetry and lastRetry are how long an envelope waits that the transport
	// had no room for; the wait doubles in between.
	firstRetry = 50 * time.Millisecond
	lastRetry  = 2 * time.Second
)

// publish takes a command. mu is held.
func (e *Edge) publish(c slot.Publish) {
	if p := e.box.byRef[c.Ref]; p != nil {
		if p.state == carried {
			e.up.Send(slot.Accepted{Ref: p.ref, Hash: p.hash})
		}
		return
	}
	past := e.home.past.of(c.Ref)
	if past.relayed { // the answer and the repetition have crossed
		e.up.Send(slot.Relayed{Ref: c.Ref, Hash: past.hash})
		return
	}
	if reason := e.objection(c, past); reason != "" {
		e.home.count.answers[refused].Add(1)
		e.up.Send(slot.Refused{Ref: c.Ref, Reason: e.home.name + ": " + reason})
		return
	}
	now := time.Now()
	ttl := e.ttl(c.TTL)
	p := &publication{
		ref:   c.Ref,
		hash:  hashOf(c.Topic, c.Data),
		until: now.Add(ttl),
		size:  len(c.Data) + costOfEnvelope,
		envelope: transport.Envelope{
			Topic: transport.Topic(c.Topic), Data: c.Data, Sent: now.UTC().Truncate(time.Second), TTL: ttl,
		},
		suspect: past.breaks > 0,
	}
	e.home.own.add(p.hash, now)
	e.home.count.published.Add(1)
	e.box.add(p)
}

// objection returns why an envelope is not offered to the transport.
func (e *Edge) objection(c slot.Publish, past record) string {
	size := len(c.Data)
	switch {
	case len(c.Raw) > 0:
		return "a plugin takes no envelopes in the form of another transport"
	case past.breaks >= maxBreaks:
		return "the transport broke on it twice"
	case past.carried >= maxCarried:
		return fmt.Sprintf("the transport broke %d times while it carried it", maxCarried)
	case size == 0:
		return "data is empty"
	case size > e.info.MaxData:
		return fmt.Sprintf("data of %d bytes is longer than %d", size, e.info.MaxData)
	case c.TTL < 0:
		return fmt.Sprintf("time to live of %v is negative", c.TTL)
	case len(e.box.byRef) >= maxPublications:
		return fmt.Sprintf("%d publications are unanswered already", len(e.box.byRef))
	case e.box.unsent+size+costOfEnvelope > e.cfg.MaxUnsent:
		return fmt.Sprintf("%d bytes wait for the transport already (max_unsent_bytes)", e.box.unsent)
	}
	return ""
}

// ttl clamps a time to live, in whole seconds.
func (e *Edge) ttl(d time.Duration) time.Duration {
	if d == 0 {
		d = e.cfg.TTL
	}
	d = max(e.minTTL(), min(d, e.info.MaxTTL))
	return min((d + time.Second - 1).Truncate(time.Second), e.info.MaxTTL)
}

func hashOf(t slot.Topic, data []byte) slot.Hash {
	h := sha256.New()
	h.Write(t[:])
	h.Write(data)
	return slot.Hash(h.Sum(nil))
}

// publisher hands batches to the transport, one call at a time.
func (e *Edge) publisher() {
	var (
		batch   []*publication
		results []*transport.Error
		broken  error
	)
	for {
		e.mu.Lock()
		batch = e.next(batch[:0])
		e.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		// A fresh slice each time: a transport that is compiled in may keep it.
		envelopes := make([]transport.Envelope, len(batch))
		for i, p := range batch {
			envelopes[i] = p.envelope
		}
		err := e.call("Publish", publishLimit, func(ctx context.Context) error {
			results, broken = e.results(results[:0], e.running.Publish(ctx, envelopes), len(batch))
			return nil
		})
		if err != nil {
			return
		}
		e.mu.Lock()
		e.offered(batch, results, broken != nil)
		e.mu.Unlock()
		if broken != nil {
			e.fail(fmt.Errorf("Publish: %w", broken))
			return
		}
	}
}

// next waits for a batch; none means that the life is over. A suspect goes
// alone, with nothing beside it. mu is held.
func (e *Edge) next(batch []*publication) []*publication {
	b := &e.box
	for !e.over {
		switch {
		case b.alone:
		case len(b.suspects) > 0:
			if b.calls == 0 {
				batch = e.gather(batch, &b.suspects, 1)
				b.alone = len(batch) > 0
			}
		default:
			batch = e.gather(batch, &b.queue, transport.MaxBatch)
		}
		if len(batch) > 0 {
			b.calls++
			return batch
		}
		if len(b.suspects) == 0 && len(b.queue) == 0 || b.calls > 0 {
			b.more.Wait()
		}
	}
	return nil
}

// gather takes what is not over from a queue. mu is held.
func (e *Edge) gather(batch []*publication, q *fifo, most int) []*publication {
	now, bytes := time.Now(), 0
	for len(*q) > 0 && len(batch) < most {
		p := (*q)[0]
		if len(batch) > 0 && bytes+len(p.envelope.Data) > maxBatchBytes {
			break
		}
		q.pop()
		if !now.Before(p.until) {
			e.answer(p, slot.Expired{Ref: p.ref})
			continue
		}
		bytes += len(p.envelope.Data)
		p.state = offered
		batch = append(batch, p)
	}
	return batch
}

// due is called when the first of the delayed publications is due.
func (e *Edge) due() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return
	}
	now := time.Now()
	for p := e.box.due(now); p != nil; p = e.box.due(now) {
		if p.state == delayed && now.Before(p.until) {
			e.box.enqueue(p)
			continue
		}
		e.answer(p, slot.Expired{Ref: p.ref})
	}
	e.box.rearm()
}

// blame remembers, for the lives to come, what the transport broke on: what was
// offered and not answered. mu is held.
func (e *Edge) blame() {
	for ref, p := range e.box.byRef {
		switch p.state {
		case offered:
			e.home.past.broke(ref)
		case carried:
			e.home.past.lost(ref)
		}
	}
}
