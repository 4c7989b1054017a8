package history_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/envelope/whisper/history"
	"github.com/stratanode/strata/layers/transport"
)

func TestNothingIsAskedBeforeItIsKnownWhatAndWhom(t *testing.T) {
	w := newWorld(t)
	w.add("good", oldestFirst)
	w.life = 1
	w.d = history.New(w.cfg, rand.NewChaCha8([32]byte{1}), nil)
	w.perform(w.d.Wake(w.now))
	w.perform(w.d.Ready(w.now))
	w.perform(w.d.Archives(w.now, w.names))
	w.pass(time.Hour)
	if len(w.queries)+len(w.progress) != 0 {
		t.Errorf("before the first Listen: got %v and %v, want nothing", w.queries, w.progress)
	}
	w.topics = []transport.Topic{topic(1)}
	w.recent, w.opened = history.NewRecent(9), map[transport.Hash]int{}
	w.perform(w.d.Listen(w.now, w.topics, nil))
	w.pass(2 * time.Second)
	w.want(envelope.CaughtUp)
}

func TestTransportWithoutArchivesIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.topics = []transport.Topic{topic(1)}
	w.boot()
	w.pass(48 * time.Hour)
	w.perform(w.d.Peers(w.now, 0))
	w.perform(w.d.Peers(w.now, 1))
	w.perform(w.d.Ready(w.now))
	w.pass(time.Hour)
	if len(w.queries) != 0 || len(w.progress) != 1 || w.last().State != envelope.Waiting || !w.alarm.IsZero() {
		t.Errorf("got %v, %v and an alarm at %v, want one Waiting", w.queries, w.progress, w.alarm)
	}
}

func TestDisabledHistoryDoesNothing(t *testing.T) {
	w := newWorld(t, func(c *history.Config) { c.Enabled = false })
	w.add("good", oldestFirst)
	w.topics = []transport.Topic{topic(1)}
	w.boot()
	w.perform(w.d.Peers(w.now, 0))
	w.perform(w.d.Peers(w.now, 1))
	w.pass(time.Hour)
	if len(w.queries)+len(w.progress)+w.store.Len() != 0 {
		t.Errorf("got %v, %v and %d records, want nothing", w.queries, w.progress, w.store.Len())
	}
}

func TestWindowBeginsWhereTheLastEnded(t *testing.T) {
	for _, tt := range []struct {
		name string
		away time.Duration
		from time.Duration // before the second start
	}{
		{"a short while", time.Hour, time.Hour + 5*time.Minute},
		{"longer than there is a window", 40 * 24 * time.Hour, 30 * 24 * time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, func(c *history.Config) { c.Every = 0 })
			w.add("good", oldestFirst)
			w.topics = []transport.Topic{topic(1)}
			w.boot()
			w.pass(time.Minute)
			first := w.queries[0]
			if got := first.To.Sub(first.From); got > 24*time.Hour || got < 24*time.Hour-10*time.Second {
				t.Errorf("first window: got %v, want 24h", got)
			}
			w.crash()
			w.pass(tt.away - w.now.Sub(first.To))
			w.boot()
			w.pass(time.Minute)
			if got := first.To.Add(tt.away).Sub(w.queries[0].From); got != tt.from && got != tt.from-time.Second { // the node starts a second later
				t.Errorf("second window: begins %v before, want %v", got, tt.from)
			}
			w.want(envelope.CaughtUp)
		})
	}
}

func TestWindowOfANewTopicBeginsAtTheFirstWishEvenIfNobodyCouldBeAsked(t *testing.T) {
	w := newWorld(t)
	w.topics = []transport.Topic{topic(1)}
	w.boot()
	w.pass(72 * time.Hour)
	w.crash()
	w.add("good", oldestFirst)
	w.boot()
	w.pass(time.Minute)
	if got, want := w.queries[0].From, t0.Add(10*time.Second-24*time.Hour); !got.Equal(want) {
		t.Errorf("from: got %v, want %v", got, want)
	}
}

func TestMarkOfAWrongClockCountsForNothing(t *testing.T) {
	w := newWorld(t)
	w.add("good", oldestFirst)
	w.topics = []transport.Topic{topic(1)}
	w.now = t0.Add(10 * 365 * 24 * time.Hour)
	w.boot()
	w.pass(time.Minute)
	w.crash()
	w.now, w.coming = t0, nil
	w.fill(5, 0, topic(1), t0.Add(-time.Hour), time.Minute)
	w.boot()
	w.pass(time.Minute)
	w.wantOpened(5)
	w.crash()
	w.boot()
	w.pass(time.Minute)
	if got, want := w.queries[0].From, t0.Add(-5*time.Minute); got.Before(want) {
		t.Errorf("from: got %v, want it after %v", got, want)
	}
}

func TestClockThatIsSetBackStopsNothing(t *testing.T) {
	w := newWorld(t)
	w.add("good", oldestFirst)
	w.topics = []transport.Topic{topic(1)}
	w.now = t0.Add(1000 * time.Hour)
	w.boot()
	w.pass(25 * time.Second) // marks of the wrong time have not settled
	w.now, w.coming, w.alarm = t0, nil, t0.Add(time.Second)
	w.fill(5, 0, topic(1), t0, time.Minute)
	w.pass(15 * time.Minute)
	w.wantOpened(5)
	w.crash()
	w.boot()
	w.pass(time.Minute)
	if got, want := w.queries[0].From, t0; got.Before(want) {
		t.Errorf("from: got %v, want it after %v", got, want)
	}
}

func TestTopicsThatComeAFewAtATimeAreAskedForTogether(t *testing.T) {
	w := newWorld(t)
	w.add("good", oldestFirst)
	w.boot()
	for i := range 100 {
		w.listen(topic(i))
		w.pass(50 * time.Millisecond)
	}
	w.pass(time.Minute)
	if len(w.queries) > 2 {
		t.Errorf("got %d queries, want one or two", len(w.queries))
	}
	asked := 0
	for _, q := range w.queries {
		asked += len(q.Topics)
	}
	if asked != 100 {
		t.Errorf("asked for %d topics, want 100", asked)
	}
}

func TestTopicsOfDifferentAgeAreAskedForApart(t *testing.T) {
	w := newWorld(t, func(c *history.Config) { c.Every = 0 })
	w.add("good", oldestFirst)
	w.topics = []transport.Topic{topic(1)}
	w.boot()
	w.pass(time.Minute)
	w.crash()
	w.pass(10 * time.Minute)
	w.listen(topic(2)) // never asked for: a day
	w.listen(topic(3))
	w.boot()
	w.pass(time.Minute)
	w.want(envelope.CaughtUp)
	var got []string
	for _, q := range w.queries {
		got = append(got, fmt.Sprint(len(q.Topics), " ", q.To.Sub(q.From).Round(time.Hour)))
	}
	if want := []string{"2 24h0m0s", "1 0s"}; !slices.Equal(got, want) {
		t.Errorf("queries: got %v, want %v", got, want)
	}
}

func TestPagesAreFollowedToTheEndInAnyOrder(t *testing.T) {
	for _, b := range []temper{oldestFirst, newestFirst, disorderly, halting} {
		t.Run(fmt.Sprint(b), func(t *testing.T) {
			w := newWorld(t, func(c *history.Config) { c.Page = 10; c.Every = 0 })
			w.add("good", b)
			w.topics = []transport.Topic{topic(1)}
			w.fill(95, 0, topic(1), t0.Add(-23*time.Hour), 10*time.Minute)
			w.fill(20, 200, topic(2), t0.Add(-time.Hour), time.Minute)
			w.boot()
			w.pass(10 * time.Minute)
			w.wantOpened(95)
			p := w.want(envelope.CaughtUp)
			if p.Opened != 95 || p.Pages != 10 || p.Server != "good" || len(p.Gaps) != 0 || !p.To.Equal(w.queries[0].To) {
				t.Errorf("progress: got %+v", p)
			}
		})
	}
}

func TestBadServerIsLeftForTheNext(t *testing.T) {
	for _, tt := range []struct {
		temper  temper
		reason  string
		queries int // to the bad one, at most
	}{
		{silent, "timeout", 2}, {dead, "timeout", 2}, {refusing, "no", 1}, {unreachable, "nobody to ask", 1},
		{repeating, "without anything new", 101}, {hollow, "without anything new", 100}, {circling, "leads to itself", 2},
		{wandering, "100 pages without anything new", 100},
		{verbose, "257 bytes", 1},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			w := newWorld(t, func(c *history.Config) { c.Every = 0 })
			bad := w.add("bad", tt.temper)
			w.topics = []transport.Topic{topic(1)}
			w.fill(5, 0, topic(1), t0.Add(-time.Hour), time.Minute)
			w.boot()
			w.pass(5 * time.Minute)
			if !w.saw(func(p envelope.Progress) bool {
				return p.State == envelope.PartlyUp && len(p.Gaps) == 1 && p.Gaps[0].Server == "bad" &&
					strings.Contains(p.Gaps[0].Reason, tt.reason) && p.Gaps[0].Missing == 0
			}) {
				t.Errorf("alone: got %+v, want a gap with %q", w.progress, tt.reason)
			}
			if w.saw(func(p envelope.Progress) bool { return p.State == envelope.CaughtUp }) {
				t.Errorf("caught up with the help of a server that is %s", tt.reason)
			}
			w.crash()
			w.add("good", newestFirst).stored = bad.stored
			before := bad.queries
			w.boot()
			w.pass(6 * time.Minute)
			w.want(envelope.CaughtUp)
			w.wantOpened(5)
			if got := bad.queries - before; got > tt.queries {
				t.Errorf("the bad server was asked %d times, want at most %d", got, tt.queries)
			}
		})
	}
}

func (w *world) saw(what func(envelope.Progress) bool) bool {
	return slices.ContainsFunc(w.progress, what)
}

func TestAllServersHavingFailedWaitsLongerAndLonger(t *testing.T) {
	w := newWorld(t, func(c *history.Config) { c.Every = 0 })
	w.add("bad", refusing)
	w.topics = []transport.Topic{topic(1)}
	w.boot()
	var at []time.Time
	for range 60 * 60 {
		before := len(w.queries)
		w.pass(time.Second)
		if len(w.queries) > before {
			at = append(at, w.now)
		}
	}
	var got []time.Duration
	for i := range at[1:] {
		got = append(got, at[i+1].Sub(at[i]).Round(5*time.Second))
	}
	want := []time.Duration{30e9, 60e9, 120e9, 240e9, 480e9, 600e9, 600e9, 600e9, 600e9}
	if !slices.Equal(got, want[:len(got)]) || len(got) < 7 {
		t.Errorf("waits: got %v, want %v", got, want)
	}
	w.add("good", oldestFirst)
	w.name()
	w.pass(10 * time.Second)
	w.want(envelope.CaughtUp)
}

func TestServerThatWorkedIsPreferredUntilTheOtherHadTimeToRecover(t *testing.T) {
	w := newWorld(t)
	bad := w.add("bad", silent)
	w.add("good", oldestFirst)
	w.topics = []transport.Topic{topic(1)}
	w.boot()
	w.pass(5 * time.Minute)
	w.want(envelope.CaughtUp)
	bad.temper = oldestFirst
	var asked []string
	for range 3 {
		before := len(w.queries)
		w.pass(10 * time.Minute)
		for _, q := range w.queries[before:] {
			asked = append(asked, q.Server)
		}
	}
	if want := []string{"good", "bad", "bad"}; !slices.Equal(asked, want) {
		t.Errorf("asked: got %v, want %v", asked, want)
	}
}

func TestLongAbsenceIsFetchedDayByDayAndACrashCostsADayAtMost(t *testing.T) {
	w := newWorld(t, func(c *history.Config) { c.Page = 1; c.Every = 0 })
	s := w.add("good", oldestFirst)
	w.topics = []transport.Topic{topic(1)}
	w.boot()
	w.pass(time.Minute)
	w.crash()
	w.pass(10 * 24 * time.Hour)
	w.fill(10*240, 0, topic(1), t0.Add(2*time.Minute), 6*time.Minute) // 0.4 s each, 96 s a day
	w.boot()
	w.pass(5 * time.Minute)
	opened := len(w.opened)
	w.crash()
	before := s.queries
	w.boot()
	w.pass(time.Hour)
	w.want(envelope.CaughtUp)
	if again := s.queries - before + opened - 2400; again > 2*240+20 { // a day, and what has not settled
		t.Errorf("%d pages were fetched again", again)
	}
	if got := len(w.kept); got != 2400 {
		t.Errorf("kept %d envelopes, want 2400", got)
	}
}

func TestServersThatDisagreeAreReported(t *testing.T) {
	w := newWorld(t, func(c *history.Config) { c.Compare = 3; c.Every = 0 })
	w.add("whole", oldestFirst)
	w.add("partial", newestFirst).lacks = func(h transport.Hash) bool { return h[0]%2 == 0 }
	w.add("refuses", refusing)
	w.add("other", disorderly).lacks = func(h transport.Hash) bool { return h[0]%2 == 1 }
	w.topics = []transport.Topic{topic(1)}
	w.fill(50, 0, topic(1), t0.Add(-2*time.Hour), time.Minute)
	w.boot()
	w.pass(time.Minute)
	w.wantOpened(50)
	even := 0
	for i := range 50 {
		if hash(i)[0]%2 == 0 {
			even++
		}
	}
	got := map[string]int{}
	for _, g := range w.want(envelope.CaughtUp).Gaps {
		got[g.Server] = g.Missing
	}
	if want := map[string]int{"partial": even, "other": 50 - even}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("gaps: got %v, want %v", got, want)
	}
}

// Nor are they if an envelope is still on its way to one of them.
func TestServersThatAgreeAreNotReported(t *testing.T) {
	w := newWorld(t, func(c *history.Config) { c.Compare = 2; c.Every = 0; c.Page = 7 })
	w.add("one", oldestFirst)
	two := w.add("two", disorderly)
	w.topics = []transport.Topic{topic(1)}
	w.fill(50, 0, topic(1), t0.Add(-2*time.Hour), time.Minute)
	two.lacks = func(transport.Hash) bool { return true }
	w.fill(1, 50, topic(1), t0.Add(-20*time.Second), 0)
	w.boot()
	w.pass(time.Minute)
	if p := w.want(envelope.CaughtUp); len(p.Gaps) != 0 {
		t.Errorf("gaps: got %v, want none", p.Gaps)
	}
}

func TestQueryIsRepeatedToATransportThatIsReadyAgain(t *testing.T) {
	w := newWorld(t)
	s := w.add("good", dead)
	w.topics = []transport.Topic{topic(1)}
	w.boot()
	w.pass(2 * time.Second)
	first := w.queries[0]
	out := w.d.Ready(w.now)
	if len(out.Down) != 1 || fmt.Sprint(out.Down[0]) != fmt.Sprint(first) {
		t.Errorf("got %v, want %v", out.Down, first)
	}
	s.flight = nil
	w.crash()
	w.boot()
	w.pass(2 * time.Second)
	if w.queries[0].Ref == first.Ref {
		t.Error("a query of another life has the same ref")
	}
}

func TestLossOfContactIsMadeGoodButNotEveryFewSeconds(t *testing.T) {
	w := newWorld(t, func(c *history.Config) { c.Every = 0 })
	w.add("good", oldestFirst)
	w.topics = []transport.Topic{topic(1)}
	w.boot()
	w.pass(10 * time.Minute)
	before := len(w.queries)
	for range 100 { // in five minutes
		w.perform(w.d.Peers(w.now, 0))
		w.pass(2 * time.Second)
		w.perform(w.d.Peers(w.now, 3))
		w.pass(time.Second)
	}
	w.pass(2 * time.Minute)
	if got := len(w.queries) - before; got < 4 || got > 7 {
		t.Errorf("got %d queries in five minutes, want one a minute", got)
	}
	if gap := w.queries[len(w.queries)-1]; gap.To.Sub(gap.From) > 20*time.Minute {
		t.Errorf("the last window has %v", gap.To.Sub(gap.From))
	}
}

func TestCatchUpIsRepeatedWhileOnline(t *testing.T) {
	w := newWorld(t)
	w.add("good", oldestFirst)
	w.topics = []transport.Topic{topic(1)}
	w.boot()
	w.pass(time.Hour + time.Minute)
	if got := len(w.queries); got != 7 {
		t.Errorf("got %d queries in an hour, want 7", got)
	}
}

func TestTopicThatWasGoneForAMomentIsFetchedAnew(t *testing.T) {
	w := newWorld(t, func(c *history.Config) { c.Every = 0 })
	w.add("good", oldestFirst)
	w.topics = []transport.Topic{topic(1)}
	w.fill(5, 0, topic(1), t0.Add(-time.Hour), time.Minute)
	w.boot()
	w.pass(time.Second)
	if len(w.queries) != 1 {
		t.Fatalf("got %d queries, want one on its way", len(w.queries))
	}
	w.topics = nil // while the page comes
	w.perform(w.d.Listen(w.now, nil, nil))
	w.pass(300 * time.Millisecond)
	w.wantOpened(0)
	w.listen(topic(1)) // before its end
	w.pass(time.Minute)
	w.wantOpened(5)
	w.want(envelope.CaughtUp)
}

func TestTopicWithANewKeyIsFetchedAnew(t *testing.T) {
	w := newWorld(t, func(c *history.Config) { c.Every = 0 })
	w.add("good", oldestFirst)
	w.topics = []transport.Topic{topic(1)}
	w.boot()
	w.pass(time.Hour)
	w.perform(w.d.Listen(w.now, w.topics, w.topics))
	at := w.now
	w.crash() // before anybody could be asked
	w.boot()
	w.pass(time.Minute)
	if got, want := w.queries[0].From, at.Add(10*time.Second-24*time.Hour); !got.Equal(want) {
		t.Errorf("from: got %v, want %v", got, want)
	}
}

func TestWhatNobodyWantsAnyMoreDoesNotKeepItBehind(t *testing.T) {
	w := newWorld(t)
	w.add("bad", refusing)
	w.topics = []transport.Topic{topic(1)}
	w.boot()
	w.pass(5 * time.Second)
	w.want(envelope.PartlyUp)
	w.topics = nil
	w.perform(w.d.Listen(w.now, nil, nil))
	if p := w.want(envelope.CaughtUp); len(p.Gaps) != 0 {
		t.Errorf("gaps: got %v, want none", p.Gaps)
	}
}

func TestAnswersToOthersArePassedOver(t *testing.T) {
	w := newWorld(t)
	w.add("good", dead)
	w.topics = []transport.Topic{topic(1)}
	w.boot()
	w.pass(2 * time.Second)
	for _, q := range []transport.Queried{{}, {Ref: [32]byte{1}, Server: "good"}} {
		if out := w.d.Queried(w.now, q); len(out.Up)+len(out.Down) != 0 {
			t.Errorf("got %v, want nothing", out)
		}
	}
	w.d.History(w.now, transport.History{Server: "good", Envelopes: make([]transport.Envelope, 9)}, 9)
	if p, _ := w.d.Progress(); p.Envelopes != 0 || p.Opened != 0 {
		t.Errorf("got %+v, want no envelopes", p)
	}
}

func TestMarksOfManyTopicsAreSavedInAFewBytes(t *testing.T) {
	w := newWorld(t)
	w.add("good", oldestFirst)
	for i := range 10_000 {
		w.topics = append(w.topics, topic(i))
	}
	w.listen()
	w.boot()
	w.pass(5 * time.Minute)
	if got := w.store.Len(); got != 2 {
		t.Errorf("got %d records, want 2", got)
	}
	w.saved = 0
	w.pass(10 * time.Minute)
	if w.saved == 0 || w.saved > 100 {
		t.Errorf("a catch-up saved %d bytes, want some and not above 100", w.saved)
	}
}

func TestConfigReportsEveryFault(t *testing.T) {
	if err := history.DefaultConfig().Validate(); err != nil {
		t.Errorf("default: %v", err)
	}
	err := history.Config{FirstWindow: 2 * time.Hour, MaxWindow: time.Hour, Overlap: 3 * time.Hour, Every: time.Second, Page: 1001, Compare: 6}.Validate()
	for _, name := range []string{"history.first_window:", "history.overlap:", "history.every:", "history.page:", "history.compare:"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error: got %v, want it to name %s", err, name)
		}
	}
	if err := (history.Config{}).Validate(); err == nil || !strings.Contains(err.Error(), "history.max_window:") {
		t.Errorf("error: got %v, want it to name history.max_window", err)
	}
}
