package libp2p

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// BenchmarkDelivery is one way over loopback TCP between two nodes, 1 KiB each,
// one envelope at a time.
func BenchmarkDelivery(b *testing.B) {
	from, to := pair(b)
	var times []time.Duration
	data := make([]byte, 1024)
	for i := 0; b.Loop(); i++ {
		e := envelope(uint64(i+1), topic, "")
		e.Data = unique(data, i)
		began := time.Now()
		if err := from.try(e); err != nil {
			b.Fatal(err)
		}
		to.awaitEnvelopes(b, i+1)
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkThroughput is the same, as fast as the transport takes them.
func BenchmarkThroughput(b *testing.B) {
	from, to := pair(b)
	data := make([]byte, 1024)
	sent, began := 0, time.Now()
	for b.Loop() {
		sent++
		e := envelope(uint64(sent), topic, "")
		e.Data = unique(data, sent)
		for errors.Is(from.try(e), transport.ErrBusy) {
			from.await(b, "room", func() bool { return len(from.receipts) > sent-from.conf.Queue })
		}
	}
	to.awaitEnvelopes(b, sent)
	b.ReportMetric(float64(sent)/time.Since(began).Seconds(), "envelopes/s")
}

// BenchmarkOpen is from New to a node that listens, and its end.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		n := New()
		if _, err := n.Open(context.Background(), transport.Options{Config: []byte(`{"listen":["/ip4/127.0.0.1/tcp/0","/ip4/127.0.0.1/udp/0/quic-v1"]}`), Dir: dir}); err != nil {
			b.Fatal(err)
		}
		if err := n.Close(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

func pair(b *testing.B) (from, to *node) {
	from = start(b, nil)
	to = start(b, settings{"peers": from.Addrs()})
	to.subscribe(b, topic)
	from.awaitPeers(b, 1)
	return from, to
}

func unique(data []byte, i int) []byte {
	d := slices.Clone(data)
	d[0], d[1], d[2], d[3] = byte(i), byte(i>>8), byte(i>>16), byte(i>>24)
	return d
}
