package udp_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// two opens two nodes that know each other.
func two(b *testing.B) (from, to transport.Transport) {
	b.Helper()
	one, other := freeAddress(b), freeAddress(b)
	from, to = open(b, one, fmt.Sprintf("%q", other)), open(b, other, fmt.Sprintf("%q", one))
	b.Cleanup(func() { shut(b, from); shut(b, to) })
	return from, to
}

// numbered returns an envelope of 1 KiB that lives for a second or less, so that
// a long run does not fill the nodes.
func numbered(i int) transport.Envelope {
	e := envelope(string(make([]byte, 1024)))
	e.TTL = 2 * time.Second
	binary.BigEndian.PutUint64(e.Data, uint64(i))
	return e
}

// BenchmarkOneAtATime measures publish to receive in process, one envelope of
// 1 KiB after the other, and reports the median.
func BenchmarkOneAtATime(b *testing.B) {
	from, to := two(b)
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		for from.Publish(b.Context(), []transport.Envelope{numbered(i)})[0] != nil {
			<-time.After(10 * time.Millisecond) // full until the TTL is over
			start = time.Now()
		}
		for n := 0; n == 0; {
			r, err := to.Receive(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			n = len(r.Envelopes)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
}

// BenchmarkBatches measures how many envelopes of 1 KiB a second arrive, in
// batches of 64 with at most 256 on the way.
func BenchmarkBatches(b *testing.B) {
	const batch, window = 64, 256
	from, to := two(b)
	arrived := make(chan int, 1024)
	go func() {
		for {
			r, err := to.Receive(b.Context())
			if err != nil {
				return
			}
			arrived <- len(r.Envelopes)
		}
	}()
	b.SetBytes(1024)
	flying, sent := 0, 0
	for sent < b.N || flying > 0 {
		for sent < b.N && flying+batch <= window {
			es := make([]transport.Envelope, min(batch, b.N-sent))
			for i := range es {
				es[i] = numbered(sent + i)
			}
			sent += len(es)
			for len(es) > 0 {
				var again []transport.Envelope
				for i, err := range from.Publish(b.Context(), es) {
					if errors.Is(err, transport.ErrBusy) {
						again = append(again, es[i])
					} else if err != nil {
						b.Fatal(err)
					} else {
						flying++
					}
				}
				if es = again; len(es) > 0 {
					<-time.After(10 * time.Millisecond)
				}
			}
		}
		flying -= <-arrived
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "envelopes/s")
}
