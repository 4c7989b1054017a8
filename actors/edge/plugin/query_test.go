package plugin

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/transport"
)

// asking makes a fake that can be asked for history.
func asking(query func(context.Context, transport.Query) (transport.Page, error)) func(*fake) {
	return func(f *fake) {
		f.info.Abilities.Query = true
		f.query = query
	}
}

// nothing is an empty page.
func nothing(context.Context, transport.Query) (transport.Page, error) { return transport.Page{}, nil }

// past is an envelope of topicA that was sent a while ago.
func past(n int, ago time.Duration) transport.Envelope {
	e := envelope(n)
	e.Sent = e.Sent.Add(-ago)
	return e
}

func lastHour(n int) slot.Query {
	return slot.Query{Ref: ref(n), From: time.Now().Add(-time.Hour), Topics: []slot.Topic{topicA}}
}

// queried wants exactly one answer for the ref among the events, and returns it.
func queried(t *testing.T, events []slot.Event, n int) slot.Queried {
	t.Helper()
	var all []slot.Queried
	for _, e := range events {
		if q, ok := e.(slot.Queried); ok && q.Ref == ref(n) {
			all = append(all, q)
		}
	}
	if len(all) != 1 {
		t.Fatalf("query %d has the answers %+v, want one", n, all)
	}
	return all[0]
}

func TestQueryIsPutToTheTransportAndAnswered(t *testing.T) {
	var asked []transport.Query
	query := func(_ context.Context, q transport.Query) (transport.Page, error) {
		asked = append(asked, q)
		return transport.Page{Envelopes: []transport.Envelope{past(1, 50*time.Minute), past(2, 10*time.Minute)}, Cursor: []byte("next")}, nil
	}
	run(t, asking(query), func(t *testing.T, r *rig) {
		now := time.Now()
		half := 500 * time.Millisecond
		r.edge.FromAbove(slot.Query{
			Ref: ref(1), From: now.Add(-time.Hour).Add(half), To: now.Add(half), Topics: []slot.Topic{topicA}, Limit: 1000,
			Cursor: []byte("at"), Server: "fake-slot",
		})
		synctest.Wait()
		want := transport.Query{
			Filter: transport.Filter{Topics: []transport.Topic{transport.Topic(topicA)}},
			From:   now.Add(-time.Hour).UTC(), To: now.Add(time.Second).UTC(), Limit: transport.MaxBatch, Cursor: []byte("at"),
		}
		if len(asked) != 1 || !reflect.DeepEqual(asked[0], want) {
			t.Errorf("asked %+v, want %+v", asked, want)
		}
		var envelopes []slot.Envelope
		for _, e := range []transport.Envelope{past(1, 50*time.Minute), past(2, 10*time.Minute)} {
			envelopes = append(envelopes, slot.Envelope{Hash: hashOf(topicA, e.Data), Topic: topicA, Data: e.Data, Sent: e.Sent.UTC(), TTL: e.TTL})
		}
		r.expect(slot.History{Ref: ref(1), Server: "fake-slot", Envelopes: envelopes},
			slot.Queried{Ref: ref(1), Server: "fake-slot", Count: 2, Cursor: []byte("next")})

		r.edge.FromAbove(slot.Query{Ref: ref(2), Limit: 3}) // all, until now
		synctest.Wait()
		if q := asked[1]; !q.Filter.All || q.Limit != 3 || !q.From.Equal(time.Unix(0, 0)) || q.To.Before(now) || q.Cursor != nil {
			t.Errorf("asked %+v", q)
		}
		if c := r.home.Describe().Counts; c.Fetched != 4 || c.Queried["done"] != 2 {
			t.Errorf("counted %+v", c)
		}
	})
}

func TestHistoryThatIsBadOrWasNotAskedForIsDropped(t *testing.T) {
	good := past(0, time.Minute)
	for _, c := range []struct {
		why  drop
		make func(*transport.Envelope)
	}{
		{dropUnasked, func(e *transport.Envelope) { e.Topic = transport.Topic(topicB) }},
		{dropUnasked, func(e *transport.Envelope) { e.Sent = e.Sent.Add(-2 * time.Hour) }},
		{dropUnasked, func(e *transport.Envelope) { e.Sent = e.Sent.Add(61 * time.Second) }},
		{dropSize, func(e *transport.Envelope) { e.Data = nil }},
		{dropSize, func(e *transport.Envelope) { e.Data = make([]byte, fine.MaxData+1) }},
		{dropTTL, func(e *transport.Envelope) { e.TTL = 0 }},
		{dropTTL, func(e *transport.Envelope) { e.TTL = fine.MaxTTL + time.Second }},
		{dropFuture, func(e *transport.Envelope) { e.Sent = e.Sent.Add(time.Hour) }},
	} {
		query := func(context.Context, transport.Query) (transport.Page, error) {
			bad := past(1, time.Minute)
			c.make(&bad)
			good = past(0, time.Minute)
			return transport.Page{Envelopes: []transport.Envelope{bad, good}}, nil
		}
		run(t, asking(query), func(t *testing.T, r *rig) {
			q := lastHour(1)
			q.To = time.Now()
			r.edge.FromAbove(q)
			synctest.Wait()
			events := r.sink.take()
			if h, ok := events[0].(slot.History); !ok || len(h.Envelopes) != 1 || string(h.Envelopes[0].Data) != string(good.Data) {
				t.Errorf("%s: got %v, want the good one", dropNames[c.why], named(events))
			}
			if got := queried(t, events, 1); got.Count != 1 || got.End != slot.QueryDone {
				t.Errorf("%s: got %+v", dropNames[c.why], got)
			}
			if n := r.home.Describe().Counts.Dropped[dropNames[c.why]]; n != 1 {
				t.Errorf("%s: counted %d times", dropNames[c.why], n)
			}
		})
	}
}

func TestPageLongerThanItsLimitIsCut(t *testing.T) {
	run(t, asking(func(context.Context, transport.Query) (transport.Page, error) {
		return transport.Page{Envelopes: []transport.Envelope{past(1, time.Minute), past(2, time.Minute), past(3, time.Minute)}}, nil
	}), func(t *testing.T, r *rig) {
		q := lastHour(1)
		q.Limit = 2
		r.edge.FromAbove(q)
		synctest.Wait()
		if got := queried(t, r.sink.take(), 1); got.Count != 2 {
			t.Errorf("got %+v", got)
		}
	})
}

func TestQueryThatCannotBePutIsAnsweredAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*slot.Query)
		end    slot.QueryEnd
	}{
		"another server": {func(q *slot.Query) { q.Server = "enode://x" }, slot.QueryNobody},
		"long cursor":    {func(q *slot.Query) { q.Cursor = make([]byte, transport.MaxText+1) }, slot.QueryRefused},
		"backwards":      {func(q *slot.Query) { q.To = q.From.Add(-time.Second) }, slot.QueryRefused},
	} {
		run(t, asking(nothing), func(t *testing.T, r *rig) {
			q := lastHour(1)
			c.change(&q)
			r.edge.FromAbove(q)
			if got := queried(t, r.sink.take(), 1); got.End != c.end || !strings.HasPrefix(got.Reason, "fake-slot: ") {
				t.Errorf("%s: got %+v, want %v", name, got, c.end)
			}
		})
	}
	run(t, nil, func(t *testing.T, r *rig) {
		r.edge.FromAbove(lastHour(1))
		if got := queried(t, r.sink.take(), 1); got.End != slot.QueryNobody {
			t.Errorf("a transport without the ability: %+v", got)
		}
	})
}

func TestErrorOfTheTransportSaysHowAQueryEnded(t *testing.T) {
	for _, c := range []struct {
		err error
		end slot.QueryEnd
	}{
		{transport.ErrUnavailable, slot.QueryNobody},
		{transport.ErrBusy, slot.QueryRefused},
		{transport.Invalid("cursor", "unknown"), slot.QueryRefused},
		{transport.ErrClosed, slot.QueryGone},
		{errors.New("\x1b[31m"), slot.QueryRefused},
	} {
		run(t, asking(func(context.Context, transport.Query) (transport.Page, error) { return transport.Page{}, c.err }), func(t *testing.T, r *rig) {
			r.edge.FromAbove(lastHour(1))
			synctest.Wait()
			if got := queried(t, r.sink.take(), 1); got.End != c.end || got.Reason == "" || strings.Contains(got.Reason, "\x1b") {
				t.Errorf("%v: got %+v, want %v", c.err, got, c.end)
			}
		})
	}
	run(t, asking(func(context.Context, transport.Query) (transport.Page, error) {
		return transport.Page{Cursor: make([]byte, transport.MaxText+1)}, nil
	}), func(t *testing.T, r *rig) {
		r.edge.FromAbove(lastHour(1))
		synctest.Wait()
		if got := queried(t, r.sink.take(), 1); got.End != slot.QueryRefused || got.Cursor != nil {
			t.Errorf("a long cursor: %+v", got)
		}
	})
}

func TestQueriesAreBoundedAndRepeatedOnesAreTheSame(t *testing.T) {
	var under, most, calls atomic.Int32
	run(t, asking(func(ctx context.Context, _ transport.Query) (transport.Page, error) {
		calls.Add(1)
		most.Store(max(most.Load(), under.Add(1)))
		defer under.Add(-1)
		time.Sleep(time.Second)
		return transport.Page{}, nil
	}), func(t *testing.T, r *rig) {
		const extra = 7
		for range 2 {
			for n := range maxQueries + maxWaiting {
				r.edge.FromAbove(lastHour(n))
			}
		}
		for n := range extra {
			r.edge.FromAbove(lastHour(1000 + n))
			if got := queried(t, r.sink.take(), 1000+n); got.End != slot.QueryRefused {
				t.Errorf("one more: %+v", got)
			}
		}
		time.Sleep(time.Hour)
		events := r.sink.take()
		for n := range maxQueries + maxWaiting {
			if got := queried(t, events, n); got.End != slot.QueryDone {
				t.Errorf("%d: %+v", n, got)
			}
		}
		if most.Load() != maxQueries || calls.Load() != maxQueries+maxWaiting {
			t.Errorf("%d calls, %d at once", calls.Load(), most.Load())
		}
	})
}

func TestCancelledQueryIsAnsweredOnceAndBringsNothingMore(t *testing.T) {
	big := func(ctx context.Context, _ transport.Query) (page transport.Page, err error) {
		for n := range 100 {
			e := past(n, time.Minute)
			e.Data = append(make([]byte, 900), e.Data...)
			page.Envelopes = append(page.Envelopes, e)
		}
		return page, nil
	}
	for name, query := range map[string]func(context.Context, transport.Query) (transport.Page, error){
		"the transport heeds it": func(ctx context.Context, _ transport.Query) (transport.Page, error) {
			return transport.Page{}, hang(ctx)
		},
		"the node has no room": big,
		"the transport ignores it": func(context.Context, transport.Query) (transport.Page, error) {
			time.Sleep(20 * time.Second)
			return transport.Page{Envelopes: []transport.Envelope{past(1, time.Minute)}}, nil
		},
	} {
		run(t, asking(query), func(t *testing.T, r *rig) {
			credit, err := r.home.flight.Take(t.Context(), int64(r.home.cfg.InFlight)) // no room
			if err != nil {
				t.Fatal(err)
			}
			for n := range maxQueries + 2 {
				r.edge.FromAbove(lastHour(n))
			}
			synctest.Wait()
			for n := range maxQueries + 2 {
				r.edge.FromAbove(slot.Cancel{Ref: ref(n)})
				r.edge.FromAbove(slot.Cancel{Ref: ref(n)})
			}
			events := r.sink.take()
			for n := range maxQueries + 2 {
				if got := queried(t, events, n); got.End != slot.QueryCancelled {
					t.Errorf("%s: %+v", name, got)
				}
			}
			credit.Return()
			time.Sleep(time.Minute)
			r.expect()
			r.fake.query = nothing
			r.edge.FromAbove(lastHour(50)) // there is room for more
			synctest.Wait()
			if got := queried(t, r.sink.take(), 50); got.End != slot.QueryDone {
				t.Errorf("%s: afterwards: %+v", name, got)
			}
			if d := r.home.Describe(); !d.Open {
				t.Errorf("%s: the transport is taken for broken: %s", name, d.LastError)
			}
		})
	}
}

func TestQueriesOfATransportThatBreaksAreGone(t *testing.T) {
	for name, c := range map[string]struct {
		query  func(context.Context, transport.Query) (transport.Page, error)
		reason string
		after  time.Duration
	}{
		"panic": {func(context.Context, transport.Query) (transport.Page, error) { panic("at once") }, "fake-slot: Query panicked: at once", 0},
		"silence": {func(ctx context.Context, _ transport.Query) (transport.Page, error) {
			return transport.Page{}, hang(ctx)
		}, "fake-slot: Query did not return within 30s", queryLimit},
	} {
		run(t, asking(c.query), func(t *testing.T, r *rig) {
			began := time.Now()
			r.edge.FromAbove(lastHour(1))
			r.edge.FromAbove(lastHour(2))
			if c.after > 0 {
				time.Sleep(c.after)
			}
			synctest.Wait()
			events := r.sink.take()
			for n := 1; n <= 2; n++ {
				if got := queried(t, events, n); got.End != slot.QueryGone {
					t.Errorf("%s: %+v", name, got)
				}
			}
			r.edge.FromAbove(lastHour(3)) // before the kernel has noticed
			if got := queried(t, r.sink.take(), 3); got.End != slot.QueryGone {
				t.Errorf("%s: asked of a broken one: %+v", name, got)
			}
			r.failed(c.reason)
			if d := time.Since(began); d != c.after {
				t.Errorf("%s: after %v, want %v", name, d, c.after)
			}
		})
	}
}

func TestQueryOfALifeThatWasClosedIsAnsweredByTheNext(t *testing.T) {
	run(t, asking(func(ctx context.Context, _ transport.Query) (transport.Page, error) {
		return transport.Page{}, hang(ctx)
	}), func(t *testing.T, r *rig) {
		for n := range maxQueries + 1 {
			r.edge.FromAbove(lastHour(n))
		}
		synctest.Wait()
		r.again()
		synctest.Wait()
		events := r.sink.take()
		for n := range maxQueries + 1 {
			if got := queried(t, events, n); got.End != slot.QueryGone {
				t.Errorf("%+v", got)
			}
		}
		if i := slices.IndexFunc(events, func(e slot.Event) bool { _, ok := e.(slot.Ready); return ok }); i != maxQueries+1 {
			t.Errorf("got %v, want the answers before the Ready", named(events))
		}
		r.again()
		synctest.Wait()
		if events := r.sink.take(); len(events) != 3 {
			t.Errorf("got %v, want Ready, Peers and Archives alone", named(events))
		}
	})
}

func TestQueryDoesNotTouchWhatIsReceived(t *testing.T) {
	run(t, asking(func(context.Context, transport.Query) (transport.Page, error) {
		return transport.Page{Envelopes: []transport.Envelope{envelope(1)}}, nil
	}), func(t *testing.T, r *rig) {
		r.subscribe(topicA)
		r.edge.FromAbove(lastHour(1))
		r.skip()
		r.deliver(envelope(1)) // it is not taken for a repetition
		if got := r.received(); fmt.Sprint(got) != "[in 1]" {
			t.Errorf("received %v", got)
		}
	})
}
