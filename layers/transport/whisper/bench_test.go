package whisper

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

// BenchmarkMine compares the ways to look for a nonce; one operation is one
// nonce.
func BenchmarkMine(b *testing.B) {
	for _, size := range []int{300, 1340, 10540} {
		input := make([]byte, size-8)
		b.Run(fmt.Sprintf("naive/%d", size), func(b *testing.B) {
			buf := make([]byte, size)
			for i := range b.N {
				binary.BigEndian.PutUint64(buf[size-8:], uint64(i))
				if leadingZeros(layers.Keccak256(buf)) == 256 {
					b.Fatal("found")
				}
			}
		})
		for _, way := range []struct {
			name string
			wide bool
		}{{"scalar", false}, {"fourway", true}} {
			b.Run(fmt.Sprintf("%s/%d", way.name, size), func(b *testing.B) {
				m := newMiner(input, way.wide)
				for range b.N/4096 + 1 {
					if _, found := m.search(257, min(4096, b.N)); found {
						b.Fatal("found")
					}
				}
			})
		}
	}
}

// unmined are envelopes that differ, as a relay without requirement takes them.
func unmined(n, size int) [][]byte {
	list := make([][]byte, n)
	for i := range list {
		e := Envelope{Expiry: uint32(t0.Unix()) + 3600, TTL: 3600, Topic: transport.Topic{byte(i), byte(i >> 8)}, Data: make([]byte, size)}
		binary.BigEndian.PutUint64(e.Data, uint64(i))
		list[i] = EncodeEnvelope(e)
	}
	return list
}

// BenchmarkIngest decodes and admits envelopes; one operation is one envelope.
func BenchmarkIngest(b *testing.B) {
	for _, size := range []int{540, 1308, 10524} {
		for _, per := range []int{1, 50} {
			payloads := [][]byte{}
			all := unmined(1000, size)
			for i := 0; i < len(all); i += per {
				payloads = append(payloads, payloadOf(all[i:i+per]...))
			}
			run := func(b *testing.B, fresh bool) {
				cfg := DefaultConfig()
				cfg.MinPoW = 0
				codec := NewCodec(cfg)
				var n *Node
				restart := func() {
					n = New(cfg)
					n.Wake(t0)
					connect(b, n, t0, alice)
				}
				feed := func(payload []byte) {
					p, err := codec.Decode(t0, codeMessages, payload)
					if err != nil {
						b.Fatal(err)
					}
					n.FromBelow(t0, overlay.Arrived{Peer: alice, Packet: p})
					n.FromBelow(t0, overlay.Written{Peer: alice})
				}
				restart()
				if !fresh {
					for _, p := range payloads {
						feed(p)
					}
				}
				b.ReportAllocs()
				b.ResetTimer()
				for i := range b.N / per {
					if fresh && i > 0 && i%len(payloads) == 0 {
						b.StopTimer()
						restart()
						b.StartTimer()
					}
					feed(payloads[i%len(payloads)])
				}
			}
			b.Run(fmt.Sprintf("new/%d/by%d", size, per), func(b *testing.B) { run(b, true) })
			b.Run(fmt.Sprintf("duplicate/%d/by%d", size, per), func(b *testing.B) { run(b, false) })
		}
	}
}

// BenchmarkLateJoiner serves a pool of 2 MB to a peer that has just come; one
// operation is all of it.
func BenchmarkLateJoiner(b *testing.B) {
	cfg := DefaultConfig()
	cfg.MinPoW = 0
	n := New(cfg)
	n.Wake(t0)
	connect(b, n, t0, alice)
	for _, raw := range unmined(2000, 1000) {
		below(b, n, t0, arrival(b, alice, raw))
	}
	b.ReportAllocs()
	for b.Loop() {
		out := connect(b, n, t0, bob)
		for len(out.Down) > 0 {
			out = below(b, n, t0, overlay.Written{Peer: bob})
		}
		below(b, n, t0, overlay.Disconnected{Peer: bob})
	}
}

// BenchmarkForward brings one new envelope to 50 idle peers.
func BenchmarkForward(b *testing.B) {
	cfg := DefaultConfig()
	cfg.MinPoW = 0
	n := New(cfg)
	n.Wake(t0)
	for i := range 50 {
		connect(b, n, t0, overlay.PeerID{byte(i + 1)})
	}
	e := Envelope{Topic: chat, TTL: 10, Data: make([]byte, 1000)}
	b.ReportAllocs()
	for i := range b.N {
		now := t0.Add(time.Duration(i) * time.Millisecond)
		e.Expiry = uint32(now.Unix()) + 10
		binary.BigEndian.PutUint64(e.Data, uint64(i))
		below(b, n, now, arrival(b, alice, EncodeEnvelope(e)))
		for i := range 50 {
			below(b, n, now, overlay.Written{Peer: overlay.PeerID{byte(i + 1)}})
		}
	}
}

// BenchmarkPooled reports what a pooled envelope takes in memory.
func BenchmarkPooled(b *testing.B) {
	const count = 50_000
	for b.Loop() {
		all := unmined(count, 540)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		p := newPool(1 << 30)
		for _, raw := range all {
			e, _ := DecodeEnvelope(raw)
			p.add(&e, 1, t0, false)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/count, "B/envelope")
		runtime.KeepAlive(p)
		runtime.KeepAlive(all)
	}
}

// BenchmarkTurnover lets envelopes come and expire until the pool has been replaced
// some times; one operation is all of them. It reports what a pooled one takes in
// memory in the end: with one time to live they leave in the order they came in,
// with many the gaps are everywhere.
func BenchmarkTurnover(b *testing.B) {
	const pooled, turns, perSecond = 20_000, 4, 20
	for _, way := range []struct {
		name string
		ttl  func(*rand.Rand) int // seconds; pooled/perSecond in the mean
	}{
		{"one ttl", func(*rand.Rand) int { return pooled / perSecond }},
		{"many ttls", func(r *rand.Rand) int { return 10 + int(r.ExpFloat64()*pooled/perSecond) }},
	} {
		b.Run(way.name, func(b *testing.B) {
			var (
				before, after runtime.MemStats
				data          = make([]byte, 540)
				random        = rand.New(rand.NewPCG(1, 2))
				adds, live    = 0, 0
			)
			for b.Loop() {
				b.StopTimer()
				runtime.GC()
				runtime.ReadMemStats(&before)
				p := newPool(1 << 30)
				b.StartTimer()
				for i := range pooled * turns {
					now := t0.Add(time.Duration(i/perSecond) * time.Second)
					for p.expired(uint32(now.Unix())) != nil {
					}
					ttl := uint32(way.ttl(random))
					binary.BigEndian.PutUint64(data, uint64(i))
					raw := EncodeEnvelope(Envelope{Expiry: uint32(now.Unix()) + ttl, TTL: ttl, Topic: chat, Data: data, Nonce: 1})
					e, _, err := parseEnvelope(raw)
					if err != nil {
						b.Fatal(err)
					}
					binary.BigEndian.PutUint64(e.Hash[:], uint64(i))
					p.add(&e, 1, now, false)
					adds++
				}
				b.StopTimer()
				runtime.GC()
				runtime.ReadMemStats(&after)
				live = p.len()
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(live), "B/envelope")
				runtime.KeepAlive(p)
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(adds), "ns/envelope")
		})
	}
}

// BenchmarkPublish is the time from a Publish to its Accepted: what the proof of
// work of an envelope takes of the node.
func BenchmarkPublish(b *testing.B) {
	for _, size := range []int{1 << 10, 10 << 10, 100 << 10} {
		for _, ttl := range []time.Duration{15 * time.Second, 10 * time.Minute} {
			b.Run(fmt.Sprintf("%dKiB/%v", size>>10, ttl), func(b *testing.B) {
				cfg := DefaultConfig()
				cfg.PoolBytes = 1 << 40
				n := New(cfg)
				n.Wake(t0)
				data := make([]byte, size)
				steps := 0
				for i := range b.N {
					binary.BigEndian.PutUint64(data, uint64(i))
					// A pool with nothing in it, as the one before it would fill the memory.
					n.pool, n.refs = newPool(cfg.PoolBytes), map[layers.Ref]*publication{}
					out := above(b, n, t0, transport.Publish{TTL: ttl, Data: data})
					for steps++; len(ups[transport.Accepted](out)) == 0; steps++ {
						out = n.Wake(t0)
					}
				}
				b.ReportMetric(float64(steps)/float64(b.N), "steps/op")
			})
		}
	}
}
