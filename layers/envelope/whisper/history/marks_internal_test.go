package history

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/layertest"
	"github.com/stratanode/strata/layers/transport"
)

// What is saved is what is known, whatever was done, in few records.
func TestMarksAreReadAsTheyWereSaved(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		store := layertest.NewMemory()
		m := loadMarks(store)
		model := map[transport.Topic]int64{}
		some := rapid.Custom(func(rt *rapid.T) transport.Topic {
			return transport.Topic{0, 0, 0, byte(rapid.IntRange(0, 80).Draw(rt, "topic"))}
		})
		rt.Repeat(map[string]func(*rapid.T){
			"reach": func(rt *rapid.T) {
				second := int64(rapid.IntRange(0, 1000).Draw(rt, "second"))
				for range rapid.IntRange(1, 20).Draw(rt, "count") {
					x := some.Draw(rt, "x")
					m.reach(x, second, 900)
					if before, known := model[x]; !known || before < second || before > 900 {
						model[x] = second
					}
				}
			},
			"begin": func(rt *rapid.T) {
				x, second, again := some.Draw(rt, "x"), int64(rapid.IntRange(0, 1000).Draw(rt, "second")), rapid.Bool().Draw(rt, "again")
				m.begin(x, second, 900, again)
				if before, known := model[x]; !known || before > 900 || again && before > second {
					model[x] = second
				}
			},
			"forget": func(rt *rapid.T) {
				kept, horizon := some.Draw(rt, "kept"), int64(rapid.IntRange(0, 300).Draw(rt, "horizon"))
				m.forget(map[transport.Topic]uint64{kept: 1}, horizon)
				maps.DeleteFunc(model, func(x transport.Topic, second int64) bool { return x != kept && second < horizon })
			},
			"save": func(rt *rapid.T) {
				store.Commit(m.records())
				if again := m.records(); len(again) != 0 {
					rt.Fatalf("nothing has changed: got %v", again)
				}
				if n := store.Len(); n > 2*maxGroups {
					rt.Fatalf("%d records", n)
				}
				m = loadMarks(store)
				lowered := 0
				for x, second := range model {
					got, known := m.until[x]
					if !known || got > second {
						rt.Fatalf("%v: got %d, want %d", x, got, second)
					}
					if got < second {
						lowered++
						model[x] = got
					}
				}
				if len(m.until) != len(model) || lowered > 0 && len(m.groups) < maxGroups {
					rt.Fatalf("%d marks of %d, %d lowered in %d groups", len(m.until), len(model), lowered, len(m.groups))
				}
			},
		})
	})
}

func TestDamagedRecordIsReplaced(t *testing.T) {
	store := layertest.NewMemory()
	m := loadMarks(store)
	m.reach(transport.Topic{1}, 5, 9)
	m.reach(transport.Topic{2}, 6, 9)
	store.Commit(m.records())
	store.Commit([]layers.Record{{Key: untilKey(0), Value: []byte("?")}})
	m = loadMarks(store)
	if _, known := m.until[transport.Topic{1}]; known || m.until[transport.Topic{2}] != 6 {
		t.Errorf("got %v, want topic 2 only", m.until)
	}
	m.reach(transport.Topic{1}, 7, 9)
	store.Commit(m.records())
	if got, want := loadMarks(store).until, m.until; !reflect.DeepEqual(got, want) || store.Len() != 4 {
		t.Errorf("got %v in %d records, want %v in 4", got, store.Len(), want)
	}
}

func FuzzDecodeGroup(f *testing.F) {
	f.Add(encodeTopics([]transport.Topic{{1}, {2}}), encodeUntil(1564660800))
	f.Add([]byte{1}, []byte{1, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, topics, until []byte) {
		g, ok := decodeGroup(topics, until)
		if !ok {
			return
		}
		again, ok := decodeGroup(encodeTopics(g.topics), encodeUntil(g.until))
		if !ok || !reflect.DeepEqual(again, g) {
			t.Errorf("got %v, want %v", again, g)
		}
	})
}

func numbered(i int) (h transport.Hash) {
	h = layers.Keccak256(binary.BigEndian.AppendUint64(nil, uint64(i)))
	return h
}

// asking returns a driver with a query on its way, and its ref.
func asking(t *testing.T, now time.Time) (*Driver, transport.Query) {
	t.Helper()
	d := New(DefaultConfig(), rand.NewChaCha8([32]byte{}), nil)
	d.Ready(now)
	d.Archives(now, []string{"server"})
	d.Listen(now, []transport.Topic{{1}}, nil)
	out := d.Wake(now.Add(gather))
	if len(out.Down) != 1 {
		t.Fatalf("got %v, want a query", out.Down)
	}
	return d, out.Down[0].(transport.Query)
}

func TestServerWithoutAnEndCostsBoundedMemoryAndIsStopped(t *testing.T) {
	now := time.Date(2019, 8, 1, 12, 0, 0, 0, time.UTC)
	d, q := asking(t, now)
	now = now.Add(gather)
	pages := 0
	for n := 0; ; pages++ {
		var envelopes []transport.Envelope
		for range 10 {
			envelopes = append(envelopes, transport.Envelope{Hash: numbered(n), Topic: transport.Topic{1}, Sent: q.From})
			n++
		}
		d.History(now, transport.History{Ref: q.Ref, Server: "server", Envelopes: envelopes}, 10)
		if l := d.run.legs[0]; len(l.seen) > maxSeen {
			t.Fatalf("%d hashes are kept", len(l.seen))
		}
		out := d.Queried(now, transport.Queried{Ref: q.Ref, Server: "server", Count: 10, Cursor: fmt.Append(nil, pages)})
		if len(out.Down) == 0 {
			break
		}
		q = out.Down[0].(transport.Query)
	}
	if pages+1 != maxPages || d.progress.State != envelope.PartlyUp {
		t.Errorf("stopped after %d pages as %v, want %d and partly caught up", pages+1, d.progress.State, maxPages)
	}
}

func TestNamesOfServersAndReasonsAreBounded(t *testing.T) {
	now := time.Date(2019, 8, 1, 12, 0, 0, 0, time.UTC)
	d, q := asking(t, now)
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprint("server ", i), "", "server 1")
	}
	d.Archives(now, names)
	if len(d.servers) != maxServers {
		t.Errorf("got %d servers, want %d", len(d.servers), maxServers)
	}
	d.Archives(now, []string{"server"})
	d.Queried(now, transport.Queried{Ref: q.Ref, End: transport.QueryRefused, Reason: string(make([]byte, 1<<20)) + "\xff"})
	if got := len(d.progress.Gaps[0].Reason); got != maxReason {
		t.Errorf("the reason has %d bytes, want %d", got, maxReason)
	}
}

func TestRecentForgetsTheOldestOnly(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.IntRange(0, 10).Draw(rt, "limit")
		r := NewRecent(limit)
		var model []int
		for _, i := range rapid.SliceOf(rapid.IntRange(0, 30)).Draw(rt, "added") {
			known := false
			for _, k := range model {
				known = known || k == i
			}
			if r.Has(numbered(i)) != known {
				rt.Fatalf("%d: got %v, want %v", i, !known, known)
			}
			r.Add(numbered(i))
			if !known && limit > 0 {
				model = append(model, i)
				model = model[max(0, len(model)-limit):]
			}
			if r.Len() != len(model) {
				rt.Fatalf("got %d, want %d", r.Len(), len(model))
			}
		}
	})
}
