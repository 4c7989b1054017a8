package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/transport"
)

// fronts makes a fake whose peers ask for history.
func fronts(f *fake) {
	f.info.Abilities.Serve = true
	f.info.MaxData = transport.MaxEnvelope
}

// serving begins a life that serves, and returns what its peers ask through.
func (r *rig) serving() transport.Archive {
	r.t.Helper()
	r.edge.FromAbove(slot.Watch{Serves: true})
	r.skip()
	select {
	case a := <-r.fake.archives:
		return a
	default:
		r.t.Fatal("Serve was not called")
		return nil
	}
}

func aQuestion() transport.Ask {
	now := time.Now().UTC()
	return transport.Ask{
		Query: transport.Query{
			Filter: transport.Filter{Topics: []transport.Topic{transport.Topic(topicA)}},
			From:   now.Add(-time.Hour), To: now, Limit: 10, Cursor: []byte("at"),
		},
		Peer: "somebody\x1b", Address: netip.MustParseAddr("192.0.2.1"),
	}
}

type answer struct {
	page transport.Page
	err  error
}

// question asks in the background.
func question(ctx context.Context, archive transport.Archive, a transport.Ask) <-chan answer {
	got := make(chan answer, 1)
	go func() {
		page, err := archive(ctx, a)
		got <- answer{page, err}
	}()
	synctest.Wait()
	return got
}

// asked wants exactly one Asked among the events, and returns it.
func asked(t *testing.T, events []slot.Event) slot.Asked {
	t.Helper()
	var all []slot.Asked
	for _, e := range events {
		if a, ok := e.(slot.Asked); ok {
			all = append(all, a)
		}
	}
	if len(all) != 1 {
		t.Fatalf("got %v, want one Asked", named(events))
	}
	return all[0]
}

// kept is an envelope of the archive, of so many bytes.
func kept(n, size int, ago time.Duration) slot.Envelope {
	data := []byte(fmt.Sprintf("kept %d", n))
	return slot.Envelope{
		Hash: slot.Hash{byte(n)}, Topic: topicA, Data: append(data, make([]byte, max(0, size-len(data)))...),
		Sent: time.Now().Add(-ago), TTL: time.Minute, Raw: []byte("raw"),
	}
}

func TestPeersAreAnsweredOutOfTheArchive(t *testing.T) {
	run(t, fronts, func(t *testing.T, r *rig) {
		archive := r.serving()
		r.edge.FromAbove(slot.Watch{Serves: true}) // again
		synctest.Wait()
		if n := len(r.fake.archives); n != 0 {
			t.Errorf("Serve was called again")
		}
		got := question(t.Context(), archive, aQuestion())
		now := time.Now().UTC()
		q := asked(t, r.sink.take())
		want := slot.Asked{
			Ask: q.Ask, Peer: "fake-slot:somebody?", Address: netip.MustParseAddr("192.0.2.1"),
			From: now.Add(-time.Hour), To: now.Add(-time.Second), Topics: []slot.Topic{topicA}, Limit: 10, Cursor: []byte("at"),
		}
		if !reflect.DeepEqual(q, want) {
			t.Errorf("asked %+v, want %+v", q, want)
		}
		odd := kept(3, 9, 3*time.Minute)
		odd.TTL = 48 * time.Hour
		empty := kept(4, 9, time.Minute)
		empty.Data = nil
		r.edge.FromAbove(slot.Page{Ask: q.Ask, Envelopes: []slot.Envelope{kept(1, 9, time.Minute), kept(2, 9, 2*time.Minute)}})
		r.expect(slot.Taken{Ask: q.Ask})
		r.edge.FromAbove(slot.Page{Ask: q.Ask, Envelopes: []slot.Envelope{odd, empty}})
		r.expect(slot.Taken{Ask: q.Ask})
		r.edge.FromAbove(slot.Page{Ask: q.Ask, Last: true, Cursor: []byte("next")})
		r.edge.FromAbove(slot.Page{Ask: q.Ask, Last: true}) // too many
		r.expect()
		a := <-got
		if a.err != nil || len(a.page.Envelopes) != 3 || string(a.page.Cursor) != "next" {
			t.Fatalf("got %+v", a)
		}
		for i, n := range []int{3, 2, 1} { // the oldest first
			e := a.page.Envelopes[i]
			want := transport.Envelope{
				Topic: transport.Topic(topicA), Data: kept(n, 9, 0).Data,
				Sent: now.Add(-time.Duration(n) * time.Minute).Truncate(time.Second), TTL: time.Minute,
			}
			if n == 3 {
				want.TTL = fine.MaxTTL
			}
			if !reflect.DeepEqual(e, want) {
				t.Errorf("got %+v, want %+v", e, want)
			}
		}
		first := q.Ask
		got = question(t.Context(), archive, aQuestion())
		q = asked(t, r.sink.take())
		if q.Ask <= first {
			t.Errorf("ask %d after %d", q.Ask, first)
		}
		r.edge.FromAbove(slot.Page{Ask: q.Ask, Last: true, Failure: "ask less\n"})
		if a := <-got; !errors.Is(a.err, transport.ErrUnavailable) || !strings.Contains(a.err.Error(), "ask less?") {
			t.Errorf("got %+v", a)
		}
	})
}

func TestTransportWithoutTheAbilityOrAnArchiveDoesNotServe(t *testing.T) {
	run(t, fronts, func(t *testing.T, r *rig) {
		r.edge.FromAbove(slot.Watch{Keeps: true})
		synctest.Wait()
		if len(r.fake.archives) != 0 {
			t.Error("Serve was called, though nobody answers")
		}
	})
	run(t, nil, func(t *testing.T, r *rig) {
		r.edge.FromAbove(slot.Watch{Serves: true})
		synctest.Wait()
		if len(r.fake.archives) != 0 {
			t.Error("Serve was called, though it was not declared")
		}
	})
}

func TestQuestionThatIsBadOrEmptyDoesNotReachTheArchive(t *testing.T) {
	run(t, fronts, func(t *testing.T, r *rig) {
		archive := r.serving()
		for name, c := range map[string]struct {
			change func(*transport.Ask)
			bad    bool
		}{
			"no limit":    {func(a *transport.Ask) { a.Limit = 0 }, true},
			"large limit": {func(a *transport.Ask) { a.Limit = transport.MaxBatch + 1 }, true},
			"long cursor": {func(a *transport.Ask) { a.Cursor = make([]byte, transport.MaxText+1) }, true},
			"many topics": {func(a *transport.Ask) { a.Filter.Topics = make([]transport.Topic, transport.MaxTopics+1) }, true},
			"no topic":    {func(a *transport.Ask) { a.Filter.Topics = nil }, false},
			"no time":     {func(a *transport.Ask) { a.To = a.From }, false},
			"backwards":   {func(a *transport.Ask) { a.To = a.From.Add(-time.Hour) }, false},
		} {
			q := aQuestion()
			c.change(&q)
			a := <-question(t.Context(), archive, q)
			if c.bad != errors.Is(a.err, &transport.Error{Code: transport.CodeInvalid}) || !c.bad && a.err != nil || len(a.page.Envelopes) > 0 {
				t.Errorf("%s: got %+v", name, a)
			}
		}
		r.expect()
	})
}

func TestAnswerTooLongForAFrameIsAskedForAgainShorter(t *testing.T) {
	run(t, fronts, func(t *testing.T, r *rig) {
		archive := r.serving()
		got := question(t.Context(), archive, aQuestion())
		q := asked(t, r.sink.take())
		all := []slot.Envelope{kept(1, 400<<10, time.Minute), kept(2, transport.MaxEnvelope+1, time.Minute), kept(3, 400<<10, time.Minute), kept(4, 400<<10, time.Minute)}
		r.edge.FromAbove(slot.Page{Ask: q.Ask, Envelopes: all[:2]})
		r.expect(slot.Taken{Ask: q.Ask})
		r.edge.FromAbove(slot.Page{Ask: q.Ask, Envelopes: all[2:]})
		synctest.Wait()
		events := r.sink.take()
		if len(events) != 2 || events[0] != (slot.Abandoned{Ask: q.Ask}) {
			t.Fatalf("got %v, want the question abandoned and put again", named(events))
		}
		again := asked(t, events)
		if again.Limit != 3 || again.Ask == q.Ask || !reflect.DeepEqual(again.Cursor, q.Cursor) {
			t.Errorf("asked again %+v", again)
		}
		r.edge.FromAbove(slot.Page{Ask: again.Ask, Envelopes: all[:3], Last: true, Cursor: []byte("4")})
		if a := <-got; a.err != nil || len(a.page.Envelopes) != 2 || string(a.page.Cursor) != "4" {
			t.Errorf("got %d envelopes, %v", len(a.page.Envelopes), a.err)
		}

		got = question(t.Context(), archive, aQuestion()) // an archive that always has something else
		for round := range maxShorter {
			q := asked(t, r.sink.take())
			var page []slot.Envelope
			for n := range 6 - round {
				page = append(page, kept(n, 9, time.Minute))
			}
			r.edge.FromAbove(slot.Page{Ask: q.Ask, Envelopes: append(page, kept(9, transport.MaxEnvelope, time.Minute))})
			synctest.Wait()
		}
		if a := <-got; !errors.Is(a.err, transport.ErrBusy) {
			t.Errorf("got %+v, want busy", a)
		}
	})
}

func TestPluginThatAsksWithoutEndIsBounded(t *testing.T) {
	run(t, fronts, func(t *testing.T, r *rig) {
		archive := r.serving()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var waiting []<-chan answer
		for range transport.MaxAsks {
			waiting = append(waiting, question(ctx, archive, aQuestion()))
		}
		if a := <-question(ctx, archive, aQuestion()); !errors.Is(a.err, transport.ErrBusy) {
			t.Errorf("one more: %+v", a)
		}
		if n := len(r.sink.take()); n != transport.MaxAsks {
			t.Errorf("%d questions reached the archive, want %d", n, transport.MaxAsks)
		}
		cancel()
		for _, w := range waiting {
			if a := <-w; !errors.Is(a.err, context.Canceled) {
				t.Errorf("given up: %+v", a)
			}
		}
		synctest.Wait()
		if n := len(r.sink.take()); n != transport.MaxAsks {
			t.Errorf("%d were abandoned, want %d", n, transport.MaxAsks)
		}
		// Asking and giving up at once, for ever, does not reach it more often.
		begun := time.Now()
		questions := 0
		for range 10_000 {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
			<-question(ctx, archive, aQuestion())
			cancel()
			for _, e := range r.sink.take() {
				if _, ok := e.(slot.Asked); ok {
					questions++
				}
			}
		}
		if most := asksBurst + int(asksRate*time.Since(begun).Seconds()); questions > most {
			t.Errorf("%d questions in %v, want %d at most", questions, time.Since(begun), most)
		}
		if c := r.home.Describe().Counts; c.AsksBusy == 0 || c.Asked != uint64(transport.MaxAsks+questions) {
			t.Errorf("counted %+v", c)
		}
	})
}

func TestArchiveThatDoesNotAnswerIsNotWaitedFor(t *testing.T) {
	run(t, fronts, func(t *testing.T, r *rig) {
		archive := r.serving()
		begun := time.Now()
		got := question(t.Context(), archive, aQuestion())
		q := asked(t, r.sink.take())
		if a := <-got; !errors.Is(a.err, transport.ErrBusy) || time.Since(begun) != askLimit {
			t.Errorf("got %+v after %v", a, time.Since(begun))
		}
		r.expect(slot.Abandoned{Ask: q.Ask})
		r.edge.FromAbove(slot.Page{Ask: q.Ask, Last: true}) // late
		r.expect()
	})
}

func TestQuestionsOfALifeThatEndsAreAbandoned(t *testing.T) {
	run(t, fronts, func(t *testing.T, r *rig) {
		got := question(t.Context(), r.serving(), aQuestion())
		q := asked(t, r.sink.take())
		r.fake.crash(errCrash)
		synctest.Wait()
		r.expect(slot.Abandoned{Ask: q.Ask})
		if a := <-got; !errors.Is(a.err, transport.ErrClosed) {
			t.Errorf("got %+v", a)
		}
		r.failed("fake-slot: " + errCrash.Error())
		r.again()
		r.skip()

		archive := r.serving()
		got = question(t.Context(), archive, aQuestion())
		next := asked(t, r.sink.take())
		if next.Ask <= q.Ask {
			t.Errorf("ask %d after %d", next.Ask, q.Ask)
		}
		r.again() // closed
		if a := <-got; !errors.Is(a.err, transport.ErrClosed) {
			t.Errorf("got %+v", a)
		}
		synctest.Wait()
		if events := r.sink.take(); len(events) == 0 || events[0] != (slot.Abandoned{Ask: next.Ask}) {
			t.Errorf("got %v, want the question abandoned first", named(events))
		}
		if a := <-question(t.Context(), archive, aQuestion()); !errors.Is(a.err, transport.ErrClosed) {
			t.Errorf("asked of a life that is over: %+v", a)
		}
	})
}
