package plugin

import (
	"errors"
	"time"

	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/transport"
)

// receiptGrace is how long after its TTL and the latency an envelope waits for
// the receipt that was promised.
const receiptGrace = 5 * time.Second

// results appends to typed what the transport said of the first n envelopes. It
// also returns an error if the transport is closed, or the way to it cut: then
// only what was taken is known. What the process of a transport answers is
// always an *Error.
func (e *Edge) results(typed []*transport.Error, raw []error, n int) ([]*transport.Error, error) {
	var broken error
	for _, err := range raw[:min(len(raw), n)] {
		t := typedError(err)
		typed = append(typed, t)
		if t != nil && (t.Code == transport.CodeClosed || t.Code == untyped && apart(e.running)) {
			broken = errors.New(words(err))
		}
		if t != nil && t.Code == untyped {
			t.Code = transport.CodeInternal
		}
	}
	if isBroken(e.running) && broken == nil {
		broken = errors.New("the transport is gone")
	}
	return typed, broken
}

// offered takes the results of a batch. If the transport broke, the errors among
// them are no answers, and what they are about is left for the next life. mu is
// held.
func (e *Edge) offered(batch []*publication, results []*transport.Error, broken bool) {
	e.box.calls--
	e.box.alone = false
	e.box.more.Broadcast()
	if e.over {
		return
	}
	now := time.Now()
	defer e.admitOwn()
	for i, p := range batch {
		var bad *transport.Error
		if i < len(results) {
			bad = results[i]
		}
		if !broken || bad == nil {
			e.result(now, p, bad)
		}
	}
}

// result takes what came of offering one envelope. mu is held.
func (e *Edge) result(now time.Time, p *publication, bad *transport.Error) {
	if p.suspect {
		p.suspect = false
		e.home.past.acquit(p.ref)
	}
	switch {
	case bad == nil:
		e.taken(p)
	case bad.Code == transport.CodeExpired, !now.Before(p.until):
		e.answer(p, slot.Expired{Ref: p.ref})
	case bad.Code == transport.CodeBusy, bad.Code == transport.CodeUnavailable:
		wait := min(firstRetry<<min(p.tries, 16), lastRetry)
		p.tries++
		p.state = delayed
		e.home.count.retried.Add(1)
		e.box.schedule(p, now.Add(min(wait, p.until.Sub(now))))
	default:
		e.answer(p, slot.Refused{Ref: p.ref, Reason: e.home.name + ": " + bad.Error()})
	}
}

// taken notes that the transport carries an envelope. mu is held.
func (e *Edge) taken(p *publication) {
	p.state = carried
	if e.watching() {
		e.box.admit = append(e.box.admit, slot.Envelope{
			Hash: p.hash, Topic: slot.Topic(p.envelope.Topic), Data: p.envelope.Data, Sent: p.envelope.Sent, TTL: p.envelope.TTL,
		})
	}
	p.envelope.Data = nil
	e.box.unsent -= p.size
	e.up.Send(slot.Accepted{Ref: p.ref, Hash: p.hash})
	switch {
	case !e.info.Receipts:
		e.answer(p, slot.Relayed{Ref: p.ref, Hash: p.hash})
	case p.early != nil && e.receipt(*p.early):
	default:
		e.box.schedule(p, p.until.Add(e.info.Latency+receiptGrace))
	}
}

// admitOwn reports what has been taken to those who watch. It needs no credit:
// the publications that are not answered are bounded. mu is held.
func (e *Edge) admitOwn() {
	if len(e.box.admit) > 0 {
		e.up.Send(e.admitted(e.box.admit))
		e.box.admit = nil
	}
}

// receipt takes the final word on an envelope, and reports whether it was
// waited for. mu is held.
func (e *Edge) receipt(r transport.Receipt) bool {
	p := e.box.byID[r.ID]
	if p == nil || !e.info.Receipts {
		return false
	}
	if p.state == offered { // it has overtaken the result
		first := p.early == nil
		if first {
			early := r // only this one is worth memory
			p.early = &early
		}
		return first
	}
	if p.state != carried {
		return false
	}
	switch r.Outcome {
	case transport.OutcomeRelayed:
		e.answer(p, slot.Relayed{Ref: p.ref, Hash: p.hash})
	case transport.OutcomeExpired:
		e.answer(p, slot.Expired{Ref: p.ref})
	case transport.OutcomeFailed:
		e.answer(p, slot.Refused{Ref: p.ref, Reason: e.home.name + ": " + clean(r.Reason)})
	default:
		return false
	}
	return true
}

// answer reports the final event of a publication. mu is held.
func (e *Edge) answer(p *publication, final slot.Event) {
	e.box.remove(p)
	switch final.(type) {
	case slot.Relayed:
		e.home.count.answers[relayed].Add(1)
		e.home.past.remember(p.ref, p.hash)
	case slot.Expired:
		e.home.count.answers[expired].Add(1)
		e.home.past.forget(p.ref)
	case slot.Refused:
		e.home.count.answers[refused].Add(1)
		e.home.past.forget(p.ref)
	}
	e.up.Send(final)
}
