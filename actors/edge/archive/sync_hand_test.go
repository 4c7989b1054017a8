package archive

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

func TestSyncByHandTakesOverARange(t *testing.T) {
	databases(t, func(t *testing.T, dir string, configure func(*Config)) {
		now := time.Now().Truncate(time.Second)
		other := &elsewhere{list: spread(now.Add(-20*time.Hour), now, 1000)}
		n := linked(dir, func(c *Config) { configure(c); c.Sync = nil }, honest(other)).open(t)
		until(t, "the database is open", func() bool { return n.archive.Describe().Open })
		var seen []Synced
		r := SyncRange{Server: enodeN(5), From: now.Add(-10 * time.Hour), To: now.Add(-2 * time.Hour)}
		s, err := n.archive.Sync(t.Context(), r, func(s Synced) { seen = append(seen, s) })
		if err != nil || s.Added != 401 || s.Envelopes < 401 || s.Refused != 0 || !s.Until.Equal(r.To) || s.Pages != 3 || s.Server != r.Server {
			t.Errorf("%+v, %v", s, err)
		}
		if len(seen) < 3 || seen[len(seen)-1] != s || seen[0].Added >= s.Added {
			t.Errorf("reported %+v", seen)
		}
		if s, err = n.archive.Sync(t.Context(), r, func(Synced) {}); err != nil || s.Added != 0 || s.Envelopes < 401 {
			t.Errorf("again: %+v, %v", s, err)
		}
		if _, has, err := n.archive.life.store.Until(t.Context(), idN(5)); has || err != nil {
			t.Errorf("a server that is not followed has a mark, %v", err)
		}
	})
}

func TestSyncByHandTellsWhyNot(t *testing.T) {
	n := linked(t.TempDir(), func(c *Config) { c.Sync = nil }, func(n *link, q transport.Query) {
		n.end(q, transport.QueryNobody, nil, "no link to the server within 30s")
	})
	now := time.Now()
	good := SyncRange{Server: enodeN(1), From: now.Add(-time.Hour)}
	if _, err := n.archive.Sync(t.Context(), good, func(Synced) {}); !errors.Is(err, errNotOpen) {
		t.Errorf("closed: %v", err)
	}
	n.open(t)
	until(t, "the database is open", func() bool { return n.archive.Describe().Open })
	for _, test := range []struct {
		r    SyncRange
		want string
	}{
		{good, "archive: sync: the server cannot be reached: no link to the server within 30s"},
		{SyncRange{From: now}, "archive: sync: no server is named"},
		{SyncRange{Server: "a\x00b", From: now}, "archive: sync: the name of the server cannot be printed"},
		{SyncRange{Server: "enode://00@1.2.3.4:5", From: now}, "archive: sync: \"enode://00@1.2.3.4:5\": key: "},
		{SyncRange{Server: enodeN(1), From: now.Add(time.Hour), To: now.Add(2 * time.Hour)}, "archive: sync: nothing is kept from "},
		{SyncRange{Server: enodeN(1), From: now.Add(-9000 * time.Hour), To: now.Add(-8000 * time.Hour)}, "archive: sync: nothing is kept from "},
	} {
		if _, err := n.archive.Sync(t.Context(), test.r, func(Synced) {}); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %s", test.r, err, test.want)
		}
	}
	if queries, _ := n.asked(); len(queries) != 1 {
		t.Errorf("%d queries, want 1: nothing has come", len(queries))
	}
}

func TestSyncByHandWaitsItsTurnAndMovesTheMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		n := linked(t.TempDir(), func(c *Config) { c.SyncWindow, c.SyncEvery = time.Hour, 0 }, nil).open(t)
		synctest.Wait()
		type result struct {
			Synced
			err error
		}
		results := make(chan result, 2)
		run := func(ctx context.Context) {
			s, err := n.archive.Sync(ctx, SyncRange{Server: enodeN(0), From: now.Add(-time.Hour)}, func(Synced) {})
			results <- result{s, err}
		}
		ctx, cancel := context.WithCancel(t.Context())
		go run(ctx)
		go run(t.Context())
		synctest.Wait()
		cancel()
		if r := <-results; !errors.Is(r.err, context.Canceled) {
			t.Errorf("ended with %v", r.err)
		}
		queries, _ := n.asked()
		if len(queries) != 1 {
			t.Fatalf("%d queries at once", len(queries))
		}
		time.Sleep(time.Minute)
		n.give(queries[0], nil, nil)
		synctest.Wait()
		if queries, _ = n.asked(); len(queries) != 2 {
			t.Fatalf("%d queries after the first was answered", len(queries))
		}
		n.give(queries[1], []transport.Envelope{sentAt(now, 1)}, nil)
		if r := <-results; r.err != nil || r.Added != 1 {
			t.Errorf("%+v, %v", r.Synced, r.err)
		}
		if until, _, err := n.archive.life.store.Until(t.Context(), idN(0)); err != nil || int64(until) != now.Unix() {
			t.Errorf("the mark is %d, %v; want %d", until, err, now.Unix())
		}
		n.archive.Close()
	})
}
