package plugin

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/transport"
)

func results(errs ...error) func(context.Context, []transport.Envelope) []error {
	return func(context.Context, []transport.Envelope) []error { return errs }
}

func TestEveryResultHasItsAnswer(t *testing.T) {
	const name = "fake-slot: "
	var none *transport.Error
	for _, c := range []struct {
		name     string
		result   error
		receipts bool
		want     []slot.Event
	}{
		{"taken, no receipts", nil, false, []slot.Event{accept(1), relay(1)}},
		{"taken, receipts", nil, true, []slot.Event{accept(1)}},
		{"too large", transport.ErrTooLarge, true, []slot.Event{slot.Refused{Ref: ref(1), Reason: name + "too large"}}},
		{"expired", transport.ErrExpired, true, []slot.Event{slot.Expired{Ref: ref(1)}}},
		{"invalid", transport.Invalid("topic", "is\x1b odd"), true, []slot.Event{slot.Refused{Ref: ref(1), Reason: name + "invalid: topic: is? odd"}}},
		{"unsupported", transport.ErrUnsupported, true, []slot.Event{slot.Refused{Ref: ref(1), Reason: name + "unsupported"}}},
		{"other error", errors.New("oh"), true, []slot.Event{slot.Refused{Ref: ref(1), Reason: name + "internal: oh"}}},
		{"error that is nil inside", none, true, []slot.Event{slot.Refused{Ref: ref(1), Reason: name + "internal: an error without a text"}}},
		{"unknown code", &transport.Error{Code: 77}, true, []slot.Event{slot.Refused{Ref: ref(1), Reason: name + "code 77"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, func(f *fake) {
				f.info.Receipts = c.receipts
				f.publish = results(c.result)
			}, func(t *testing.T, r *rig) {
				r.publish(1, time.Minute)
				r.expect(c.want...)
			})
		})
	}
}

func TestReceiptIsTheFinalAnswer(t *testing.T) {
	for outcome, want := range map[transport.Outcome]slot.Event{
		transport.OutcomeRelayed: relay(1),
		transport.OutcomeExpired: slot.Expired{Ref: ref(1)},
		transport.OutcomeFailed:  slot.Refused{Ref: ref(1), Reason: "fake-slot: no?way"},
	} {
		run(t, nil, func(t *testing.T, r *rig) {
			r.publish(1, time.Minute)
			r.expect(accept(1))
			id := r.fake.asked()[0][0].ID
			receipt := transport.Receipt{ID: id, Outcome: outcome, Reason: "no\nway"}
			r.fake.reports <- transport.Report{Receipts: []transport.Receipt{{ID: id, Outcome: 9}, {ID: id + 1, Outcome: 1}, receipt, receipt}}
			r.expect(want)
			if got := r.home.Describe().Counts.UnknownReceipts; got != 3 {
				t.Errorf("%d receipts counted as unknown, want 3", got)
			}
		})
	}
}

func TestReceiptThatOvertakesTheResultCounts(t *testing.T) {
	release := make(chan struct{})
	set := func(f *fake) {
		f.publish = func(context.Context, []transport.Envelope) []error { <-release; return nil }
	}
	synctest.Test(t, func(t *testing.T) {
		release = make(chan struct{})
		r := newRig(t, set).begin()
		r.skip()
		r.publish(1, time.Minute)
		synctest.Wait()
		id := r.fake.asked()[0][0].ID
		r.fake.reports <- transport.Report{Receipts: []transport.Receipt{{ID: id, Outcome: transport.OutcomeRelayed}}}
		r.expect()
		close(release)
		r.expect(accept(1), relay(1))
		r.edge.Close()
	})
}

func TestMissingReceiptIsAnExpiry(t *testing.T) {
	run(t, nil, func(t *testing.T, r *rig) {
		r.publish(1, time.Minute)
		r.expect(accept(1))
		time.Sleep(time.Minute + fine.Latency + receiptGrace - time.Millisecond)
		r.expect()
		time.Sleep(2 * time.Millisecond)
		r.expect(slot.Expired{Ref: ref(1)})
	})
}

func TestBusyTransportIsAskedAgainUntilTheTTLIsOver(t *testing.T) {
	for _, busy := range []error{transport.ErrBusy, transport.ErrUnavailable} {
		run(t, func(f *fake) { f.publish = results(busy) }, func(t *testing.T, r *rig) {
			r.publish(1, 10*time.Second)
			time.Sleep(10*time.Second - time.Millisecond)
			r.expect()
			time.Sleep(time.Second)
			r.expect(slot.Expired{Ref: ref(1)})
			if n := len(r.fake.asked()); n < 8 || n > 12 {
				t.Errorf("asked %d times in 10 s, want about 10", n)
			}
		})
	}
}

func TestBusyTransportThatFindsRoomGetsTheEnvelope(t *testing.T) {
	tries := 0
	run(t, func(f *fake) {
		f.info.Receipts = false
		f.publish = func(context.Context, []transport.Envelope) []error {
			if tries++; tries < 4 {
				return []error{transport.ErrBusy}
			}
			return nil
		}
	}, func(t *testing.T, r *rig) {
		r.publish(1, 10*time.Second)
		time.Sleep(firstRetry + 2*firstRetry + 4*firstRetry)
		r.expect(accept(1), relay(1))
	})
}

func TestRepeatedPublishChangesNothing(t *testing.T) {
	run(t, nil, func(t *testing.T, r *rig) {
		r.publish(1, time.Minute)
		r.expect(accept(1))
		r.publish(1, time.Minute)
		r.expect(accept(1))
		r.fake.reports <- transport.Report{Receipts: []transport.Receipt{{ID: 1, Outcome: transport.OutcomeRelayed}}}
		r.expect(relay(1))
		r.publish(1, time.Minute) // crossed with the answer
		r.expect(relay(1))
		if n := len(r.fake.asked()); n != 1 {
			t.Errorf("offered %d times, want once", n)
		}
	})
}

func TestBadPublishIsRefusedWithItsReason(t *testing.T) {
	run(t, nil, func(t *testing.T, r *rig) {
		for _, c := range []struct {
			p    slot.Publish
			want string
		}{
			{slot.Publish{Ref: ref(1)}, "data is empty"},
			{slot.Publish{Ref: ref(2), Data: make([]byte, 1001)}, "data of 1001 bytes is longer than 1000"},
			{slot.Publish{Ref: ref(3), Data: make([]byte, 1), TTL: -1}, "time to live of -1ns is negative"},
		} {
			r.edge.FromAbove(c.p)
			r.expect(slot.Refused{Ref: c.p.Ref, Reason: "fake-slot: " + c.want})
		}
		if n := len(r.fake.asked()); n != 0 {
			t.Errorf("the transport was asked %d times", n)
		}
	})
}

func TestUnsentEnvelopesAreBounded(t *testing.T) {
	run(t, func(f *fake) {
		f.info.MaxData = transport.MaxEnvelope
		f.publish = results(transport.ErrBusy)
	}, func(t *testing.T, r *rig) {
		for i := range 3 {
			r.edge.FromAbove(slot.Publish{Ref: ref(i), Topic: topicA, Data: make([]byte, transport.MaxEnvelope), TTL: time.Minute})
			synctest.Wait()
		}
		r.expect(slot.Refused{Ref: ref(2), Reason: fmt.Sprintf("fake-slot: %d bytes wait for the transport already (max_unsent_bytes)", 2*costOfLargest)})
		time.Sleep(2 * time.Minute)
		r.skip()
		if is := r.home.Describe().Counts; is.UnsentBytes != 0 || is.Unanswered != 0 {
			t.Errorf("after all have expired %d bytes of %d publications are left", is.UnsentBytes, is.Unanswered)
		}
	}, func(c *Config) { c.MaxUnsent = minUnsent })
}

func TestTTLIsClampedToWholeSeconds(t *testing.T) {
	run(t, nil, func(t *testing.T, r *rig) {
		for i, c := range []struct{ asked, want time.Duration }{
			{0, 15 * time.Second}, {time.Millisecond, 5 * time.Second}, {5500 * time.Millisecond, 6 * time.Second},
			{48 * time.Hour, time.Hour},
		} {
			r.publish(i, c.asked)
			synctest.Wait()
			if got := r.fake.asked()[i][0].TTL; got != c.want {
				t.Errorf("TTL %v became %v, want %v", c.asked, got, c.want)
			}
		}
	}, func(c *Config) { c.MinTTL = 5 * time.Second })
}

func TestLoadIsGatheredIntoBatches(t *testing.T) {
	const n = 1000
	release := make(chan struct{})
	set := func(f *fake) {
		f.info.Receipts = false
		f.publish = func(context.Context, []transport.Envelope) []error { <-release; return nil }
	}
	synctest.Test(t, func(t *testing.T) {
		release = make(chan struct{})
		r := newRig(t, set).begin()
		for i := range n {
			r.publish(i, time.Minute)
			if i == 0 {
				synctest.Wait() // idle: the first goes alone, at once
			}
		}
		close(release)
		synctest.Wait()
		var sizes []int
		next := uint64(1)
		for _, b := range r.fake.asked() {
			sizes = append(sizes, len(b))
			for _, e := range b {
				if e.ID != next {
					t.Fatalf("id %d after %d", e.ID, next-1)
				}
				next++
			}
		}
		if got, want := fmt.Sprint(sizes), "[1 256 256 256 231]"; got != want {
			t.Errorf("batches of %s, want %s", got, want)
		}
		r.edge.Close()
	})
}

func TestBatchIsBoundedInBytes(t *testing.T) {
	release := make(chan struct{})
	set := func(f *fake) {
		f.info.MaxData = transport.MaxEnvelope
		f.publish = func(context.Context, []transport.Envelope) []error { <-release; return nil }
	}
	synctest.Test(t, func(t *testing.T) {
		release = make(chan struct{})
		r := newRig(t, set).begin()
		for i := range 7 {
			data := make([]byte, transport.MaxEnvelope/2)
			r.edge.FromAbove(slot.Publish{Ref: ref(i), Data: data, TTL: time.Minute})
		}
		close(release)
		synctest.Wait()
		for _, b := range r.fake.asked() {
			if len(b) > 2 {
				t.Errorf("a batch has %d envelopes of half the size", len(b))
			}
		}
		r.edge.Close()
	})
}

func TestProcessHasTwoBatchesOnTheirWayAndACompiledTransportOne(t *testing.T) {
	for _, calls := range []int{1, 2} {
		release := make(chan struct{})
		synctest.Test(t, func(t *testing.T) {
			release = make(chan struct{})
			r := newRig(t, func(f *fake) {
				f.calls = calls
				f.publish = func(context.Context, []transport.Envelope) []error { <-release; return nil }
			}).begin()
			for i := range 5 {
				r.publish(i, time.Minute)
				synctest.Wait()
			}
			if got := len(r.fake.asked()); got != calls {
				t.Errorf("%d calls under way, want %d", got, calls)
			}
			close(release)
			r.edge.Close()
		})
	}
}
