package libp2p

import (
	"context"
	"fmt"
	"math/bits"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
)

// linger is how long a shard is kept that is no longer needed. Leaving and
// joining tells peers when interests change, and gossip punishes it by a pause.
const linger = 2 * time.Minute

// shardName returns the pubsub topic of a shard.
func shardName(network string, shard int) string {
	return fmt.Sprintf("/shh/1/%s/%d", network, shard)
}

// shards is the membership of this node and of its peers.
type shards struct {
	topics []*pubsub.Topic
	events []*pubsub.TopicEventHandler

	joining sync.Mutex // held while gossip is asked to join or leave

	// The loop of gossip may wait for mu, so mu is never held while waiting for
	// the loop.
	mu     sync.Mutex
	leave  []pubsub.RelayCancelFunc // nil: not joined
	until  []time.Time              // when to leave; zero: needed
	peers  []map[peer.ID]struct{}
	member map[peer.ID]int  // in how many shards a peer is
	stream map[peer.ID]bool // peers to whom gossip can write: it learns of others' shards before that
	change chan struct{}    // closed and replaced when peers change
}

// openShards joins no shard yet, but watches who is in each.
func openShards(ps *pubsub.PubSub, names []string, validator func(shard int) pubsub.ValidatorEx) (*shards, error) {
	n := len(names)
	s := &shards{
		leave: make([]pubsub.RelayCancelFunc, n), until: make([]time.Time, n),
		peers: make([]map[peer.ID]struct{}, n), member: map[peer.ID]int{}, stream: map[peer.ID]bool{}, change: make(chan struct{}),
	}
	for i, name := range names {
		if err := ps.RegisterTopicValidator(name, validator(i), pubsub.WithValidatorInline(true)); err != nil {
			return nil, fmt.Errorf("libp2p: shard %s: %w", name, err)
		}
		topic, err := ps.Join(name)
		if err != nil {
			return nil, fmt.Errorf("libp2p: shard %s: %w", name, err)
		}
		events, err := topic.EventHandler()
		if err != nil {
			return nil, fmt.Errorf("libp2p: shard %s: %w", name, err)
		}
		s.peers[i] = map[peer.ID]struct{}{}
		s.topics, s.events = append(s.topics, topic), append(s.events, events)
	}
	return s, nil
}

// watch follows who is in a shard until ctx is done, and tells the number of
// peers when it changes, and of each that joins.
func (s *shards) watch(ctx context.Context, shard int, peers func(n int), joined func(peer.ID)) {
	for {
		e, err := s.events[shard].NextPeerEvent(ctx)
		if err != nil {
			return
		}
		before, after := s.note(shard, e)
		if before != after {
			peers(after)
		}
		if e.Type == pubsub.PeerJoin {
			joined(e.Peer)
		}
	}
}

func (s *shards) note(shard int, e pubsub.PeerEvent) (before, after int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before = len(s.member)
	_, there := s.peers[shard][e.Peer]
	switch {
	case e.Type == pubsub.PeerJoin && !there:
		s.peers[shard][e.Peer] = struct{}{}
		s.member[e.Peer]++
	case e.Type == pubsub.PeerLeave && there:
		delete(s.peers[shard], e.Peer)
		if s.member[e.Peer]--; s.member[e.Peer] == 0 {
			delete(s.member, e.Peer)
		}
	}
	s.changed()
	return before, len(s.member)
}

func (s *shards) changed() {
	close(s.change)
	s.change = make(chan struct{})
}

// reach notes whether gossip can write to a peer.
func (s *shards) reach(p peer.ID, can bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if can {
		s.stream[p] = true
	} else {
		delete(s.stream, p)
	}
	s.changed()
}

// need joins what is needed, plans to leave what is not, and returns the shards
// that were joined now.
func (s *shards) need(needed []bool, now time.Time) ([]bool, error) {
	s.joining.Lock()
	defer s.joining.Unlock()
	was := s.joined()
	joined := make([]bool, len(s.topics))
	for i, need := range needed {
		var leave pubsub.RelayCancelFunc
		if need && !was[i] {
			var err error
			if leave, err = s.topics[i].Relay(); err != nil {
				return joined, fmt.Errorf("libp2p: shard %d: %w", i, err)
			}
			joined[i] = true
		}
		s.plan(i, need, leave, now)
	}
	return joined, nil
}

// plan notes that shard i is needed or not; leave is set if it was joined now.
func (s *shards) plan(i int, need bool, leave pubsub.RelayCancelFunc, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if leave != nil {
		s.leave[i] = leave
	}
	switch {
	case need:
		s.until[i] = time.Time{}
	case s.leave[i] != nil && s.until[i].IsZero():
		s.until[i] = now.Add(linger)
	}
}

// tidy leaves the shards whose time is over.
func (s *shards) tidy(now time.Time) {
	s.joining.Lock()
	defer s.joining.Unlock()
	for _, leave := range s.over(now) {
		leave()
	}
}

func (s *shards) over(now time.Time) []pubsub.RelayCancelFunc {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []pubsub.RelayCancelFunc
	for i, until := range s.until {
		if !until.IsZero() && !now.Before(until) {
			list = append(list, s.leave[i])
			s.leave[i], s.until[i] = nil, time.Time{}
		}
	}
	return list
}

// joined says which shards this node is in.
func (s *shards) joined() []bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]bool, len(s.leave))
	for i, leave := range s.leave {
		list[i] = leave != nil
	}
	return list
}

// taken says which shards have a peer to whom gossip can write. What is given to
// gossip for another goes nowhere, without a word.
func (s *shards) taken() []bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]bool, len(s.peers))
	for i, peers := range s.peers {
		for p := range peers {
			list[i] = list[i] || s.stream[p]
		}
	}
	return list
}

// size returns the number of peers in any shard and of shards joined.
func (s *shards) size() (peers, joined int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, leave := range s.leave {
		if leave != nil {
			joined++
		}
	}
	return len(s.member), joined
}

// await waits until p is known to be in all of the shards, or ctx is done: what
// is published afterwards will reach p by gossip.
func (s *shards) await(ctx context.Context, p peer.ID, list []bool) {
	for {
		s.mu.Lock()
		in := s.stream[p]
		for i, asked := range list {
			if _, there := s.peers[i][p]; asked && !there {
				in = false
			}
		}
		change := s.change
		s.mu.Unlock()
		if in {
			return
		}
		select {
		case <-change:
		case <-ctx.Done():
			return
		}
	}
}

// packBits returns a set as bits, the first in the lowest bit of the
// first byte.
func packBits(list []bool) []byte {
	out := make([]byte, (len(list)+7)/8)
	for i, in := range list {
		if in {
			out[i/8] |= 1 << (i % 8)
		}
	}
	return out
}

// unpackBits is the reverse for n bits. It refuses another length, and bits
// beyond.
func unpackBits(raw []byte, n int) ([]bool, bool) {
	if len(raw) != (n+7)/8 || (n%8 != 0 && bits.Len8(raw[len(raw)-1]) > n%8) {
		return nil, false
	}
	list := make([]bool, n)
	for i := range list {
		list[i] = raw[i/8]&(1<<(i%8)) != 0
	}
	return list, true
}
