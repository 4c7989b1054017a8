package plugin

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/stratanode/strata/actors"
	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/transport"
)

const (
	// skew is how far the clocks of nodes may be apart, as in Whisper.
	skew = 20 * time.Second

	// maxReceipts bounds what is looked at of the receipts in one report.
	maxReceipts = 1 << 12

	// bundleBytes is how much goes up in one event. A bundle is one step of the
	// layers above.
	bundleBytes = 1 << 20

	// uselessRate bounds the reports with nothing of use in them, per second, so
	// that they cost little time of a processor.
	uselessRate  = 1000
	uselessBurst = 2000
)

// drop is why a received envelope is dropped.
type drop int

const (
	dropForeign  drop = iota // of a topic that nobody subscribed to
	dropSize                 // empty, or longer than Info.MaxData
	dropTTL                  // below 1 s or above Info.MaxTTL
	dropExpired              // too old
	dropFuture               // says that it was sent later than now
	dropOwn                  // published by this node
	dropReplayed             // received before
	dropBeyond               // more envelopes in a report than MaxBatch
	dropUnasked              // history that was not asked for
	drops
)

var dropNames = [drops]string{"foreign_topic", "size", "ttl", "expired", "future", "own", "replayed", "beyond_batch", "unasked"}

// receiver asks the transport for reports, one at a time, and for the next only
// when there is room in the node for what came in the one before.
func (e *Edge) receiver() {
	useless := rate.NewLimiter(uselessRate, uselessBurst)
	watch := conduct{since: time.Now()}
	for {
		var (
			report transport.Report
			text   string
		)
		err := guarded("Receive", func() (err error) {
			if report, err = e.running.Receive(e.ctx); err != nil {
				text = words(err)
			}
			return err
		})
		if e.ctx.Err() != nil {
			return
		}
		if err != nil {
			if _, ok := errors.AsType[*panicked](err); !ok {
				err = fmt.Errorf("Receive: %w", errors.New(text))
			}
			e.fail(err)
			return
		}
		useful := e.receipts(report.Receipts)
		if report.Peers != nil {
			e.countPeers(*report.Peers)
		}
		useful = e.envelopes(report.Envelopes, &watch) || useful
		if !useful && useless.Wait(e.ctx) != nil {
			return
		}
	}
}

// receipts reports whether one of them was waited for.
func (e *Edge) receipts(all []transport.Receipt) (useful bool) {
	if len(all) == 0 {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	unknown := len(all)
	for _, r := range all[:min(len(all), maxReceipts)] {
		if !e.over && e.receipt(r) {
			useful = true
			unknown--
		}
	}
	e.home.count.unknownReceipts.Add(uint64(unknown))
	return useful
}

// envelopes checks what arrived and hands it up, in bundles, as there is room.
// It reports whether anything was left to hand up.
func (e *Edge) envelopes(all []transport.Envelope, watch *conduct) bool {
	if len(all) == 0 {
		return false
	}
	now := time.Now()
	var (
		bundle []slot.Envelope
		weight int64
		useful bool
		bad    int
	)
	if beyond := len(all) - transport.MaxBatch; beyond > 0 {
		e.home.count.drops[dropBeyond].Add(uint64(beyond))
		bad += beyond
		all = all[:transport.MaxBatch]
	}
	most := min(int64(bundleBytes), int64(e.cfg.InFlight)/2)
	wanted := e.topics.wanted.Load()
	for _, in := range all {
		hash, why := e.check(now, wanted, &in)
		if why != drops {
			e.home.count.drops[why].Add(1)
			if why == dropForeign || why == dropSize || why == dropTTL {
				bad++
			}
			continue
		}
		w := int64(len(in.Data) + costOfEnvelope)
		if len(bundle) > 0 && weight+w > most {
			if !e.handUp(bundle, weight, wanted) {
				return false
			}
			bundle, weight = nil, 0
		}
		if bundle == nil {
			bundle = make([]slot.Envelope, 0, len(all))
		}
		bundle = append(bundle, slot.Envelope{
			Hash: hash, Topic: slot.Topic(in.Topic), Data: in.Data, Sent: in.Sent.UTC(), TTL: in.TTL,
		})
		weight += w
		useful = true
	}
	e.home.misbehaves.Store(watch.note(now, len(all), bad))
	return e.handUp(bundle, weight, wanted) && useful
}

// check says what an envelope is called, or why it is dropped.
func (e *Edge) check(now time.Time, wanted *interest, in *transport.Envelope) (slot.Hash, drop) {
	if why := e.form(now, in); why != drops {
		return slot.Hash{}, why
	}
	switch {
	case !wanted.has(in.Topic):
		return slot.Hash{}, dropForeign
	case now.After(in.Expiry().Add(skew)):
		return slot.Hash{}, dropExpired
	}
	hash := hashOf(slot.Topic(in.Topic), in.Data)
	switch {
	case e.home.own.has(hash):
		return hash, dropOwn
	case !e.home.seen.add(hash, now):
		return hash, dropReplayed
	}
	return hash, drops
}

// form says what is wrong with an envelope, wherever it comes from; drops if
// nothing is.
func (e *Edge) form(now time.Time, in *transport.Envelope) drop {
	switch {
	case len(in.Data) == 0 || len(in.Data) > e.info.MaxData:
		return dropSize
	case in.TTL < time.Second || in.TTL > e.info.MaxTTL:
		return dropTTL
	case in.Sent.After(now.Add(skew)):
		return dropFuture
	}
	return drops
}

// handUp waits until there is room in the node and hands a bundle to the layers
// above. It returns false if the life has ended instead.
func (e *Edge) handUp(bundle []slot.Envelope, weight int64, wanted *interest) bool {
	if len(bundle) == 0 {
		return true
	}
	received := bundle
	if wanted.watch {
		received = subscribed(bundle, &wanted.subscribed)
	}
	// Those who watch have a credit of their own. Nothing is reported before both
	// are there: what is reported to some only would be lost for the others if
	// the life ended in between. Both are there to be had, because a bundle weighs
	// at most half of all.
	var credits [2]*actors.Credit
	for i, needed := range [2]bool{len(received) > 0, wanted.watch} {
		var err error
		if needed {
			credits[i], err = e.home.flight.Take(e.ctx, weight)
		}
		if err != nil || e.ctx.Err() != nil {
			credits[0].Return()
			credits[1].Return()
			for _, x := range bundle {
				e.home.seen.remove(x.Hash) // the next life may bring it again
			}
			return false
		}
	}
	e.home.count.received.Add(uint64(len(bundle)))
	if len(received) > 0 {
		e.up.SendCredited(slot.Received{Envelopes: received}, credits[0])
	}
	if wanted.watch {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.up.SendCredited(e.admitted(bundle), credits[1])
	}
	return true
}

// subscribed returns those of a bundle that are of a set, the bundle itself if
// all are.
func subscribed(bundle []slot.Envelope, topics *set) []slot.Envelope {
	foreign := func(x slot.Envelope) bool { return !topics.has(transport.Topic(x.Topic)) }
	if !slices.ContainsFunc(bundle, foreign) {
		return bundle
	}
	return slices.DeleteFunc(slices.Clone(bundle), foreign)
}

// conduct watches how much of what a transport delivers is what nobody asked
// for. That may be the doing of strangers in the network, so it is only told.
type conduct struct {
	since    time.Time
	all, bad int
	verdict  bool
}

// The measure of conduct.
const (
	conductWindow = 10 * time.Second
	conductBad    = 1000 // envelopes in a window, and more than half of all
)

// note counts and returns the verdict so far.
func (c *conduct) note(now time.Time, all, bad int) bool {
	if now.Sub(c.since) >= conductWindow {
		c.verdict = c.bad > conductBad && 2*c.bad > c.all
		c.since, c.all, c.bad = now, 0, 0
	}
	c.all += all
	c.bad += bad
	return c.verdict || c.bad > conductBad && 2*c.bad > c.all
}
