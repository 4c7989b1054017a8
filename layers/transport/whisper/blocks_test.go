package whisper

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stratanode/strata/layers/transport"
)

// sized is an envelope with data of a length, different for every i.
func sized(i, size int, expiry uint32) Envelope {
	data := append(fmt.Append(nil, i), make([]byte, size)...)
	raw := EncodeEnvelope(Envelope{Expiry: expiry, TTL: 60, Topic: chat, Data: data})
	e, _, err := parseEnvelope(raw)
	if err != nil {
		panic(err)
	}
	e.Hash = hashOf(raw)
	return e
}

// TestPoolKeepsEnvelopesAsTheyCame compares a pool with a map of all that is in
// it, while envelopes of all sizes come, expire, are evicted and are claimed.
func TestPoolKeepsEnvelopesAsTheyCame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var (
			p    = newPool(1 << 20)
			live = map[transport.Hash][]byte{}
			now  = t0
			next = 0
		)
		remove := func(x *entry) {
			if live[x.hash] == nil {
				t.Fatal("what has left leaves again")
			}
			delete(live, x.hash)
		}
		t.Repeat(map[string]func(*rapid.T){
			"come": func(t *rapid.T) {
				size := rapid.SampledFrom([]int{0, 50, 540, aloneFrom - 100, aloneFrom, 2 * blockSize}).Draw(t, "size")
				own := rapid.Bool().Draw(t, "own")
				for range rapid.IntRange(1, 10).Draw(t, "count") {
					next++
					e := sized(next, size, uint32(now.Unix())+rapid.Uint32Range(0, 100).Draw(t, "ttl"))
					x, ok := p.add(&e, rapid.Float64Range(0, 3).Draw(t, "pow"), now, own)
					for _, gone := range p.out {
						remove(gone)
					}
					p.out = nil
					if ok {
						live[e.Hash] = slices.Clone(e.raw)
						p.known.set(x, int(next%200))
					}
				}
			},
			"expire": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 60).Draw(t, "seconds")) * time.Second)
				for x := p.expired(uint32(now.Unix())); x != nil; x = p.expired(uint32(now.Unix())) {
					remove(x)
				}
			},
			"": func(t *rapid.T) {
				cost, owned := 0, 0
				for _, x := range p.log {
					if x.dead() {
						continue
					}
					if !bytes.Equal(p.raw(x), live[x.hash]) {
						t.Fatalf("%s is not kept as it came", x.hash)
					}
					e := Envelope{raw: live[x.hash]}
					if p.find(&e) != x || p.at(x.seq) != x {
						t.Fatalf("%s is not found", x.hash)
					}
					cost += p.cost(x)
					if x.own() {
						owned += p.cost(x)
					}
				}
				if p.len() != len(live) || p.bytes != cost || p.owned != owned || p.bytes > p.limit {
					t.Fatalf("%d envelopes of %d bytes, %d own; want %d of %d, %d own", p.len(), p.bytes, p.owned, len(live), cost, owned)
				}
				held := 0
				for _, k := range p.blocks.list {
					held += cap(k.bytes)
				}
				// What has left, the ends of blocks, and two blocks that are not full.
				if most := p.bytes + p.bytes/clutter + p.bytes/4 + 3*blockSize; held > most {
					t.Fatalf("%d bytes are held for %d", held, p.bytes)
				}
			},
		})
	})
}

func TestWhatWasReadFromThePoolStaysAsItWas(t *testing.T) {
	p := newPool(64 << 20)
	first := sized(0, 500, uint32(t0.Unix())+1)
	x, _ := p.add(&first, 1, t0, false)
	raw := p.raw(x)
	for i := range 500 {
		now := t0.Add(time.Duration(i) * time.Second)
		for p.expired(uint32(now.Unix())) != nil {
		}
		for k := range 20 {
			e := sized(1+100*i+k, 500, uint32(now.Unix())+uint32(1+k*k))
			p.add(&e, 1, now, false)
		}
	}
	if !x.dead() || !bytes.Equal(raw, first.raw) {
		t.Errorf("gone: %v, and reads %x", x.dead(), raw)
	}
}

func TestPoolGivesBackTheMemoryOfABurst(t *testing.T) {
	p := newPool(64 << 20)
	for i := range 20_000 {
		e := sized(i, 540, uint32(t0.Unix())+1+uint32(i%100/99*100)) // one in a hundred stays
		x, ok := p.add(&e, 1, t0, false)
		if !ok {
			t.Fatal("not pooled")
		}
		p.known.set(x, 100)
	}
	for p.expired(uint32(t0.Unix())+2) != nil {
	}
	held := 0
	for _, k := range p.blocks.list {
		held += cap(k.bytes)
	}
	if p.len() != 200 || held > 5*blockSize || cap(p.log)+cap(p.due)+cap(p.worth)+len(p.known) > 10*p.len() {
		t.Errorf("%d pooled hold %d bytes, places for %d, %d and %d, and %d sets",
			p.len(), held, cap(p.log), cap(p.due), cap(p.worth), len(p.known))
	}
}

func TestSetsOfPeersAreToldApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var (
			f    farPeers
			list = []*entry{{}, {}, {}}
			want [3]map[int]bool
		)
		for i := range want {
			want[i] = map[int]bool{}
		}
		for range 200 {
			i, slot := rapid.IntRange(0, 2).Draw(t, "set"), rapid.IntRange(0, 300).Draw(t, "slot")
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				f.keep(list)
			case 1, 2, 3:
				f.clear(list[i], slot)
				delete(want[i], slot)
			default:
				f.set(list[i], slot)
				want[i][slot] = true
			}
		}
		for i, x := range list {
			for slot := range 301 {
				if f.has(x, slot) != want[i][slot] {
					t.Fatalf("set %d has %d: %v", i, slot, !want[i][slot])
				}
			}
		}
	})
}
