package libp2p

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	maxAsking = 3                      // requests under way; a fourth peer waits
	askGap    = 250 * time.Millisecond // between requests to a peer
)

// asker decides when which peer is asked or given a hint. What falls due for one
// peer in the meantime becomes one request.
type asker struct {
	fetch func(ctx context.Context, p peer.ID, age time.Duration) (int, error)
	hint  func(ctx context.Context, p peer.ID) error
	count *counters
	wake  chan struct{} // capacity 1

	mu      sync.Mutex
	able    map[peer.ID]bool // peers that speak the protocol
	jobs    map[job]*due
	running map[peer.ID]bool
	last    map[peer.ID]time.Time // when a peer was last asked
}

type job struct {
	peer peer.ID
	hint bool
}

type due struct {
	at  time.Time
	age time.Duration // 0 for everything
}

func newAsker(count *counters) *asker {
	return &asker{
		count: count, wake: make(chan struct{}, 1), able: map[peer.ID]bool{},
		jobs: map[job]*due{}, running: map[peer.ID]bool{}, last: map[peer.ID]time.Time{},
	}
}

// meet notes a peer that speaks the protocol, and whether it is new.
func (a *asker) meet(p peer.ID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.able[p]
	a.able[p] = true
	return !known
}

// part forgets a peer.
func (a *asker) part(p peer.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.able, p)
	delete(a.last, p)
	delete(a.jobs, job{p, false})
	delete(a.jobs, job{p, true})
}

// peers returns those that speak the protocol.
func (a *asker) peers() []peer.ID {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]peer.ID, 0, len(a.able))
	for p := range a.able {
		list = append(list, p)
	}
	return list
}

// ask plans a request for what p has got within age, 0 for ever, of the shards
// that this node will be in by then.
func (a *asker) ask(p peer.ID, age, delay time.Duration) { a.plan(job{peer: p}, age, delay) }

// tell plans a hint for p.
func (a *asker) tell(p peer.ID, delay time.Duration) { a.plan(job{p, true}, 0, delay) }

// tellAll plans a hint for all peers but one.
func (a *asker) tellAll(except peer.ID, delay time.Duration) {
	for _, p := range a.peers() {
		if p != except {
			a.tell(p, delay)
		}
	}
}

func (a *asker) plan(j job, age, delay time.Duration) {
	at := time.Now().Add(delay)
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.able[j.peer] {
		return
	}
	if next := a.last[j.peer].Add(askGap); at.Before(next) {
		at = next
	}
	d := a.jobs[j]
	if d == nil {
		a.jobs[j] = &due{at, age}
	} else {
		if at.Before(d.at) {
			d.at = at
		}
		if age == 0 || (d.age != 0 && age > d.age) {
			d.age = age
		}
	}
	signal(a.wake)
}

// run carries out the plans until ctx is done.
func (a *asker) run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		j, d, wait := a.next(time.Now())
		if d != nil {
			work.Go(func() { a.perform(ctx, j, d) })
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		case <-timer.C:
		}
	}
}

// next takes what is due, or says how long there is nothing to do.
func (a *asker) next(now time.Time) (job, *due, time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	wait := time.Hour
	if len(a.running) >= maxAsking {
		return job{}, nil, wait
	}
	for j, d := range a.jobs {
		if a.running[j.peer] {
			continue
		}
		if left := d.at.Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		delete(a.jobs, j)
		a.running[j.peer] = true
		a.last[j.peer] = now
		return j, d, 0
	}
	return job{}, nil, wait
}

func (a *asker) perform(ctx context.Context, j job, d *due) {
	n, err := 0, error(nil)
	if j.hint {
		err = a.hint(ctx, j.peer)
	} else {
		n, err = a.fetch(ctx, j.peer, d.age)
	}
	a.mu.Lock()
	delete(a.running, j.peer)
	a.mu.Unlock()
	if n > 0 {
		a.tellAll(j.peer, askGap)
	}
	switch {
	case err != nil && ctx.Err() == nil:
		a.count.askFailed.Add(1)
		if !j.hint { // a lost hint is made up for by the sweep
			a.ask(j.peer, d.age, failedDelay+rand.N(failedDelay))
		}
	case err == nil && !j.hint && d.age == 0:
		a.ask(j.peer, hintAge, settleDelay)
	}
	signal(a.wake)
}

// anyone returns a peer by lot.
func (a *asker) anyone() (peer.ID, bool) {
	list := a.peers()
	if len(list) == 0 {
		return "", false
	}
	return list[rand.N(len(list))], true
}
