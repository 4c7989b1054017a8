package whisper

import (
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/stratanode/strata/layers/transport/whisper/internal/rlpwrite"
)

var draft = Draft{Expiry: 1_577_836_850, TTL: 50, Topic: chat, Data: make([]byte, 300)}

func TestSearchFindsTheSmallestNonceOfItsRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.SampledFrom([]uint64{0, 1, 2, 3, 1000, 1 << 40, 1<<64 - 40}).Draw(t, "from")
		count := rapid.Uint64Range(0, 200).Draw(t, "count")
		wide := rapid.Bool().Draw(t, "four-way")
		s := NewSearch(draft, 0)
		s.zeros = rapid.IntRange(0, 8).Draw(t, "zeros")
		s.miner = newMiner(rlpwrite.List(nil, s.fields), wide)

		var want, best uint64
		found, most := false, -1
		for i := range count {
			zeros := leadingZeros(s.work(from + i))
			if zeros >= s.zeros && !found {
				want, found = from+i, true
			}
			if zeros > most {
				best, most = from+i, zeros
			}
		}
		if got, ok := s.Try(from, count); ok != found || found && got != want {
			t.Errorf("nonce %d (%v), want %d (%v)", got, ok, want, found)
		}
		if got, zeros := s.TryBest(from, count); count > 0 && (got != best || zeros != most) {
			t.Errorf("best nonce %d with %d zeros, want %d with %d", got, zeros, best, most)
		}
	})
}

func TestSealedSearchIsWhatPeersTake(t *testing.T) {
	s := NewSearch(draft, 0.02)
	nonce, found := s.Try(0, 1<<20)
	if !found {
		t.Fatal("no nonce found")
	}
	raw, hash := s.Seal(nonce)
	e := decoded(t, raw)
	if e.Hash != hash || e.Expiry != draft.Expiry || e.TTL != draft.TTL || e.Topic != draft.Topic || len(e.Data) != 300 || e.Nonce != nonce {
		t.Errorf("envelope %+v", e)
	}
	if pow := e.PoW(0); pow < 0.02 || pow != s.PoW(nonce) || leadingZeros(s.work(nonce)) < s.Zeros() {
		t.Errorf("proof of work %v, said to be %v", pow, s.PoW(nonce))
	}
}

func TestEveryNonceWillDoForNoWork(t *testing.T) {
	for _, pow := range []float64{0, -1} {
		if nonce, found := NewSearch(draft, pow).Try(5, 1); !found || nonce != 5 {
			t.Errorf("pow %v: %d (%v)", pow, nonce, found)
		}
	}
}

func TestClonesSearchAtTheSameTime(t *testing.T) {
	for _, wide := range []bool{false, true} {
		s := NewSearch(draft, 0)
		s.zeros, s.miner = 12, newMiner(rlpwrite.List(nil, s.fields), wide)
		want, found := s.Clone().Try(0, 1<<20)
		if !found {
			t.Fatal("no nonce found")
		}
		const part = 1 << 12
		got := make([]uint64, want/part+2)
		var group sync.WaitGroup
		for i := range got {
			c := s.Clone()
			group.Go(func() {
				if n, found := c.Try(uint64(i)*part, part); found {
					got[i] = n
				}
			})
		}
		group.Wait()
		if got[want/part] != want {
			t.Errorf("four-way %v: %v, want %d among them", wide, got, want)
		}
	}
}
