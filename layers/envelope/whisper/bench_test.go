package whisper_test

import (
	"encoding/binary"
	"testing"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/envelope/whisper"
	"github.com/stratanode/strata/layers/transport"
)

func numberedKey(i int) (k envelope.SymKey) {
	binary.BigEndian.PutUint64(k[:], uint64(i)+1)
	return k
}

// BenchmarkForeignEnvelope tries 1000 keys of one topic in vain: the worst that
// a stranger who knows a topic can ask for with one envelope.
func BenchmarkForeignEnvelope(b *testing.B) {
	s := opened(b)
	var set envelope.Listen
	for i := range 1000 {
		set.Filters = append(set.Filters, filter("f", topicA, numberedKey(i)))
	}
	s.above(set)
	e := transport.Received{Envelopes: []transport.Envelope{carried(b, topicA, keyB, "x")}}
	b.ReportAllocs()
	for b.Loop() {
		s.below(e)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/key")
}

// BenchmarkUnfilteredEnvelope is an envelope of a topic nobody listens to, beside
// 10000 topics somebody does.
func BenchmarkUnfilteredEnvelope(b *testing.B) {
	s := opened(b)
	var set envelope.Listen
	for i := range 10000 {
		set.Filters = append(set.Filters, filter("f", transport.Topic{0, 0, byte(i >> 8), byte(i)}, keyA))
	}
	s.above(set)
	e := transport.Received{Envelopes: []transport.Envelope{carried(b, transport.Topic{1}, keyA, "x")}}
	b.ReportAllocs()
	for b.Loop() {
		s.below(e)
	}
}

// BenchmarkListen repeats a set of 10000 filters.
func BenchmarkListen(b *testing.B) {
	s := opened(b)
	var set envelope.Listen
	for i := range 10000 {
		set.Filters = append(set.Filters, filter("f", transport.Topic{0, 0, byte(i >> 8), byte(i)}, numberedKey(i)))
	}
	b.ReportAllocs()
	for b.Loop() {
		s.above(set)
	}
}

func benchmarkOpen(b *testing.B, key envelope.Key) {
	s := opened(b)
	s.above(envelope.Listen{Filters: []envelope.Filter{filter("f", topicA, key)}})
	e := transport.Received{Envelopes: []transport.Envelope{carried(b, topicA, key, "hello")}}
	b.ReportAllocs()
	for i := uint64(0); b.Loop(); i++ {
		binary.BigEndian.PutUint64(e.Envelopes[0].Hash[:], i) // another envelope
		if out := s.below(e); len(out.Up) != 1 {
			b.Fatal("not opened")
		}
	}
}

func BenchmarkOpenSymmetric(b *testing.B)  { benchmarkOpen(b, keyA) }
func BenchmarkOpenAsymmetric(b *testing.B) { benchmarkOpen(b, envelope.Identity{Key: self.Public()}) }

func benchmarkSeal(b *testing.B, key envelope.Key) {
	s := opened(b)
	s.above(envelope.Listen{Filters: []envelope.Filter{filter("f", topicA, keyA)}})
	m := seal(1, key, "hello")
	answer := transport.Relayed{Ref: m.Ref}
	b.ReportAllocs()
	for b.Loop() {
		if out := s.above(m); len(out.Down) != 1 {
			b.Fatal("not sealed")
		}
		s.below(answer)
	}
}

func BenchmarkSealSymmetric(b *testing.B)  { benchmarkSeal(b, keyA) }
func BenchmarkSealAsymmetric(b *testing.B) { benchmarkSeal(b, envelope.Identity{Key: other.Public()}) }

func BenchmarkParseSignedPlaintext(b *testing.B) {
	raw, err := whisper.BuildPlaintext(make([]byte, 100), make([]byte, 88), self)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if p, err := whisper.ParsePlaintext(raw); err != nil || p.Signer == (layers.PublicKey{}) {
			b.Fatal(err)
		}
	}
}
