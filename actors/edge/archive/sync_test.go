package archive

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// databases runs a test with both kinds of databases. configure makes a
// configuration use the same one each time; dir is the data folder.
func databases(t *testing.T, f func(t *testing.T, dir string, configure func(*Config))) {
	t.Run("sqlite", func(t *testing.T) { f(t, t.TempDir(), func(*Config) {}) })
	t.Run("postgres", func(t *testing.T) {
		address := postgresURL(t)
		f(t, t.TempDir(), func(c *Config) { c.Database = address })
	})
}

func TestWhatAnotherServerHasIsTakenOver(t *testing.T) {
	for name, oldestFirst := range map[string]bool{"newest first": false, "oldest first": true} {
		t.Run(name, func(t *testing.T) {
			databases(t, func(t *testing.T, dir string, configure func(*Config)) {
				now := time.Now()
				list := spread(now.Add(-23*time.Hour), now, 1500)
				long := sentAt(now.Add(-30*time.Hour), 7000)
				n := linked(dir, configure, honest(&elsewhere{list: append(list, long), oldestFirst: oldestFirst})).open(t)
				until(t, "everything was asked for", n.caughtUp)
				if got := n.has(t, list); got != len(list) {
					t.Errorf("%d of %d are here", got, len(list))
				}
				if n.has(t, []transport.Envelope{long}) != 0 {
					t.Error("one from before the window is here")
				}
				queries, _ := n.asked()
				for i, q := range queries {
					if !q.Sync || q.Server != enodeN(0) || q.Limit != syncPage || q.To.Sub(q.From) > maxSyncWindow {
						t.Errorf("query %d: %+v", i, q)
					}
					if i > 0 && q.From.Before(queries[i-1].From) {
						t.Errorf("query %d is about an older window than the one before", i)
					}
				}
				// Four windows of six hours, and two pages or three of each.
				if len(queries) < 8 || len(queries) > 12 {
					t.Errorf("%d queries", len(queries))
				}
				s, err := n.archive.Stats(t.Context())
				if k := s.Sync; err != nil || k.Added != 1500 || s.Kept != 1500 || s.Envelopes != 1500 || k.Pages != uint64(len(queries)) ||
					k.Envelopes != k.Added+k.Duplicates || k.Failures.sum() != 0 {
					t.Errorf("stats %+v, %v", s, err)
				}
				if src := s.Sources[0]; src.Added != 1500 || src.Until.Before(now.Truncate(time.Second)) || !src.Next.After(now.Add(59*time.Minute)) {
					t.Errorf("source %+v", src)
				}
			})
		})
	}
}

func TestSyncGoesOnWhereItWasInterrupted(t *testing.T) {
	databases(t, func(t *testing.T, dir string, configure func(*Config)) {
		now := time.Now()
		other := &elsewhere{list: spread(now.Add(-24*time.Hour), now, 2000)}
		// It falls silent in the middle of the third window.
		n := linked(dir, configure, func(n *link, q transport.Query) {
			list, cursor := other.page(q)
			if queries, _ := n.asked(); len(queries) >= 6 && len(q.Cursor) > 0 && q.From.After(now.Add(-13*time.Hour)) {
				return
			}
			n.give(q, list, cursor)
		})
		if err := n.archive.Open(); err != nil {
			t.Fatal(err)
		}
		until(t, "it waits in the third window", func() bool {
			queries, _ := n.asked()
			last := queries[max(len(queries)-1, 0):]
			return len(last) > 0 && len(last[0].Cursor) > 0 && last[0].From.After(now.Add(-13*time.Hour))
		})
		mark := n.source().Until
		n.archive.Close()
		if d := now.Add(-12 * time.Hour).Sub(mark); d < -time.Minute || d > time.Minute {
			t.Fatalf("the mark is %v, want 12 h ago", mark)
		}
		n = linked(dir, configure, honest(other)).open(t)
		until(t, "the rest was asked for", n.caughtUp)
		queries, _ := n.asked()
		if want := mark.Add(-10 * time.Minute); !queries[0].From.Equal(want) || len(queries[0].Cursor) != 0 {
			t.Errorf("it goes on at %v, want %v", queries[0].From, want)
		}
		if got := n.has(t, other.list); got < 1999 { // the first may be older than the window by now
			t.Errorf("%d of 2000 are here", got)
		}
		if k := n.archive.Describe().Counts.Sync; k.Duplicates == 0 || k.Added+k.Duplicates != k.Envelopes {
			t.Errorf("counts %+v", k)
		}
	})
}

func TestServersWithOneDatabaseShareWhatWasTakenOver(t *testing.T) {
	address := postgresURL(t)
	configure := func(c *Config) { c.Database = address }
	now := time.Now()
	other := &elsewhere{list: spread(now.Add(-20*time.Hour), now, 500)}
	first := linked("", configure, honest(other)).open(t)
	until(t, "the first has everything", first.caughtUp)
	second := linked("", configure, honest(other)).open(t)
	until(t, "the second has asked", second.caughtUp)
	if queries, _ := second.asked(); len(queries) > 1 || len(queries) == 1 && queries[0].From.Before(now.Add(-11*time.Minute)) {
		t.Errorf("the second asks for %+v", queries)
	}
}

func TestSyncIsRepeatedFromTheMark(t *testing.T) {
	for every, want := range map[time.Duration]int{time.Hour: 3, 0: 0} {
		synctest.Test(t, func(t *testing.T) {
			now := time.Now()
			n := linked(t.TempDir(), func(c *Config) { c.SyncEvery = every }, honest(&elsewhere{list: spread(now.Add(-time.Hour), now, 10)})).open(t)
			synctest.Wait()
			first, _ := n.asked()
			if len(first) != 4 {
				t.Fatalf("%d queries at first, want one for each window", len(first))
			}
			time.Sleep(3*time.Hour + time.Minute)
			synctest.Wait()
			queries, at := n.asked()
			if len(queries)-4 != want {
				t.Fatalf("%d queries in three hours, want %d", len(queries)-4, want)
			}
			for i, q := range queries[4:] {
				if !at[4+i].Equal(now.Add(time.Duration(i+1)*time.Hour)) || !q.From.Equal(now.Add(time.Duration(i)*time.Hour-10*time.Minute)) || !q.To.Equal(at[4+i]) {
					t.Errorf("at %v from %v to %v", at[4+i], q.From, q.To)
				}
			}
			n.archive.Close()
		})
	}
}

func TestServerThatCannotBeReachedIsAskedAgainEverLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		back := start.Add(3 * time.Hour)
		n := linked(t.TempDir(), nil, func(n *link, q transport.Query) {
			if time.Now().Before(back) {
				n.end(q, transport.QueryNobody, nil, "no link\n to the server")
				return
			}
			n.give(q, nil, nil)
		}).open(t)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		_, at := n.asked()
		for i, pause := 1, leastSyncPause; i < len(at); i, pause = i+1, min(2*pause, mostSyncPause) {
			if got := at[i].Sub(at[i-1]); got != pause {
				t.Errorf("pause %d is %v, want %v", i, got, pause)
			}
		}
		if len(at) < 12 {
			t.Errorf("asked %d times", len(at))
		}
		s := n.source()
		if s.Fault != "the server cannot be reached: no link? to the server" || !s.Until.Equal(start.Add(-24*time.Hour)) || s.Next.IsZero() {
			t.Errorf("source %+v", s)
		}
		if k := n.archive.Describe().Counts.Sync; k.Failures.Nobody != uint64(len(at)) {
			t.Errorf("counts %+v", k)
		}
		// When the transport is there again, so may be the link.
		n.archive.hear(near, transport.Ready{}, nil)
		time.Sleep(leastSyncPause)
		synctest.Wait()
		if _, more := n.asked(); len(more) != len(at)+1 {
			t.Errorf("asked %d times after a Ready", len(more)-len(at))
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if s := n.source(); s.Fault != "" || s.Until.Before(back) {
			t.Errorf("at the end %+v", s)
		}
		n.archive.Close()
	})
}

func TestLostLinkCostsOnePage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		other := &elsewhere{list: spread(now.Add(-5*time.Hour), now, 1000)}
		broken := 0
		n := linked(t.TempDir(), func(c *Config) { c.SyncWindow = 6 * time.Hour }, func(n *link, q transport.Query) {
			if len(q.Cursor) > 0 && broken < 2 { // the second page, twice
				broken++
				n.end(q, transport.QueryGone, nil, "reset")
				return
			}
			list, cursor := other.page(q)
			n.give(q, list, cursor)
		}).open(t)
		time.Sleep(time.Minute)
		synctest.Wait()
		queries, _ := n.asked()
		if len(queries) != 7 { // four pages, two again, and the seconds that passed meanwhile
			t.Errorf("%d queries", len(queries))
		}
		if s := n.source(); s.Added != 1000 || s.Envelopes > 1000+1000/30+1 || s.Fault != "" {
			t.Errorf("source %+v", s)
		}
		n.archive.Close()
	})
}

func TestTransportThatRestartsIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := linked(t.TempDir(), func(c *Config) { c.SyncWindow = time.Hour }, nil).open(t)
		synctest.Wait()
		n.archive.hear(near, transport.Ready{}, nil)
		synctest.Wait()
		queries, _ := n.asked()
		if len(queries) != 2 || queries[0].Ref != queries[1].Ref {
			t.Fatalf("%d queries", len(queries))
		}
		n.give(queries[1], nil, nil)
		n.give(queries[0], nil, nil) // the other answer is to nothing
		synctest.Wait()
		if !n.caughtUp() {
			t.Errorf("source %+v", n.source())
		}
		n.archive.Close()
	})
}
