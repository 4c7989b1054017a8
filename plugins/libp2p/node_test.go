package libp2p

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// patience is how long a test waits for what should happen within a second.
const patience = 20 * time.Second

var (
	tcpOnly  = []string{"/ip4/127.0.0.1/tcp/0"}
	quicOnly = []string{"/ip4/127.0.0.1/udp/0/quic-v1"}
)

type settings map[string]any

// node is an open transport and everything it has reported.
type node struct {
	*Transport
	info transport.Info

	mu        sync.Mutex
	changed   chan struct{} // closed and replaced with every report
	envelopes []transport.Envelope
	receipts  map[uint64][]transport.Receipt
	peers     int
}

// start opens a node on loopback TCP unless s says otherwise.
func start(t testing.TB, s settings) *node {
	t.Helper()
	return startIn(t, t.TempDir(), s)
}

func startIn(t testing.TB, dir string, s settings) *node {
	t.Helper()
	all := settings{"listen": tcpOnly}
	for k, v := range s {
		all[k] = v
	}
	config, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Transport: New().(*Transport), changed: make(chan struct{}), receipts: map[uint64][]transport.Receipt{}}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	n.info, err = n.Open(ctx, transport.Options{Config: config, Dir: dir, Now: time.Now, Rand: rand.Reader})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	var work sync.WaitGroup
	work.Go(n.collect)
	t.Cleanup(func() {
		n.stop(t)
		work.Wait()
	})
	return n
}

func (n *node) collect() {
	for {
		r, err := n.Receive(context.Background())
		if err != nil {
			return
		}
		n.mu.Lock()
		n.envelopes = append(n.envelopes, r.Envelopes...)
		for _, x := range r.Receipts {
			n.receipts[x.ID] = append(n.receipts[x.ID], x)
		}
		if r.Peers != nil {
			n.peers = *r.Peers
		}
		close(n.changed)
		n.changed = make(chan struct{})
		n.mu.Unlock()
	}
}

func (n *node) stop(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// await waits until ok holds, which is called with n locked.
func (n *node) await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		n.mu.Lock()
		done, changed := ok(), n.changed
		n.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			t.Fatalf("%s: not within %v (%d envelopes, %d peers; %v)", what, patience, len(n.envelopes), n.peers, n.counts(t))
		}
	}
}

func (n *node) awaitPeers(t testing.TB, want int) {
	t.Helper()
	n.await(t, fmt.Sprintf("%d peers", want), func() bool { return n.peers >= want })
}

func (n *node) awaitEnvelopes(t testing.TB, want int) {
	t.Helper()
	n.await(t, fmt.Sprintf("%d envelopes", want), func() bool { return len(n.envelopes) >= want })
}

func (n *node) awaitReceipt(t testing.TB, id uint64, want transport.Outcome) {
	t.Helper()
	n.await(t, fmt.Sprintf("receipt %d of %d", want, id), func() bool { return len(n.receipts[id]) > 0 })
	n.mu.Lock()
	defer n.mu.Unlock()
	if got := n.receipts[id]; len(got) != 1 || got[0].Outcome != want {
		t.Errorf("receipts of %d: got %v, want one with outcome %d", id, got, want)
	}
}

// got counts what has been reported by its text.
func (n *node) got() map[string]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := map[string]int{}
	for _, e := range n.envelopes {
		m[string(e.Data)]++
	}
	return m
}

func (n *node) counts(t testing.TB) map[string]float64 {
	t.Helper()
	list, err := n.Stats(context.Background())
	if err != nil {
		t.Errorf("Stats: %v", err)
	}
	m := map[string]float64{}
	for _, s := range list {
		m[s.Name] = s.Value
	}
	return m
}

// awaitCount polls a counter, which has no event.
func (n *node) awaitCount(t testing.TB, name string, least float64) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		if n.counts(t)[name] >= least {
			return
		}
	}
	t.Fatalf("%s: got %v, want at least %v", name, n.counts(t)[name], least)
}

func (n *node) subscribe(t testing.TB, topics ...transport.Topic) {
	t.Helper()
	if err := n.Subscribe(context.Background(), transport.Filter{Topics: topics}); err != nil {
		t.Fatalf("Subscribe: %v", err)
	}
}

// say publishes text and fails if it is not taken.
func (n *node) say(t testing.TB, id uint64, topic transport.Topic, text string) {
	t.Helper()
	if err := n.try(envelope(id, topic, text)); err != nil {
		t.Fatalf("Publish %q: %v", text, err)
	}
}

func (n *node) try(e transport.Envelope) error {
	for _, err := range n.Publish(context.Background(), []transport.Envelope{e}) {
		return err
	}
	return nil
}

func envelope(id uint64, topic transport.Topic, text string) transport.Envelope {
	return transport.Envelope{ID: id, Topic: topic, Data: []byte(text), Sent: time.Now(), TTL: time.Minute}
}

// topicIn returns a topic of the shard, of the given number of shards.
func topicIn(shard, shards int) transport.Topic {
	for i := byte(0); ; i++ {
		if topic := (transport.Topic{'t', 'o', 'p', i}); shardOf(topic, shards) == shard {
			return topic
		}
	}
}
