package archive

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

func TestServerThatLiesIsNotBelieved(t *testing.T) {
	for name, test := range map[string]struct {
		answer func(n *link, q transport.Query, now time.Time)
		fault  string
		counts func(k SyncCounts) bool
		most   int // queries until it is found out
	}{
		"repeats a cursor": {
			func(n *link, q transport.Query, now time.Time) {
				n.give(q, []transport.Envelope{sentAt(q.To, 1)}, []byte("again"))
			},
			"the server repeats a cursor", func(k SyncCounts) bool { return k.Failures.Lies == 1 && k.Added == 1 && k.Duplicates == 1 }, 2,
		},
		"cursor too long": {
			func(n *link, q transport.Query, now time.Time) { n.give(q, nil, make([]byte, transport.MaxCursor+1)) },
			"the server sends a cursor of 257 bytes", func(k SyncCounts) bool { return k.Failures.Lies == 1 }, 1,
		},
		"empty pages": {
			func(n *link, q transport.Query, now time.Time) {
				n.give(q, nil, append(slices.Clone(q.Cursor), 1))
			},
			"the server sends empty pages without an end", func(k SyncCounts) bool { return k.Failures.Lies == 1 }, maxEmptyPages,
		},
		"too much": {
			func(n *link, q transport.Query, now time.Time) {
				n.give(q, spread(q.From, q.To, syncPage+150), nil)
			},
			"the server sends more envelopes than a page may have",
			func(k SyncCounts) bool { return k.Failures.Lies == 1 && k.Refused.Excess > 0 && k.Added == syncPage }, 1,
		},
		"silence": {
			func(n *link, q transport.Query, now time.Time) {
				n.archive.hear(near, transport.History{Ref: q.Ref, Envelopes: []transport.Envelope{sentAt(q.To, 1)}}, nil)
			},
			"the server does not answer: nothing has come for 10m0s", func(k SyncCounts) bool { return k.Failures.Timeout == 1 && k.Added == 1 }, 1,
		},
		"refusal": {
			func(n *link, q transport.Query, now time.Time) {
				n.end(q, transport.QueryRefused, nil, strings.Repeat("rate limit \x1b exceeded", 50))
			},
			"the server refuses: rate limit ? exceeded", func(k SyncCounts) bool { return k.Failures.Refused == 1 }, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				now := time.Now()
				n := linked(t.TempDir(), nil, func(n *link, q transport.Query) { test.answer(n, q, now) }).open(t)
				limit := now.Add(syncSilence + time.Second)
				for n.source().Fault == "" && time.Now().Before(limit) {
					synctest.Wait()
					if n.source().Fault == "" {
						time.Sleep(time.Second)
					}
				}
				s, k := n.source(), n.archive.Describe().Counts.Sync
				if !strings.HasPrefix(s.Fault, test.fault) || len(s.Fault) > 300 || !s.Until.Equal(now.Add(-24*time.Hour)) {
					t.Errorf("source %+v", s)
				}
				if queries, _ := n.asked(); !test.counts(k) || len(queries) > test.most {
					t.Errorf("%d queries, counts %+v", len(queries), k)
				}
				until, has, err := n.archive.life.store.Until(t.Context(), idN(0))
				if want := now.Add(-24 * time.Hour).Unix(); err != nil || !has || int64(until) != want {
					t.Errorf("the mark is %d, %v, %v; want %d", until, has, err, want)
				}
				n.archive.Close()
			})
		})
	}
}

func TestServerThatLiesIsAskedEverLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := linked(t.TempDir(), nil, func(n *link, q transport.Query) {
			n.give(q, []transport.Envelope{sentAt(q.To, 1)}, []byte("again")) // the first page is good
		}).open(t)
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		queries, at := n.asked()
		for i, pause := 2, leastSyncPause; i < len(at); i, pause = i+2, min(2*pause, mostSyncPause) {
			if got := at[i].Sub(at[i-1]); got != pause || len(queries[i].Cursor) != 0 {
				t.Errorf("pause %d is %v, want %v", i/2, got, pause)
			}
		}
		if len(at) < 20 {
			t.Errorf("asked %d times", len(at))
		}
		n.archive.Close()
	})
}

func TestServerThatAllowsOnePageAMinuteIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		other := &elsewhere{list: spread(now.Add(-5*time.Hour), now, 2000)}
		var last time.Time
		n := linked(t.TempDir(), func(c *Config) { c.SyncWindow = 6 * time.Hour }, func(n *link, q transport.Query) {
			if time.Since(last) < time.Minute {
				n.end(q, transport.QueryRefused, nil, "rate limit exceeded")
				return
			}
			last = time.Now()
			list, cursor := other.page(q)
			n.give(q, list, cursor)
		}).open(t)
		time.Sleep(12 * time.Minute)
		synctest.Wait()
		if s := n.source(); s.Added != 2000 || s.Until.Before(now) {
			t.Errorf("source %+v", s)
		}
		n.archive.Close()
	})
}

func TestPagesWithoutAnEndAreBounded(t *testing.T) {
	w := newWalk("server", t0, t0.Add(time.Hour))
	var fault *syncFault
	pages := 0
	for ; fault == nil && pages < 2*maxSyncPages; pages++ {
		cursor := []byte{byte(pages), byte(pages >> 8), byte(pages >> 16)}
		fault = w.turn(yield{came: 1, answer: transport.Queried{Cursor: cursor}})
	}
	if fault == nil || !isLie(fault) || pages != maxSyncPages+1 {
		t.Errorf("after %d pages: %v", pages, fault)
	}
}

func TestWhatWasNotAskedForIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		bare, long := sentAt(now, 1), sentAt(now, 2)
		bare.Raw = nil
		long.Raw = make([]byte, maxSynced+1)
		good := sentAt(now.Add(-time.Hour), 3)
		stale := sentAt(now.Add(-3*time.Hour), 4) // in the window, but not kept
		n := linked(t.TempDir(), func(c *Config) { c.Retention = 2 * time.Hour }, func(n *link, q transport.Query) {
			n.give(q, []transport.Envelope{bare, long, good, stale, sentAt(q.From.Add(-2*time.Minute), 5), sentAt(q.To.Add(2*time.Minute), 6),
				sentAt(q.To.Add(30*time.Second), 7)}, nil)
		}).open(t)
		synctest.Wait()
		if k := n.archive.Describe().Counts.Sync; k.Refused != (SyncRefusals{Raw: 1, Length: 1, Window: 3}) || k.Added != 2 || k.Envelopes != 7 {
			t.Errorf("counts %+v", k)
		}
		if queries, _ := n.asked(); len(queries) != 1 || !queries[0].From.Equal(now.Add(-2*time.Hour)) {
			t.Errorf("asked for %+v", queries)
		}
		n.archive.Close()
	})
}

func TestCreditIsHeldUntilEnvelopesAreDurable(t *testing.T) {
	n := linked(t.TempDir(), func(c *Config) { c.Retention = 0 }, nil)
	l := &life{ctx: t.Context(), queue: newQueue(), pages: newPages(), desk: newDesk(1)}
	n.archive.life = l // nothing writes
	p := &page{query: transport.Query{From: t0, To: t0.Add(time.Hour), Limit: 10}, stir: make(chan struct{}, 1), settled: make(chan struct{})}
	p.query.Ref[0] = 1
	l.pages.asked[p.query.Ref] = p
	give := func(ref byte, list ...transport.Envelope) func() bool {
		c, back := borrowed(t)
		h := transport.History{Envelopes: list}
		h.Ref[0] = ref
		n.archive.hear(near, h, c)
		return back
	}
	if back := give(2, sealed(1, topicN(1), 1)); !back() {
		t.Error("the credit of another query is held")
	}
	held := give(1, sealed(1, topicN(1), 1))
	if back := give(1, sealed(-7200, topicN(1), 2)); !back() {
		t.Error("the credit of what is refused is held")
	}
	big := sealedData(2, topicN(1), make([]byte, 9<<20)) // counts twice
	second := give(1, big)
	if back := give(1, big); !back() || !l.pages.got(p).short {
		t.Error("there is no bound")
	}
	if got, want := n.archive.Describe().QueuedBytes, l.pages.bytes; got != want || got < 18<<20 || got > syncBytes {
		t.Errorf("%d bytes are queued, want %d", got, want)
	}
	l.pages.answered(transport.Queried{Ref: p.query.Ref})
	select {
	case <-p.settled:
		t.Error("settled before it is durable")
	default:
	}
	if held() || second() {
		t.Error("the credit is back before the envelopes are durable")
	}
	n.archive.kept(l, l.queue.take(100), 2, 1)
	<-p.settled
	if !held() || !second() || l.pages.bytes != 0 {
		t.Error("the credit is not back")
	}
	if y := l.pages.got(p); y.added != 1 || y.duplicates != 1 || y.came != 4 || y.refused.Window != 1 {
		t.Errorf("%+v", y)
	}
	if len(n.heard) != 0 {
		t.Errorf("the transport hears %+v", n.heard)
	}
}

func TestPageThatHasNoRoomIsAskedForShorter(t *testing.T) {
	w := newWalk("server", t0, t0.Add(time.Hour))
	short := yield{short: true, came: 40, answer: transport.Queried{Cursor: []byte("next")}}
	for want := syncPage / 2; want > 1; want /= 2 {
		if fault := w.turn(short); fault != nil || w.limit != want || w.cursor != nil || w.over {
			t.Fatalf("%v, limit %d, want %d", fault, w.limit, want)
		}
	}
	if fault := w.turn(yield{came: 1, answer: transport.Queried{Cursor: []byte("next")}}); fault != nil || string(w.cursor) != "next" || w.limit != 6 {
		t.Errorf("%v, cursor %q, limit %d", fault, w.cursor, w.limit)
	}
	var fault *syncFault
	for i := 0; fault == nil && i < 100; i++ {
		fault = w.turn(short)
	}
	if fault == nil || isLie(fault) {
		t.Errorf("without an end: %v", fault)
	}
}
