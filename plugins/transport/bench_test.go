//go:build unix

package transport

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// echo is a transport for benchmarks: it takes everything, and reports without
// end what it was given if its topic says so.
type echo struct {
	*fake
	mu     sync.Mutex
	flood  []Envelope
	direct chan []Envelope
}

func newEcho() *echo {
	e := &echo{fake: newFake(), direct: make(chan []Envelope, 1)}
	e.publish = func(_ context.Context, batch []Envelope) []error {
		switch batch[0].Topic {
		case Topic{'b', 'a', 'c', 'k'}:
			e.direct <- batch
		case Topic{'f', 'l', 'o', 'd'}:
			e.mu.Lock()
			e.flood = batch
			e.mu.Unlock()
			e.direct <- batch
		}
		return nil
	}
	return e
}

func (e *echo) Receive(ctx context.Context) (Report, error) {
	e.mu.Lock()
	flood := e.flood
	e.mu.Unlock()
	if flood != nil {
		return Report{Envelopes: flood}, nil
	}
	select {
	case b := <-e.direct:
		return Report{Envelopes: b}, nil
	case <-ctx.Done():
		return Report{}, ctx.Err()
	case <-e.down:
		return Report{}, ErrClosed
	}
}

// BenchmarkPublish measures one way from host to plugin, through a process
// boundary with TLS, 1 KiB each, four batches under way.
func BenchmarkPublish(b *testing.B) {
	for _, size := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			r, _, _ := start(b, command(b, "bench"), true)
			const callers = 4
			b.SetBytes(1 << 10)
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for c := range callers {
				wg.Go(func() {
					batch := envelopes(c<<32, size, 1<<10)
					for n := c * size; n < b.N; n += callers * size {
						for i := range batch {
							batch[i].ID += uint64(size)
						}
						if errs := r.Publish(context.Background(), batch); errs != nil {
							b.Error(errs[0])
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "envelopes/s")
		})
	}
}

// BenchmarkReceive measures one way from plugin to host.
func BenchmarkReceive(b *testing.B) {
	for _, size := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			r, _, _ := start(b, command(b, "bench"), true)
			batch := envelopes(1, size, 1<<10)
			for i := range batch {
				batch[i].Topic = Topic{'f', 'l', 'o', 'd'}
			}
			b.SetBytes(1 << 10)
			b.ReportAllocs()
			if errs := r.Publish(context.Background(), batch); errs != nil {
				b.Fatal(errs)
			}
			b.ResetTimer()
			for n := 0; n < b.N; {
				report, err := r.Receive(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				n += len(report.Envelopes)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "envelopes/s")
		})
	}
}

// BenchmarkRoundTrip measures one envelope to the plugin and back.
func BenchmarkRoundTrip(b *testing.B) {
	r, _, _ := start(b, command(b, "bench"), true)
	batch := envelopes(1, 1, 1<<10)
	batch[0].Topic = Topic{'b', 'a', 'c', 'k'}
	times := make([]time.Duration, 0, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		began := time.Now()
		batch[0].ID++
		if errs := r.Publish(context.Background(), batch); errs != nil {
			b.Fatal(errs)
		}
		if _, err := r.Receive(context.Background()); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Nanoseconds())/1e3, "p50-µs")
	b.ReportMetric(float64(times[len(times)*99/100].Nanoseconds())/1e3, "p99-µs")
}
