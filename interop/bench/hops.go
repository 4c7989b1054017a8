package main

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/stratanode/strata/interop/rawpeer"
)

// The lines of nodes. A node of the peer offers what is new at a tick of its
// own for each link, every 300 ms. Links that are made one after another have
// ticks that follow one another, and look twice as quick as strangers are; so
// each is made after a random pause.
const (
	lines     = 6
	hops      = 3
	single    = 20                     // envelopes through each line
	tick      = 300 * time.Millisecond // of the peer
	straggler = 5 * time.Second        // an envelope that takes longer is lost
)

// line is three nodes in a row. This program puts envelopes in at one end and
// listens behind the first and the last.
type line struct {
	in   *rawpeer.Link
	mu   sync.Mutex
	sent map[uint64]time.Time
	took [2][]float64 // ms: one hop, three hops
}

// hopsRow measures how long single envelopes take. The lines of both sides run
// at the same time; they use hardly any CPU.
func hopsRow(s *scene) ([]row, error) {
	all := map[bool][]*line{}
	for range lines {
		for _, side := range []side{peer, ours} {
			l, err := s.newLine(side)
			if err != nil {
				return nil, err
			}
			all[side.ours] = append(all[side.ours], l)
		}
	}
	var wait sync.WaitGroup
	errs := make(chan error, lines)
	for i := range lines {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for n := range uint64(single) {
				for _, l := range []*line{all[false][i], all[true][i]} {
					if err := l.send(n); err != nil {
						errs <- err
						return
					}
					time.Sleep(rand.N(tick))
				}
			}
		}()
	}
	wait.Wait()
	time.Sleep(hops*tick + tick)
	select {
	case err := <-errs:
		return nil, err
	default:
	}
	rows := []row{}
	for i, work := range []string{"one hop, ms, p50", "three hops, ms, p50"} {
		var p pair
		for _, l := range all[false] {
			l.mu.Lock()
			p.peer = append(p.peer, l.took[i]...)
			l.mu.Unlock()
		}
		for _, l := range all[true] {
			l.mu.Lock()
			p.ours = append(p.ours, l.took[i]...)
			l.mu.Unlock()
		}
		if len(p.peer) < lines*single*9/10 || len(p.ours) < lines*single {
			return nil, fmt.Errorf("%s: %d and %d envelopes of %d arrived", work, len(p.peer), len(p.ours), lines*single)
		}
		rows = append(rows, p.less(work, "%.2f", 1./50))
	}
	return rows, nil
}

func (s *scene) newLine(side side) (*line, error) {
	var row []*node
	for range hops {
		var to []*node
		if len(row) > 0 {
			to = row[len(row)-1:]
			time.Sleep(rand.N(tick))
		}
		n, err := s.start(side, to)
		if err != nil {
			return nil, err
		}
		row = append(row, n)
	}
	// Each node keeps the link to the one before it, so that is where they go.
	first, last := row[0], row[len(row)-1]
	for i, n := range row {
		want := 2
		if i == 0 || i == len(row)-1 {
			want = 1
		}
		if err := n.linked(want); err != nil {
			return nil, err
		}
	}
	l := &line{sent: map[uint64]time.Time{}}
	var err error
	if l.in, err = s.link(first, nothing, false); err != nil {
		return nil, err
	}
	go drain(l.in)
	for i, n := range []*node{first, last} {
		time.Sleep(rand.N(tick))
		out, err := s.link(n, nil, false)
		if err != nil {
			return nil, err
		}
		go l.listen(out, i)
	}
	return l, nil
}

// linked waits for the links of a node.
func (n *node) linked(want int) error {
	for end := time.Now().Add(linkTimeout); ; time.Sleep(20 * time.Millisecond) {
		got, err := n.links()
		if err != nil {
			return err
		}
		if got >= want {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: %d links, want %d", n.name, got, want)
		}
	}
}

// drain reads what nobody needs.
func drain(l *rawpeer.Link) {
	for {
		select {
		case <-l.Packets():
		case <-l.Ended():
			return
		}
	}
}

func (l *line) send(number uint64) error {
	payload := rawpeer.List(envelope(number, 400, 60))
	l.mu.Lock()
	l.sent[number] = time.Now()
	l.mu.Unlock()
	return l.in.Send(rawpeer.Messages, payload)
}

func (l *line) listen(out *rawpeer.Link, which int) {
	for {
		select {
		case p := <-out.Packets():
			now := time.Now()
			if p.Code != rawpeer.Messages {
				continue
			}
			l.mu.Lock()
			_ = numbers(p.Payload, func(n uint64) {
				if took := now.Sub(l.sent[n]); took < straggler {
					l.took[which] = append(l.took[which], float64(took)/1e6)
				}
			})
			l.mu.Unlock()
		case <-out.Ended():
			return
		}
	}
}
