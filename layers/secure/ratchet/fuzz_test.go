package ratchet

import (
	"bytes"
	"maps"
	"testing"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
)

// FuzzDecodeMessage wants what was decoded to be the same after it was encoded,
// and the encoding to be the only one of it.
func FuzzDecodeMessage(f *testing.F) {
	_, a, b := talk(f)
	f.Add(a.say(b, "seed")[0].seal.Payload)
	f.Add(a.packets[0].seal.Payload)
	f.Add(protocolMessage{installation: "i", public: []byte("p"), hasPublic: true}.encode())
	f.Add([]byte{0x1a, 0x02, 0x12, 0x00})
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := decodeMessage(raw)
		if err != nil {
			return
		}
		if len(m.bundles) > maxBundles || len(m.direct) > maxDirect || len(m.installation) > maxInstallation {
			t.Fatalf("bounds: %d bundles, %d devices", len(m.bundles), len(m.direct))
		}
		once := m.encode()
		again, err := decodeMessage(once)
		if err != nil {
			t.Fatalf("own encoding: %v", err)
		}
		if twice := again.encode(); !bytes.Equal(once, twice) {
			t.Fatalf("encoded %x, then %x", once, twice)
		}
		for i := range m.bundles {
			if _, err := m.bundles[i].verify(); err == nil {
				_ = m.bundles[i].plausible(t0)
			}
		}
	})
}

// FuzzReceive wants that no payload breaks a node, and that what it refuses
// leaves no trace.
func FuzzReceive(f *testing.F) {
	_, a, b := talk(f)
	k := a.say(b, "seed")[0]
	b.say(a, "answer")
	f.Add(k.seal.Payload, uint8(0))
	f.Add(message(f, k).bundles[0].encode(), uint8(1))
	f.Add([]byte(`["~#c4",["text"]]`), uint8(2))
	filters := []envelope.FilterID{"own/partitioned", "code/x", "channel/status", "own/contact-code", "peer/x", "?"}
	f.Fuzz(func(t *testing.T, raw []byte, filter uint8) {
		before := snapshot(b.mem)
		out, err := b.node.FromBelow(t0, envelope.Opened{
			Filter: filters[int(filter)%len(filters)], Payload: raw, Signer: a.key.Public(),
		})
		if err != nil {
			if len(out.Save)+len(out.Up)+len(out.Down) > 0 || !maps.Equal(before, snapshot(b.mem)) {
				t.Fatalf("%v, and yet %+v", err, out)
			}
			return
		}
		b.mem.Commit(out.Save)
	})
}

// FuzzOpen gives a session hostile headers and payloads.
func FuzzOpen(f *testing.F) {
	_, a, b := talk(f)
	d := message(f, a.say(b, "seed")[0]).direct[0]
	p := b.node.peers[a.key.Public()]
	s := b.node.session(p, p.sessions[0])
	f.Add(d.ratchet.key, d.ratchet.n, d.ratchet.pn, d.payload[:20])
	f.Add([]byte{2}, uint32(1<<32-1), uint32(1<<32-1), d.payload)
	f.Fuzz(func(t *testing.T, key []byte, n, pn uint32, payload []byte) {
		before := s.record().Value
		h := &ratchetHeader{key: key, n: n, pn: pn, prekey: d.ratchet.prekey}
		if body, err := s.open(&script{}, h, payload); err == nil {
			t.Fatalf("opened as %q", body)
		}
		if !bytes.Equal(before, s.record().Value) {
			t.Fatal("the session has changed")
		}
	})
}

// FuzzRecords wants damaged records to be reported, not to be trusted.
func FuzzRecords(f *testing.F) {
	_, a, b := talk(f)
	p := a.node.peers[b.key.Public()]
	s := a.node.session(p, p.sessions[0])
	f.Add(p.record().Value)
	f.Add(s.record().Value)
	f.Add(a.node.own.prekeys[0].record().Value)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if q, err := decodePeer(p.identity, raw); err == nil {
			r, err := decodePeer(p.identity, q.record().Value)
			if err != nil || !bytes.Equal(q.record().Value, r.record().Value) {
				t.Fatalf("peer: %v", err)
			}
		}
		if q, err := decodeSession(s.key, raw, &script{}); err == nil {
			r, err := decodeSession(s.key, q.record().Value, &script{})
			if err != nil || !bytes.Equal(q.record().Value, r.record().Value) {
				t.Fatalf("session: %v", err)
			}
		}
		if q, err := decodePrekey(prekeyRecord(7), raw); err == nil {
			if r, err := decodePrekey(prekeyRecord(7), q.record().Value); err != nil || r.public != q.public {
				t.Fatalf("prekey: %v", err)
			}
		}
	})
}

func BenchmarkOneWay(b *testing.B) { benchmark(b, 1<<30) }

func BenchmarkPingPong(b *testing.B) { benchmark(b, 1) }

// benchmark sends and opens 1 KiB messages; the direction changes after every
// turn messages. It counts both sides, with records made but not stored.
func benchmark(b *testing.B, turn int) {
	e, from, to := talk(b)
	body := string(make([]byte, 1024))
	b.SetBytes(1024)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		k := from.say(to, body)[0]
		if err := to.take(k); err != nil {
			b.Fatal(err)
		}
		e.packets, to.got, from.got = e.packets[:0], nil, nil
		clear(e.keys)
		clear(from.finals)
		if (i+1)%turn == 0 {
			from, to = to, from
		}
	}
}

// BenchmarkSession is the ratchet alone, with its record.
func BenchmarkSession(b *testing.B) {
	for _, skipped := range []int{0, 100, 1000} {
		b.Run(map[int]string{0: "in order", 100: "100 skipped", 1000: "1000 skipped"}[skipped], func(b *testing.B) {
			_, x, y := talk(b)
			sx := x.node.session(x.node.peers[y.key.Public()], x.node.peers[y.key.Public()].sessions[0])
			sy := y.node.session(y.node.peers[x.key.Public()], y.node.peers[x.key.Public()].sessions[0])
			body := make([]byte, 1024)
			for range skipped {
				if _, err := sx.seal(x.random, body); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(1024)
			b.ReportAllocs()
			var saved layers.Record
			for b.Loop() {
				d, err := sx.seal(x.random, body)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := sy.open(y.random, d.ratchet, d.payload); err != nil {
					b.Fatal(err)
				}
				sy.forget(d.ratchet)
				saved = sy.record()
			}
			b.ReportMetric(float64(len(saved.Value)), "record-bytes")
		})
	}
}
