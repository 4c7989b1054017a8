package main

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/stratanode/strata/interop/rawpeer"
)

// filler is what the data of quickly made envelopes consists of.
var filler = func() []byte {
	b := make([]byte, 64<<10)
	_, _ = rand.Read(b)
	return b
}()

// filled makes an envelope with a number and part of the filler.
func filled(number uint64, size int, ttl uint32) []byte {
	data := make([]byte, size)
	binary.BigEndian.PutUint64(data, number)
	if size > 8 {
		copy(data[8:], filler[int(number)%(len(filler)-size):])
	}
	return rawpeer.NewEnvelope([4]byte{byte(number >> 24), byte(number >> 16), byte(number >> 8), byte(number)}, data, ttl).Raw()
}

// Of idleRow. The envelopes are short, because each goes to each of the peers:
// what the peer does with them when it is idle does not depend on their length.
const (
	crowd     = 50
	crowdPool = 50_000
	filling   = 90 * time.Second // until all have everything
	resting   = 2 * time.Second  // for the last garbage of it
	watched   = 5 * time.Second
	windows   = 2
)

// idleRow measures what a node costs that has nothing to do: 50 peers, all of
// which have all of a pool of 50,000.
func idleRow(s *scene) ([]row, error) {
	const size, ttl, per = 16, 3600, 250
	var packets [][]byte
	for at := 0; at < crowdPool; at += per {
		packets = append(packets, numbered(at, per, size, ttl))
	}
	var p pair
	for _, side := range []side{peer, ours} {
		n, err := s.start(side, nil)
		if err != nil {
			return nil, err
		}
		if err := s.feed(n, packets, func() error { return nil }); err != nil {
			return nil, err
		}
		if err := s.gather(n); err != nil {
			return nil, err
		}
		time.Sleep(resting)
		for range windows {
			used, err := n.usage(watched)
			if err != nil {
				return nil, err
			}
			p.add(side, used)
		}
		if links, err := n.links(); err != nil || links != crowd {
			return nil, fmt.Errorf("%s: %d links after it, want %d (%v)", side.name, links, crowd, err)
		}
		n.end()
	}
	return []row{p.less("idle, 50 peers, pool of 50,000, cores", "%.5f", 1./50)}, nil
}

// gather links a crowd to a node and waits until all have all of its pool.
func (s *scene) gather(n *node) error {
	end := time.Now().Add(filling)
	got := make([]atomic.Int64, crowd)
	for i := range got {
		l, err := s.link(n, nil, false)
		if err != nil {
			return err
		}
		go count(l, crowdPool, &got[i])
	}
	for i := range got {
		for got[i].Load() < crowdPool {
			if time.Now().After(end) {
				return fmt.Errorf("%s: peer %d got %d of %d", n.name, i, got[i].Load(), crowdPool)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return nil
}

// usage is how many cores a node uses.
func (n *node) usage(lasts time.Duration) (cores float64, err error) {
	began, err := n.cpu()
	if err != nil {
		return 0, err
	}
	at := time.Now()
	time.Sleep(lasts)
	took, err := n.cpu()
	return float64(took-began) / float64(time.Since(at)), err
}

// joiningRow lets a go-ethereum peer join a node with a pool of 5 MB, of either
// side, and looks how much of it is in its pool.
func joiningRow(s *scene) ([]row, error) {
	const count, size, per = 9000, 540, 50
	const nominal = 20 + size // what go-ethereum counts for an envelope
	payloads := bundles(count, per, size, 3600)
	var got [2]int
	for i, side := range []side{peer, ours} {
		n, err := s.start(side, nil)
		if err != nil {
			return nil, err
		}
		if err := s.feed(n, payloads, func() error { return nil }); err != nil {
			return nil, err
		}
		joiner, err := s.start(peer, []*node{n})
		if err != nil {
			return nil, err
		}
		for end := time.Now().Add(8 * time.Second); got[i] < count && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			var info struct {
				Memory int `json:"memory"`
			}
			if err := joiner.call(&info, "shh_info"); err != nil {
				return nil, err
			}
			got[i] = max(got[i], info.Memory/nominal)
		}
		joiner.end()
		n.end()
	}
	return []row{{
		work: "a go-ethereum peer joins a pool of 5 MB", peer: fmt.Sprintf("gets %d of %d", got[0], count), ours: fmt.Sprintf("gets %d of %d", got[1], count),
		ratio: "-", goal: "all", met: got[1] == count,
	}}, nil
}
