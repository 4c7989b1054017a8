package archive

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
)

// The work of the benchmarks: envelopes of 540 B spread over 24 h, a hundred of
// them on one topic and the rest on random ones.
const (
	million    = 1_000_000
	benchData  = 540
	benchGroup = 2000 // envelopes a transaction; more gather if the disk is slow
)

var benchTopic = transport.Topic{0xbe, 0x4c, 0x88, 0x01}

func benchEnvelopes(random *rand.Rand, i, count, n int) (list []transport.Envelope) {
	for ; count > 0; i, count = i+1, count-1 {
		sent := t0.Add(time.Duration(float64(24*time.Hour) * float64(i) / float64(n)))
		var topic transport.Topic
		binary.BigEndian.PutUint32(topic[:], random.Uint32())
		if i%(n/100) == 0 {
			topic = benchTopic
		}
		data := make([]byte, benchData)
		for j := 0; j+8 <= len(data); j += 8 {
			binary.BigEndian.PutUint64(data[j:], random.Uint64())
		}
		list = append(list, sealedData(int(sent.Sub(t0).Seconds()), topic, data))
	}
	return list
}

// archived does what the edge does with what was admitted.
func archived(b *testing.B, s Store, list []transport.Envelope) {
	group := []parcel{{Admitted: transport.Admitted{Envelopes: list}, at: list[0].Sent}}
	if _, err := s.Insert(context.Background(), rowsOf(group)); err != nil {
		b.Fatal(err)
	}
}

// resident is the memory of the process in MiB, now and at most; zero where the
// system does not tell.
func resident() (now, most float64) {
	text, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(text)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kib); err == nil {
			now = kib / 1024
		}
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kib); err == nil {
			most = kib / 1024
		}
	}
	return now, most
}

// filled are databases with a million envelopes, which the benchmarks share.
var filled struct {
	sync.Mutex
	stores map[string]*filling
}

type filling struct {
	cfg   Config
	dir   string
	store Store
	rate  float64 // envelopes a second
}

func benchBackends(b *testing.B, f func(b *testing.B, m *filling)) {
	for _, backend := range []string{"sqlite", "postgres"} {
		b.Run(backend, func(b *testing.B) { f(b, fill(b, backend)) })
	}
}

func fill(b *testing.B, backend string) *filling {
	filled.Lock()
	defer filled.Unlock()
	if m := filled.stores[backend]; m != nil {
		return m
	}
	m := &filling{cfg: DefaultConfig()}
	if backend == "postgres" {
		m.cfg.Database = benchDatabase(b)
	} else {
		dir, err := os.MkdirTemp("", "archive-bench")
		if err != nil {
			b.Fatal(err)
		}
		m.dir = filepath.Join(dir, "data")
		atExit = append(atExit, func() { os.RemoveAll(dir) })
	}
	var err error
	if m.store, err = OpenStore(context.Background(), m.cfg, m.dir); err != nil {
		b.Fatal(err)
	}
	atExit = append(atExit, func() { m.store.Close() })
	if err := m.store.Load(context.Background()); err != nil {
		b.Fatal(err)
	}
	random, spent := rand.New(rand.NewPCG(1, 2)), time.Duration(0)
	for i := 0; i < million; i += benchGroup {
		list := benchEnvelopes(random, i, benchGroup, million)
		at := time.Now()
		archived(b, m.store, list)
		spent += time.Since(at)
	}
	m.rate = million / spent.Seconds()
	// The edge does so every few seconds: it learns of topics.
	if _, err := m.store.Contents(context.Background()); err != nil {
		b.Fatal(err)
	}
	if filled.stores == nil {
		filled.stores = map[string]*filling{}
	}
	filled.stores[backend] = m
	return m
}

// BenchmarkArchive makes a million envelopes durable, and then some more.
func BenchmarkArchive(b *testing.B) {
	benchBackends(b, func(b *testing.B, m *filling) {
		random, n := rand.New(rand.NewPCG(7, uint64(time.Now().UnixNano()))), 0
		for b.Loop() {
			b.StopTimer()
			list := benchEnvelopes(random, million-benchGroup, benchGroup, million*2) // of half the time
			b.StartTimer()
			archived(b, m.store, list)
			n += len(list)
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "envelopes/s")
		b.ReportMetric(m.rate, "first-million/s")
		report(b)
	})
}

// report adds the memory of the whole process, of which the making of the
// envelopes is a part.
func report(b *testing.B) {
	now, most := resident()
	b.ReportMetric(now, "RSS-MiB")
	b.ReportMetric(most, "RSS-most-MiB")
}

func benchSearch(b *testing.B, m *filling, next func() Search) {
	var scanned, keys int
	var worst time.Duration
	for b.Loop() {
		q := next()
		q.To, q.Limit, q.Budget = math.MaxUint32, transport.MaxPage, DefaultConfig().BurstRows
		at := time.Now()
		f, err := m.store.Search(context.Background(), q)
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := m.store.Fetch(context.Background(), f.Keys, 1<<30); err != nil {
			b.Fatal(err)
		}
		worst = max(worst, time.Since(at))
		scanned, keys = scanned+f.Scanned, keys+len(f.Keys)
	}
	b.ReportMetric(float64(scanned)/float64(b.N), "scanned/op")
	b.ReportMetric(float64(keys)/float64(b.N), "found/op")
	b.ReportMetric(float64(worst.Microseconds())/1000, "worst-ms")
	report(b)
}

// BenchmarkQueryTopic asks for the hundred envelopes of one topic.
func BenchmarkQueryTopic(b *testing.B) {
	benchBackends(b, func(b *testing.B, m *filling) {
		benchSearch(b, m, func() Search { return Search{Topics: []transport.Topic{benchTopic}} })
	})
}

// BenchmarkQueryBloom asks with blooms of every density, up to a thousand
// envelopes.
func BenchmarkQueryBloom(b *testing.B) {
	for _, bits := range []int{3, 30, 60, 80, 100, 130, 170, 250, 400} {
		b.Run(fmt.Sprintf("bits=%d", bits), func(b *testing.B) {
			benchBackends(b, func(b *testing.B, m *filling) {
				random := rand.New(rand.NewPCG(11, 12))
				benchSearch(b, m, func() Search {
					bloom := whisper.TopicBloom(benchTopic)
					for range bits {
						i := random.IntN(512)
						bloom[i/8] |= 1 << (i % 8)
					}
					return Search{Bloom: &bloom}
				})
			})
		})
	}
}

// BenchmarkPages streams requests of a thousand envelopes as the edge does, page
// by page, one request after the other.
func BenchmarkPages(b *testing.B) {
	benchBackends(b, func(b *testing.B, m *filling) {
		a := New(m.cfg, m.dir, slog.New(slog.NewTextHandler(io.Discard, nil)))
		served, before := 0, (*Key)(nil)
		for b.Loop() {
			q := &ask{ctx: context.Background(), asked: transport.Asked{From: t0, To: t0.Add(48 * time.Hour), Limit: transport.MaxPage}}
			if before != nil {
				q.asked.Cursor = before[:]
			}
			for last := false; !last; {
				page, end, err := a.page(m.store, q)
				if err != nil {
					b.Fatal(err)
				}
				served, last = served+len(page.Envelopes), end
			}
			before = q.next
		}
		b.ReportMetric(float64(served)/b.Elapsed().Seconds(), "envelopes/s")
		report(b)
	})
}

// BenchmarkLoad reads what blooms are answered from, as at each start.
func BenchmarkLoad(b *testing.B) {
	benchBackends(b, func(b *testing.B, m *filling) {
		for b.Loop() {
			if err := m.store.Load(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
		c, err := m.store.Contents(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(c.FileBytes)/float64(c.Envelopes), "B/envelope")
		report(b)
	})
}
