package shh

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stratanode/strata/layers/transport/whisper"
)

// block is how many nonces are tried between two looks at the clock: some
// milliseconds.
const block = 1 << 13

// mine returns the smallest nonce that reaches the target of s, looking for it
// on several cores until ctx ends.
func mine(ctx context.Context, s *whisper.Search, cores int) (nonce uint64, found bool) {
	var next, least atomic.Uint64
	least.Store(math.MaxUint64)
	onCores(s, cores, func(s *whisper.Search) {
		for ctx.Err() == nil {
			// Blocks are handed out in order, so once one beyond the least find
			// comes, all below it are done or being done.
			from := next.Add(block) - block
			if from > least.Load() {
				return
			}
			if n, ok := s.Try(from, block); ok {
				lower(&least, n)
				return
			}
		}
	})
	return least.Load(), least.Load() != math.MaxUint64
}

// lower makes x at most n.
func lower(x *atomic.Uint64, n uint64) {
	for {
		before := x.Load()
		if n >= before || x.CompareAndSwap(before, n) {
			return
		}
	}
}

// mineBest returns the best nonce that was found when ctx ended, the smallest of
// those.
func mineBest(ctx context.Context, s *whisper.Search, cores int) (nonce uint64) {
	var (
		next atomic.Uint64
		mu   sync.Mutex
		best = -1
	)
	onCores(s, cores, func(s *whisper.Search) {
		for ctx.Err() == nil {
			n, zeros := s.TryBest(next.Add(block)-block, block)
			mu.Lock()
			if zeros > best || zeros == best && n < nonce {
				nonce, best = n, zeros
			}
			mu.Unlock()
		}
	})
	return nonce
}

// onCores calls work on n goroutines with a search of its own each, and returns
// when all are done.
func onCores(s *whisper.Search, n int, work func(*whisper.Search)) {
	var all sync.WaitGroup
	for range n - 1 {
		clone := s.Clone()
		all.Go(func() { work(clone) })
	}
	work(s)
	all.Wait()
}

// cores is how many cores a post may use.
func (a *API) cores() int {
	if a.cfg.PoWCores > 0 {
		return a.cfg.PoWCores
	}
	return runtime.GOMAXPROCS(0)
}

// work finds the nonce that a post asks for: none for a target of zero, the best
// that its time allows for one below, the first that reaches it otherwise.
func (a *API) work(ctx context.Context, s *whisper.Search, m *NewMessage) (nonce uint64, err error) {
	if m.PoWTarget == 0 {
		return 0, nil
	}
	select {
	case a.mining <- struct{}{}:
		defer func() { <-a.mining }()
	default:
		return 0, fmt.Errorf("shh: busy: %d posts are looking for a proof of work already (posts)", a.cfg.Posts)
	}
	l, err := a.alive()
	if err != nil {
		return 0, err
	}
	limited, cancel := context.WithTimeout(ctx, time.Duration(m.PoWTime)*time.Second)
	defer cancel()
	stop := context.AfterFunc(l.ctx, cancel)
	defer stop()

	found := true
	if m.PoWTarget < 0 {
		nonce = mineBest(limited, s, a.cores())
	} else {
		nonce, found = mine(limited, s, a.cores())
	}
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err() // the client went away
	case l.ctx.Err() != nil:
		return 0, errStopping
	case !found:
		return 0, fmt.Errorf("failed to reach the PoW target, specified pow time (%d seconds) was insufficient", m.PoWTime)
	}
	return nonce, nil
}
