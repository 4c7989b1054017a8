package history_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/envelope/whisper/history"
	"github.com/stratanode/strata/layers/transport"
)

// BenchmarkWindow fetches a window of 20 pages of 500 envelopes.
func BenchmarkWindow(b *testing.B) {
	const pages, size = 20, 500
	var envelopes []transport.Envelope
	for i := range pages * size {
		envelopes = append(envelopes, transport.Envelope{Hash: hash(i), Topic: topic(1), Sent: t0.Add(-time.Hour)})
	}
	b.ReportAllocs()
	for b.Loop() {
		d := history.New(history.DefaultConfig(), rand.NewChaCha8([32]byte{1}), nil)
		d.Ready(t0)
		d.Archives(t0, []string{"server"})
		d.Listen(t0, []transport.Topic{topic(1)}, nil)
		out := d.Wake(t0.Add(time.Second))
		for i := range pages {
			q := out.Down[0].(transport.Query)
			d.History(t0, transport.History{Ref: q.Ref, Envelopes: envelopes[i*size : (i+1)*size]}, size)
			out = d.Queried(t0, transport.Queried{Ref: q.Ref, Cursor: []byte{byte(i)}})
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/pages/size, "ns/envelope")
}

// BenchmarkListen repeats a set of 10000 topics.
func BenchmarkListen(b *testing.B) {
	w := newWorld(b)
	for i := range 10_000 {
		w.topics = append(w.topics, topic(i))
	}
	w.listen()
	d := history.New(w.cfg, rand.NewChaCha8([32]byte{1}), nil)
	b.ReportAllocs()
	for b.Loop() {
		d.Listen(t0, w.topics, nil)
	}
}
