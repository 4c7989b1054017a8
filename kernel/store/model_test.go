package store

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// TestStoreBehavesLikeAMap compares a store with maps over commits, look-ups,
// scans and reopenings.
func TestStoreBehavesLikeAMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		_, o := disk(t)
		s := opened(t, dir, o)
		defer func() { s.Close() }()
		model := map[string]map[string]string{"x": {}, "y": {}}
		namespace := rapid.SampledFrom([]string{"x", "y"})
		key := rapid.StringOfN(rapid.SampledFrom([]rune("ab\x00é")), 0, 3, -1)
		record := rapid.Custom(func(t *rapid.T) Record {
			r := Record{Key: key.Draw(t, "key"), Secret: rapid.Bool().Draw(t, "secret")}
			if rapid.IntRange(0, 3).Draw(t, "delete") > 0 {
				r.Value = append([]byte{}, rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "value")...)
			}
			return r
		})
		rt.Repeat(map[string]func(*rapid.T){
			"commit": func(rt *rapid.T) {
				ns, records := namespace.Draw(rt, "ns"), rapid.SliceOfN(record, 0, 6).Draw(rt, "records")
				if err := s.Namespace(ns).Commit(records); err != nil {
					rt.Fatal(err)
				}
				for _, r := range records {
					if delete(model[ns], r.Key); r.Value != nil {
						model[ns][r.Key] = string(r.Value)
					}
				}
			},
			"get": func(rt *rapid.T) {
				ns, k := namespace.Draw(rt, "ns"), key.Draw(rt, "key")
				value, found, err := s.Namespace(ns).Get(k)
				want, there := model[ns][k]
				if string(value) != want || found != there || err != nil {
					rt.Fatalf("get %q: got %q, %v, %v, want %q, %v", k, value, found, err, want, there)
				}
			},
			"scan": func(rt *rapid.T) {
				ns, from, to, reverse := namespace.Draw(rt, "ns"), key.Draw(rt, "from"), key.Draw(rt, "to"), rapid.Bool().Draw(rt, "reverse")
				var want []string
				for _, k := range slices.Sorted(maps.Keys(model[ns])) {
					if k >= from && (to == "" || k < to) {
						want = append(want, k+"="+model[ns][k])
					}
				}
				if reverse {
					slices.Reverse(want)
				}
				if got := scanned(t, s.Namespace(ns), from, to, reverse); !slices.Equal(got, want) {
					rt.Fatalf("scan %q to %q, reverse %v: got %q, want %q", from, to, reverse, got, want)
				}
			},
			"reopen": func(rt *rapid.T) {
				closed(t, s)
				var err error
				if s, err = Open(dir, o); err != nil {
					rt.Fatal(err)
				}
			},
		})
	})
}

func TestCommitsAtTheSameTimeAreAllStored(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, Options{})
	const goroutines, each = 16, 40
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			n := s.Namespace(fmt.Sprint("n", g%3))
			for i := range each {
				key := fmt.Sprintf("%02d/%03d", g, i)
				if err := n.Commit([]Record{secretRecord(key, key), plainRecord("last", key)}); err != nil {
					t.Errorf("%s: %v", key, err)
				}
				if value, found, err := n.Get(key); string(value) != key || !found || err != nil {
					t.Errorf("%s, just committed: got %q, %v, %v", key, value, found, err)
				}
			}
		})
	}
	wg.Wait()
	closed(t, s)
	s = opened(t, dir, Options{})
	total := 0
	for i := range 3 {
		total += len(scanned(t, s.Namespace(fmt.Sprint("n", i)), "0", "9", false))
	}
	if want := goroutines * each; total != want {
		t.Errorf("%d records are there, want %d", total, want)
	}
}

// TestCommitThatFailsDoesNotHarmItsCompany puts a commit that the database
// refuses into one transaction with others.
func TestCommitThatFailsDoesNotHarmItsCompany(t *testing.T) {
	s := opened(t, t.TempDir(), Options{})
	run(t, s, "CREATE TEMP TRIGGER no BEFORE INSERT ON record WHEN new.key = x'6e6f' BEGIN SELECT RAISE(FAIL, 'no'); END")
	batch := []*commit{
		{ns: "x", records: []Record{secretRecord("a", "1")}},
		{ns: "x", records: []Record{secretRecord("b", "1"), plainRecord("no", "1")}},
		{ns: "x", records: []Record{secretRecord("c", "1")}},
	}
	s.write(batch)
	for i, failed := range []bool{false, true, false} {
		if (batch[i].err != nil) != failed {
			t.Errorf("commit %d: %v", i, batch[i].err)
		}
	}
	holds(t, s.Namespace("x"), "a=1", "c=1")
}

// TestWaitingCommitsShareATransaction holds the store while eight commits come,
// and counts the transactions they then take.
func TestWaitingCommitsShareATransaction(t *testing.T) {
	d, o := disk(t)
	s := opened(t, t.TempDir(), o)
	n := s.Namespace("x")
	committed(t, n, plainRecord("first", ""))
	const count = 8
	s.mu.Lock()
	var wg sync.WaitGroup
	for i := range count {
		wg.Go(func() {
			if err := n.Commit([]Record{plainRecord(fmt.Sprint(i), "")}); err != nil {
				t.Error(err)
			}
		})
	}
	for { // the first has left the queue, the others are in it
		s.queue.Lock()
		ready := s.queue.leading && len(s.queue.waiting) == count-1
		s.queue.Unlock()
		if ready {
			break
		}
		runtime.Gosched()
	}
	before := d.ops.Load()
	s.mu.Unlock()
	wg.Wait()
	// One write and one sync for each of the two transactions.
	if ops := d.ops.Load() - before; ops > 8 {
		t.Errorf("%d commits took %d disk operations", count, ops)
	}
}

func TestCloseWaitsForCommitsUnderWay(t *testing.T) {
	for range 20 {
		dir := t.TempDir()
		s := opened(t, dir, Options{})
		var acknowledged sync.Map
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for i := range 1000 {
					key := fmt.Sprintf("%d/%d", g, i)
					if s.Namespace("x").Commit([]Record{secretRecord(key, "1")}) != nil {
						return
					}
					acknowledged.Store(key, true)
				}
			})
		}
		for {
			if _, found := acknowledged.Load("0/0"); found {
				break
			}
			runtime.Gosched()
		}
		closed(t, s)
		wg.Wait()
		s = opened(t, dir, Options{})
		acknowledged.Range(func(key, _ any) bool {
			if _, found, err := s.Namespace("x").Get(key.(string)); !found || err != nil {
				t.Errorf("%s was acknowledged and is not there: %v", key, err)
			}
			return true
		})
		closed(t, s)
	}
}
