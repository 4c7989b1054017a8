package transport

import (
	"context"
	"fmt"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

// maxReceipts is how many receipts wait for Receive. More than that are dropped:
// they are hints.
const maxReceipts = 4096

// Receive implements Transport. It may run several times at once. The plugin may
// report more as Receive takes what was reported: a host that does not call it
// stops the plugin. The deadline of ctx is the only one.
func (r *Remote) Receive(ctx context.Context) (Report, error) {
	for {
		if report, ok, err := r.next(); ok || err != nil {
			return report, err
		}
		select {
		case <-ctx.Done():
			return Report{}, fmt.Errorf("transport: Receive: %w", ctx.Err())
		case <-r.broken:
		case <-r.ready:
		}
	}
}

// next takes what was reported, if anything.
func (r *Remote) next() (Report, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return Report{}, false, r.err
	}
	if r.state != opened {
		return Report{}, false, errNotOpen
	}
	n := min(len(r.envelopes), MaxBatch)
	report := Report{Receipts: r.receipts, Peers: r.peers}
	r.receipts, r.peers = nil, nil
	if n > 0 {
		report.Envelopes = r.envelopes[:n:n]
		if r.envelopes = r.envelopes[n:]; len(r.envelopes) == 0 {
			r.envelopes = nil
		}
		r.giveBack(n)
	}
	if len(r.envelopes) > 0 {
		nudge(r.ready) // for another Receive
	}
	return report, n > 0 || report.Receipts != nil || report.Peers != nil, nil
}

// giveBack grants n credits, but not each alone. Never later than when a quarter
// of the window is owed, so the plugin never waits for credits that nobody will
// give.
func (r *Remote) giveBack(n int) {
	if r.owed += n; r.owed >= window(r.info.MaxData)/4 || r.held == 0 {
		r.grant += r.owed
		r.owed = 0
		nudge(r.wake)
	}
}

// arrived queues envelopes for Receive.
func (r *Remote) arrived(ws []*transportpb.Envelope) error {
	if len(ws) < 1 || len(ws) > MaxBatch {
		return breach(RuleBatchSize, "%d envelopes are not 1 to %d", len(ws), MaxBatch)
	}
	es, err := r.fromEnvelopes(ws)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held -= len(ws); r.held < 0 {
		return breach(RuleCreditOverdrawn, "%d envelopes more than it may report", -r.held)
	}
	r.giveBack(len(ws) - len(es)) // nobody will take what was dropped
	r.envelopes = append(r.envelopes, es...)
	r.useful(len(ws))
	nudge(r.ready)
	return nil
}

// confirmed queues receipts for Receive.
func (r *Remote) confirmed(ws []*transportpb.Receipt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range ws {
		known := w.Outcome >= uint32(OutcomeRelayed) && w.Outcome <= uint32(OutcomeFailed)
		switch {
		case !known || !r.expected(w.Id):
			r.counts.receipts.Add(1)
		case len(r.receipts) >= maxReceipts:
			r.counts.late.Add(1)
		default:
			r.receipts = append(r.receipts, Receipt{w.Id, Outcome(w.Outcome), r.clean(w.Reason, MaxText)})
		}
	}
	if len(r.receipts) > 0 {
		nudge(r.ready)
	}
}

// expected reports whether a receipt for id may come, and that only once. It may
// overtake the result: a transport that is quick has sent an envelope before its
// Publish returns. mu is held.
func (r *Remote) expected(id uint64) bool {
	if a, ok := r.flight[id]; ok && a.sent && !a.final {
		a.final = true
		r.flight[id] = a
		return true
	}
	return r.taken.remove(id)
}

// counted keeps the latest number of peers for Receive.
func (r *Remote) counted(n uint32) {
	if n > maxPeerCount {
		n = maxPeerCount
		r.counts.peers.Add(1)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	peers := int(n)
	r.peers = &peers
	nudge(r.ready)
}
