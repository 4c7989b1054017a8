package archive

import (
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// A server that is slow and never comes to an end does not keep the others from
// being asked.
func TestSlowServerDoesNotKeepTheOthersWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		other := honest(&elsewhere{list: spread(now.Add(-23*time.Hour), now, 100)})
		pages := uint64(0)
		n := linked(t.TempDir(), func(c *Config) { c.Sync = []string{enodeN(0), enodeN(1)} }, func(n *link, q transport.Query) {
			if q.Server == enodeN(1) {
				other(n, q)
				return
			}
			time.Sleep(time.Minute)
			pages++
			n.give(q, []transport.Envelope{sentAt(q.From.Add(time.Minute), int(pages))}, binary.BigEndian.AppendUint64(nil, pages))
		}).open(t)
		time.Sleep(maxVisit + 2*time.Minute)
		synctest.Wait()
		slow, quick := n.archive.Describe().Sources[0], n.archive.Describe().Sources[1]
		if quick.Added != 100 || quick.Until.Before(now) {
			t.Errorf("the other server: %+v", quick)
		}
		if slow.Fault != "" || slow.Envelopes < 10 {
			t.Errorf("the slow server: %+v", slow)
		}
		time.Sleep(maxVisit)
		queries, _ := n.asked()
		seen := map[string]bool{}
		for _, q := range queries {
			if q.Server == enodeN(0) && (len(seen) > 0) == (len(q.Cursor) == 0) {
				t.Errorf("the slow server was asked with cursor %x: want the first page once, and then to go on", q.Cursor)
			}
			if q.Server == enodeN(0) {
				seen[string(q.Cursor)] = true
			}
		}
		if len(seen) < 15 {
			t.Errorf("the slow server was asked for %d pages", len(seen))
		}
		n.archive.Close()
		time.Sleep(2 * time.Minute) // the answer that is under way
	})
}

// A transport that starts anew in the middle of a page brings all of it again.
// Its server has told no lie.
func TestPageThatComesTwiceBecauseTheTransportStartsAnewIsNoExcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		list := spread(now.Add(-5*time.Hour), now, syncPage)
		anew := false
		n := linked(t.TempDir(), func(c *Config) { c.SyncWindow = 6 * time.Hour }, func(n *link, q transport.Query) {
			if !anew {
				anew = true
				n.archive.hear(near, transport.History{Ref: q.Ref, Envelopes: list[:200]}, nil)
				n.archive.hear(near, transport.Ready{}, nil)
				return
			}
			n.give(q, list, nil)
		}).open(t)
		synctest.Wait()
		s, k := n.source(), n.archive.Describe().Counts.Sync
		if s.Fault != "" || k.Failures.sum() != 0 || k.Added != syncPage || k.Envelopes != syncPage+200 || s.Until.Before(now.Truncate(time.Second)) {
			t.Errorf("source %+v, counts %+v", s, k)
		}
		if queries, _ := n.asked(); len(queries) != 2 || queries[0].Ref != queries[1].Ref {
			t.Errorf("%d queries, want the one again", len(queries))
		}
		n.archive.Close()
	})
}
