package archive

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"pgregory.net/rapid"

	"github.com/stratanode/strata/layers/transport"
)

func TestMarkMovesForwardAndIsDurable(t *testing.T) {
	backends(t, func(t *testing.T, open func() Store) {
		s := open()
		if until, has, err := s.Until(t.Context(), "a"); until != 0 || has || err != nil {
			t.Errorf("before: %d, %v, %v", until, has, err)
		}
		for i, step := range []struct{ set, now, want uint32 }{
			{100, 200, 100},
			{150, 200, 150},
			{120, 200, 150}, // another server was slower
			{5000, 200, 5000},
			{180, 200, 180}, // the clock was wrong
			{1<<32 - 1, 1<<32 - 1, 1<<32 - 1},
		} {
			if err := s.SetUntil(t.Context(), "a", step.set, step.now); err != nil {
				t.Fatal(err)
			}
			if until, has, err := s.Until(t.Context(), "a"); until != step.want || !has || err != nil {
				t.Errorf("step %d: %d, %v, %v; want %d", i, until, has, err, step.want)
			}
		}
		if err := s.SetUntil(t.Context(), "b", 7, 8); err != nil {
			t.Fatal(err)
		}
		s.Close()
		s = open()
		for source, want := range map[string]uint32{"a": 1<<32 - 1, "b": 7} {
			if until, has, err := s.Until(t.Context(), source); until != want || !has || err != nil {
				t.Errorf("opened again: %s has %d, %v, %v", source, until, has, err)
			}
		}
		clean(t, s)
	})
}

func TestOlderDatabaseIsBroughtForward(t *testing.T) {
	dir := t.TempDir()
	path := dir + "/" + sqliteName
	conn, err := sqlite3.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := migrateSQLite(conn, sqliteMigrations[:1]); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	s := opened(t, DefaultConfig(), dir)
	if err := s.SetUntil(t.Context(), "a", 7, 8); err != nil {
		t.Error(err)
	}
	insertAll(t, s, row(1, topicN(1), 1))
	clean(t, s)
}

func TestServerIsKnownByItsKey(t *testing.T) {
	url := enodeN(1)
	id, err := sourceID(url)
	if err != nil || len(id) != 64 {
		t.Fatal(id, err)
	}
	at := strings.Index(url, "@")
	for _, address := range []string{"mail.example.org:30303", "[2001:db8::1]:1", "192.0.2.1:30303?discport=0"} {
		if other, err := sourceID(url[:at+1] + address); other != id || err != nil {
			t.Errorf("%s: %s, %v", address, other, err)
		}
	}
	if other, err := sourceID("store-1"); other != "store-1" || err != nil {
		t.Errorf("another name: %s, %v", other, err)
	}
	for _, bad := range []string{
		"", url[:at], url[:at+1], url[:at+1] + "host", url[:at+1] + ":1", url[:at+1] + "host:0", url[:at+1] + "host:65536", url[:at-2] + "@host:1",
		"enode://" + strings.Repeat("11", 64) + "@host:1", strings.Repeat("a", maxServerName+1), "a\nb", "\xff",
	} {
		if id, err := sourceID(bad); err == nil || len(err.Error()) > 300 {
			t.Errorf("%.80q is %s, %v", bad, id, err)
		}
	}
}

func FuzzEnodeID(f *testing.F) {
	f.Add(enodeN(1))
	f.Add("enode://@:")
	f.Fuzz(func(t *testing.T, url string) {
		id, err := enodeID(url)
		if (err == nil) != (len(id) == 64) {
			t.Errorf("%q: %q, %v", url, id, err)
		}
		if err != nil {
			return
		}
		digits, _, _ := strings.Cut(strings.TrimPrefix(url, enodeScheme), "@")
		if again, err := enodeID(enodeScheme + strings.ToLower(digits) + "@host:1"); err != nil || again != id {
			t.Errorf("%q at another address is %s, %v", url, again, err)
		}
	})
}

// What is admitted and what comes of pages is written in groups of one kind, each
// kind in its order, and nothing twice.
func TestQueueGivesOutGroupsOfOneKindInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := newQueue()
		kinds := []*page{nil, {}, {}}
		waiting := map[*page][]uint64{}
		mark := uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				kind := rapid.SampledFrom(kinds).Draw(t, "kind")
				mark++
				p := parcel{page: kind, bytes: 1}
				p.Mark = mark
				p.Envelopes = make([]transport.Envelope, rapid.IntRange(0, 4).Draw(t, "envelopes"))
				if kind == nil && !q.put(p, 1<<20) || kind != nil && !q.putPage(p) {
					t.Fatal("no room")
				}
				waiting[kind] = append(waiting[kind], mark)
			},
			"take": func(t *rapid.T) {
				most, sum := rapid.IntRange(1, 8).Draw(t, "most"), 0
				group := q.take(most)
				for i, p := range group {
					if p.page != group[0].page || p.Mark != waiting[p.page][i] {
						t.Fatalf("parcel %d of %d is %d, want %d", i, len(group), p.Mark, waiting[p.page][i])
					}
					sum += len(p.Envelopes)
				}
				if left := len(waiting[nil]) + len(waiting[kinds[1]]) + len(waiting[kinds[2]]); len(group) == 0 && left > 0 || sum > most && len(group) > 1 {
					t.Fatalf("%d parcels with %d envelopes of %d, %d wait", len(group), sum, most, left)
				}
				if len(group) > 0 {
					waiting[group[0].page] = waiting[group[0].page][len(group):]
				}
				q.finish(group, 1<<20)
			},
		})
		if got, want := q.size(), int64(len(waiting[nil])); got != want {
			t.Fatalf("%d bytes wait, want %d", got, want)
		}
	})
}

func TestMetricsTellOfOtherServers(t *testing.T) {
	now := time.Now()
	n := linked(t.TempDir(), func(c *Config) { c.Sync = append(c.Sync, enodeN(1)) }, func(n *link, q transport.Query) {
		if q.Server == enodeN(1) {
			n.end(q, transport.QueryNobody, nil, "")
			return
		}
		honest(&elsewhere{list: spread(now.Add(-time.Hour), now, 10)})(n, q)
	}).open(t)
	until(t, "both were asked", func() bool { return n.caughtUp() && n.archive.Describe().Sources[1].Fault != "" })
	got := metrics(t, n.archive)
	for key, want := range map[string]float64{
		"strata_archive_sync_envelopes_total kept": 10, "strata_archive_sync_pages_total done": 4,
		"strata_archive_sync_sources failed": 1, "strata_archive_sync_sources well": 1,
	} {
		if v, there := got[key]; !there || v != want {
			t.Errorf("%s is %v, want %v", key, v, want)
		}
	}
	if got["strata_archive_sync_pages_total nobody"] < 1 {
		t.Error("a failure is not counted")
	}
	if at, want := got["strata_archive_sync_until_timestamp_seconds"], float64(now.Add(-24*time.Hour).Unix()); at < want-1 || at > want+60 {
		t.Errorf("until %v, want about %v", at, want)
	}
	d := n.archive.Describe()
	if text := d.String(); !strings.Contains(text, fmt.Sprintf("10 of other servers, 10 of them new, %d failures", d.Counts.Sync.Failures.Nobody)) {
		t.Errorf("described as %q", text)
	}
}
