package archive

import (
	"bytes"
	"context"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
)

// model answers searches by looking at everything.
type model map[Key]Row

func (m model) search(q Search) (keys []Key) {
	for k, r := range m {
		if k.Sent() >= q.From && k.Sent() <= q.To && (q.Before == nil || k.Less(*q.Before)) &&
			(len(q.Topics) == 0 || slices.Contains(q.Topics, r.Topic)) && (q.Bloom == nil || q.Bloom.Match(r.Topic)) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b Key) int { return bytes.Compare(b[:], a[:]) })
	return keys
}

// randomSearch is about some of the topics and times of the test below.
func randomSearch(r *rand.Rand) Search {
	q := Search{From: uint32(t0.Unix()) + r.Uint32N(100_000), Limit: 1 + r.IntN(40), Budget: 1 + r.IntN(400)}
	q.To = q.From + r.Uint32N(200_000)
	if r.IntN(4) == 0 {
		q.From, q.To = 0, math.MaxUint32
	}
	if r.IntN(2) == 0 {
		for range 1 + r.IntN(6) {
			q.Topics = append(q.Topics, topicN(r.IntN(60)))
		}
	}
	if r.IntN(2) == 0 {
		b := whisper.Bloom{}
		for range r.IntN(12) {
			b.Add(topicN(r.IntN(60)))
		}
		for range r.IntN(100) {
			i := r.IntN(512)
			b[i/8] |= 1 << (i % 8)
		}
		q.Bloom = &b
	}
	return q
}

func TestSearchFindsWhatAModelFindsInItsOrder(t *testing.T) {
	backends(t, func(t *testing.T, open func() Store) {
		s, m := open(), model{}
		r := rand.New(rand.NewPCG(3, 4))
		for range 12 {
			var rows []Row
			for range 100 {
				row := row(r.IntN(150_000), topicN(r.IntN(50)*r.IntN(2)), r.Int())
				rows = append(rows, row)
				m[row.Key] = row
			}
			insertAll(t, s, rows...)
		}
		fresh := open() // loads what is there instead of hearing of it
		for range 60 {
			q := randomSearch(r)
			want := m.search(q)
			for _, s := range []Store{s, fresh} {
				if got := everything(t, s, q); !slices.Equal(got, want) {
					t.Fatalf("%+v: %d keys, want %d", q, len(got), len(want))
				}
			}
		}
		clean(t, s)
	})
}

func TestFullLastPageHasNoCursor(t *testing.T) {
	backends(t, func(t *testing.T, open func() Store) {
		s := open()
		for i := range 10 {
			insertAll(t, s, row(i, topicN(1), i))
		}
		for _, topics := range [][]transport.Topic{nil, {topicN(1)}} {
			for limit, more := range map[int]bool{9: true, 10: false, 11: false} {
				f, err := s.Search(t.Context(), Search{To: math.MaxUint32, Topics: topics, Limit: limit, Budget: 1000})
				if err != nil || len(f.Keys) != min(limit, 10) || (f.Next != nil) != more {
					t.Errorf("topics %v, limit %d: %d keys, cursor %v, %v", topics, limit, len(f.Keys), f.Next, err)
				}
			}
		}
	})
}

func TestEnvelopeComesBackAsItWasGiven(t *testing.T) {
	backends(t, func(t *testing.T, open func() Store) {
		s := open()
		odd := sealed(3, topicN(1), 3)
		odd.Raw = []byte("what another transport writes")
		bare := sealed(2, topicN(2), 2)
		bare.Raw = nil
		empty := sealed(1, topicN(3), 1)
		empty.Raw, empty.Data = nil, nil
		want := []transport.Envelope{sealed(4, topicN(4), 4), odd, bare, empty}
		var rows []Row
		for i := range want {
			rows = append(rows, rowOf(&want[i], want[i].Sent))
		}
		insertAll(t, s, rows...)
		keys := everything(t, s, Search{To: math.MaxUint32, Limit: 10, Budget: 1000})
		back, used, err := s.Fetch(t.Context(), keys, 1<<20)
		if err != nil || used != 4 || len(back) != 4 {
			t.Fatalf("%d rows, %d used, %v", len(back), used, err)
		}
		for i := range back {
			got, err := back[i].envelope()
			if err != nil || !got.Sent.Equal(want[i].Sent) {
				t.Fatal(err, got.Sent)
			}
			got.Sent = want[i].Sent
			if len(got.Data) == 0 {
				got.Data = want[i].Data // no data is none, nil or not
			}
			if !reflect.DeepEqual(got, want[i]) {
				t.Errorf("got  %+v\nwant %+v", got, want[i])
			}
		}
		clean(t, s)
	})
}

func TestSameEnvelopeTwiceIsOne(t *testing.T) {
	backends(t, func(t *testing.T, open func() Store) {
		s := open()
		a, b := row(1, topicN(1), 1), row(2, topicN(1), 2)
		for i, want := range []int{2, 0} {
			if n, err := s.Insert(t.Context(), []Row{a, b, a}); n != want || err != nil {
				t.Errorf("insert %d: %d new, %v; want %d", i, n, err, want)
			}
		}
		c, err := s.Contents(t.Context())
		if err != nil || c.Envelopes != 2 || c.Topics != 1 || c.Bytes != int64(a.size()+b.size()) || c.FileBytes == 0 ||
			!c.Oldest.Equal(t0.Add(time.Second)) || !c.Newest.Equal(t0.Add(2*time.Second)) {
			t.Errorf("contents %+v, %v", c, err)
		}
		clean(t, s)
	})
}

func TestFetchEndsAtTheBoundOnBytes(t *testing.T) {
	backends(t, func(t *testing.T, open func() Store) {
		s := open()
		var keys []Key
		for i := range 5 {
			e := sealedData(i, topicN(i), bytes.Repeat([]byte{byte(i)}, 1000))
			r := rowOf(&e, e.Sent)
			insertAll(t, s, r)
			keys = append(keys, r.Key)
		}
		missing := row(9, topicN(9), 9).Key
		asked := []Key{missing, keys[0], missing, keys[1], keys[2], keys[3], missing}
		for bound, want := range map[int][2]int{1: {1, 3}, 2200: {2, 4}, 1 << 20: {4, 7}} {
			rows, used, err := s.Fetch(t.Context(), asked, bound)
			if err != nil || len(rows) != want[0] || used > want[1] || used < want[1]-1 {
				t.Errorf("up to %d bytes: %d rows, %d used, %v; want %v", bound, len(rows), used, err, want)
			}
			for i, r := range rows {
				if r.Key != keys[i] {
					t.Errorf("up to %d bytes: row %d is another", bound, i)
				}
			}
		}
	})
}

func TestPruneRemovesTheOldestByTheTimeThatCounts(t *testing.T) {
	backends(t, func(t *testing.T, open func() Store) {
		s := open()
		var rows []Row
		for i := range 20 {
			rows = append(rows, row(i, topicN(i%4), i))
		}
		future := sealed(10*365*24*3600, topicN(7), 100)
		early := rowOf(&future, t0.Add(5*time.Second)) // counts from its arrival
		soon := sealed(1000, topicN(7), 101)
		near := rowOf(&soon, t0.Add(5*time.Second)) // a clock that is wrong by less than an hour
		insertAll(t, s, append(rows, early, near)...)
		if n, err := s.Prune(t.Context(), uint32(t0.Unix())+10, 3); n != 3 || err != nil {
			t.Fatalf("one batch removed %d, %v", n, err)
		}
		n, err := Prune(t.Context(), s, t0.Add(10*time.Second))
		if n != 8 || err != nil { // 10 and the early one, less 3
			t.Fatalf("removed %d, %v", n, err)
		}
		keys := everything(t, s, Search{To: math.MaxUint32, Limit: 100, Budget: 1000})
		if len(keys) != 11 || keys[0] != near.Key || keys[10] != rows[10].Key {
			t.Errorf("%d are left", len(keys))
		}
		clean(t, s)
		if n, err = Prune(t.Context(), s, time.Unix(math.MaxUint32, 0)); n != 11 || err != nil {
			t.Errorf("removed %d, %v", n, err)
		}
		if c, err := s.Contents(t.Context()); err != nil || c.Envelopes != 0 || c.Bytes != 0 || c.Topics != 0 {
			t.Errorf("contents %+v, %v", c, err)
		}
		clean(t, s)
	})
}

func TestCursorOfAPrunedEnvelopeSkipsNothing(t *testing.T) {
	backends(t, func(t *testing.T, open func() Store) {
		s := open()
		var keys []Key
		for i := range 10 {
			// Row 5 counts as the oldest, so it alone is pruned.
			e, arrived := sealed(100_000+i, topicN(1), i), t0.Add(time.Hour*200)
			if i == 5 {
				arrived = t0
			}
			r := rowOf(&e, arrived)
			insertAll(t, s, r)
			keys = append(keys, r.Key)
		}
		if n, err := Prune(t.Context(), s, t0.Add(time.Second)); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		for _, topics := range [][]transport.Topic{nil, {topicN(1)}} {
			got := everything(t, s, Search{To: math.MaxUint32, Before: &keys[5], Topics: topics, Limit: 3, Budget: 1000})
			want := slices.Clone(keys[:5])
			slices.Reverse(want)
			if !slices.Equal(got, want) {
				t.Errorf("topics %v: %d keys follow, want 5", topics, len(got))
			}
		}
	})
}

func TestFindKnowsEveryHash(t *testing.T) {
	backends(t, func(t *testing.T, open func() Store) {
		s := open()
		r := row(77, topicN(1), 1)
		insertAll(t, s, r, row(78, topicN(1), 2))
		at, found, err := s.Find(t.Context(), r.Key.Hash())
		if !found || err != nil || !at.Equal(t0.Add(77*time.Second)) {
			t.Errorf("%v, %v, %v", at, found, err)
		}
		if _, found, err := s.Find(t.Context(), transport.Hash{1}); found || err != nil {
			t.Errorf("found what is not there: %v, %v", found, err)
		}
	})
}

func TestVerifySeesDamage(t *testing.T) {
	for what, sql := range map[string][2]string{
		"another topic":  {`UPDATE envelope SET topic = 5`, `UPDATE archive_envelope SET topic = 5`},
		"another span":   {`UPDATE envelope SET span = span + 1`, `UPDATE archive_envelope SET span = span + 1`},
		"other bytes":    {`UPDATE content SET bytes = x'c0'`, `UPDATE archive_envelope SET content = '\xc0'`},
		"another hash":   {`UPDATE envelope SET key = CAST(substr(key, 1, 35) || x'00' AS BLOB)`, `UPDATE archive_envelope SET key = substring(key for 35) || '\x00'`},
		"a wrong total":  {`UPDATE total SET rows = 7`, `UPDATE archive_state SET size = 7`},
		"a missing part": {`DELETE FROM content`, `DELETE FROM archive_topic`},
	} {
		t.Run(what, func(t *testing.T) {
			backends(t, func(t *testing.T, open func() Store) {
				s := open()
				insertAll(t, s, row(1, topicN(1), 1))
				clean(t, s)
				var err error
				switch s := s.(type) {
				case *sqliteStore:
					err = s.writer.conn.Exec(sql[0])
				case *postgresStore:
					err = s.pool.with(t.Context(), func(c *pgx.Conn) error {
						_, err := c.Exec(t.Context(), sql[1])
						return err
					})
				}
				if err != nil {
					t.Fatal(err)
				}
				if v, err := s.Verify(t.Context(), func(int, int) {}); err != nil || v.Clean() {
					t.Errorf("verified as %+v, %v", v, err)
				}
			})
		})
	}
}

func TestSearchEndsWithItsContext(t *testing.T) {
	backends(t, func(t *testing.T, open func() Store) {
		s := open()
		insertAll(t, s, row(1, topicN(1), 1))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if f, err := s.Search(ctx, Search{To: math.MaxUint32, Limit: 1, Budget: 10}); err == nil {
			t.Errorf("found %v", f)
		}
		if f, err := s.Search(t.Context(), Search{To: math.MaxUint32, Limit: 1, Budget: 10}); err != nil || len(f.Keys) != 1 {
			t.Errorf("the next one: %v, %v", f, err)
		}
	})
}

func TestServersOnOneDatabaseFindWhatTheOthersStore(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Database = postgresURL(t)
	// They start at the same time, on a database that is empty.
	servers := make([]Store, 4)
	var all sync.WaitGroup
	for i := range servers {
		all.Go(func() {
			s, err := OpenStore(t.Context(), cfg, "")
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Load(t.Context()); err != nil {
				t.Error(err)
			}
			servers[i] = s
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	defer func() {
		for _, s := range servers {
			s.Close()
		}
	}()
	bloom := func(n int) *whisper.Bloom { b := whisper.TopicBloom(topicN(n)); return &b }
	for round := range 5 {
		for i, s := range servers {
			all.Go(func() {
				// Each stores some of its own, and one that all have.
				insertAll(t, s, row(round, topicN(100*round+i), 100*round+i), row(round, topicN(100*round+50), 100*round+50))
			})
		}
		all.Wait()
		for i := range servers {
			for j, s := range servers {
				if got := everything(t, s, Search{To: math.MaxUint32, Bloom: bloom(100*round + i), Limit: 10, Budget: 1000}); len(got) != 1 {
					t.Errorf("server %d finds %d of what server %d stored", j, len(got), i)
				}
			}
		}
	}
	if c, err := servers[3].Contents(t.Context()); err != nil || c.Envelopes != 25 || c.Topics != 25 {
		t.Errorf("contents %+v, %v", c, err)
	}
	// A topic that goes and comes back.
	if _, err := Prune(t.Context(), servers[0], t0.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if c, err := servers[1].Contents(t.Context()); err != nil || c.Topics != 0 {
		t.Errorf("contents %+v, %v", c, err)
	}
	insertAll(t, servers[2], row(1, topicN(1), 1))
	for j, s := range servers {
		if got := everything(t, s, Search{To: math.MaxUint32, Bloom: bloom(1), Limit: 10, Budget: 1000}); len(got) != 1 {
			t.Errorf("server %d finds %d of a topic that came back", j, len(got))
		}
	}
	clean(t, servers[3])
}
