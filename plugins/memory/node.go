package memory

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// Node is one node of a Network. All its fields but the channels are guarded by
// the network's lock.
type Node struct {
	net    *Network
	number uint64
	now    func() time.Time
	wake   chan struct{}
	done   chan struct{}
	closed sync.Once

	filter   transport.Filter
	topics   map[transport.Topic]bool
	queue    []delivery // what is on the way to this node
	behind   bool       // the queue was full: more is held for it
	receipts []transport.Receipt
	archive  transport.Archive // of the host; nil: it serves none
	told     int               // peers, as last reported
	counted  bool
	count    struct{ published, received, lost, repeated int }
}

// delivery is an envelope on the way to one node.
type delivery struct {
	*item
	at time.Time // of arrival
}

// Open implements transport.Transport. There are no settings.
func (m *Node) Open(_ context.Context, o transport.Options) (transport.Info, error) {
	if err := o.Settings(&struct{}{}); err != nil {
		return transport.Info{}, err
	}
	n := m.net
	n.mu.Lock()
	defer n.mu.Unlock()
	m.now = o.Now
	for _, other := range n.nodes {
		other.signal() // one peer more
	}
	n.nodes = append(n.nodes, m)
	n.expire(m.now())
	for _, it := range n.held {
		it.settle(transport.OutcomeRelayed)
	}
	info := transport.Info{
		Name: "memory", Version: "1.0.0", MaxData: maxData, MaxTTL: maxTTL, Latency: n.Delay,
		Sender: transport.AnonymityGlobal, Receiver: transport.AnonymityGlobal,
		Storage: transport.StorageTTL, Receipts: true,
	}
	if n.Delay == 0 {
		info.Ordering = transport.OrderingSender
	}
	return info, nil
}

// Subscribe implements transport.Transport.
func (m *Node) Subscribe(_ context.Context, f transport.Filter) error {
	topics := make(map[transport.Topic]bool, len(f.Topics))
	for _, t := range f.Topics {
		topics[t] = true
	}
	m.net.mu.Lock()
	defer m.net.mu.Unlock()
	m.filter, m.topics = f, topics
	m.catchUp(m.now())
	return nil
}

// Publish implements transport.Transport.
func (m *Node) Publish(_ context.Context, batch []transport.Envelope) []error {
	m.net.mu.Lock()
	defer m.net.mu.Unlock()
	errs := make([]error, len(batch))
	for i, e := range batch {
		if errs[i] = m.net.publish(m, e); errs[i] == nil {
			m.count.published++
		}
	}
	return errs
}

// offer sends an item to the node on its way, if it is wanted. That a node of
// the network is there to carry it is all that the receipt says.
func (m *Node) offer(now time.Time, it *item) {
	if m != it.from {
		it.settle(transport.OutcomeRelayed)
	}
	if it.given[m] || !m.filter.All && !m.topics[it.Topic] {
		return
	}
	if m.behind || len(m.queue) >= maxQueue {
		m.behind = true // also what comes now has to wait, to stay in order
		return
	}
	it.given[m] = true
	n := m.net
	dice := rand.New(rand.NewPCG(n.Seed, it.number<<20^m.number))
	if dice.Float64() < n.Loss {
		m.count.lost++
		return
	}
	copies := 1
	if dice.Float64() < n.Repeat {
		copies = 2
		m.count.repeated++
	}
	for range copies {
		at := now
		if n.Delay > 0 {
			at = now.Add(time.Duration(dice.Int64N(int64(n.Delay) + 1)))
		}
		m.queue = append(m.queue, delivery{it, at})
	}
	m.signal()
}

// catchUp offers all that the network holds.
func (m *Node) catchUp(now time.Time) {
	m.behind = false
	m.net.expire(now)
	for _, it := range m.net.held {
		m.offer(now, it)
	}
}

// Receive implements transport.Transport.
func (m *Node) Receive(ctx context.Context) (transport.Report, error) {
	for {
		if err := ctx.Err(); err != nil {
			return transport.Report{}, err
		}
		select {
		case <-m.done:
			return transport.Report{}, transport.ErrClosed
		default:
		}
		r, ok, next := m.report()
		if ok {
			return r, nil
		}
		var timer <-chan time.Time
		if next > 0 {
			timer = time.After(next)
		}
		select {
		case <-m.wake:
		case <-timer:
		case <-m.done:
		case <-ctx.Done():
		}
	}
}

// report returns what has arrived, or how long it will be until something does,
// or 0 if nothing is known to.
func (m *Node) report() (r transport.Report, ok bool, next time.Duration) {
	m.net.mu.Lock()
	defer m.net.mu.Unlock()
	now := m.now()
	m.net.expire(now)
	if m.behind && len(m.queue) < maxQueue/2 {
		m.catchUp(now)
	}
	until := func(t time.Time) {
		if d := t.Sub(now); next == 0 || d < next {
			next = max(d, 1)
		}
	}
	m.queue = slices.DeleteFunc(m.queue, func(d delivery) bool {
		switch {
		case !now.Before(d.Expiry()):
			return true
		case d.at.After(now):
			until(d.at)
			return false
		case len(r.Envelopes) == transport.MaxBatch:
			until(now)
			return false
		}
		r.Envelopes = append(r.Envelopes, d.Envelope)
		return true
	})
	m.count.received += len(r.Envelopes)
	r.Receipts, m.receipts = m.receipts, nil
	if peers := len(m.peers()); peers != m.told || !m.counted {
		m.told, m.counted = peers, true
		r.Peers = &peers
	}
	if m.told == 0 && len(m.net.held) > 0 {
		until(m.net.first) // nobody to take them: receipts are due when they expire
	}
	return r, r.Envelopes != nil || r.Receipts != nil || r.Peers != nil, next
}

// Close implements transport.Transport.
func (m *Node) Close(context.Context) error {
	m.closed.Do(func() {
		close(m.done)
		m.net.mu.Lock()
		defer m.net.mu.Unlock()
		m.net.nodes = slices.DeleteFunc(m.net.nodes, func(o *Node) bool { return o == m })
		for _, other := range m.net.nodes {
			other.signal() // one peer less
		}
		for _, it := range m.net.held {
			delete(it.given, m)
		}
	})
	return nil
}

// peers returns the other nodes; call it with the lock held.
func (m *Node) peers() []*Node {
	return slices.DeleteFunc(slices.Clone(m.net.nodes), func(o *Node) bool { return o == m })
}

// Peers implements transport.Peerer.
func (m *Node) Peers(context.Context) ([]transport.Peer, error) {
	m.net.mu.Lock()
	defer m.net.mu.Unlock()
	var all []transport.Peer
	for _, p := range m.peers() {
		if len(all) < transport.MaxPeers {
			all = append(all, transport.Peer{ID: strconv.FormatUint(p.number, 10)})
		}
	}
	return all, nil
}

// Stats implements transport.Counter.
func (m *Node) Stats(context.Context) ([]transport.Stat, error) {
	m.net.mu.Lock()
	defer m.net.mu.Unlock()
	return []transport.Stat{
		{Name: "published_total", Value: float64(m.count.published)},
		{Name: "received_total", Value: float64(m.count.received)},
		{Name: "lost_total", Value: float64(m.count.lost)},
		{Name: "repeated_total", Value: float64(m.count.repeated)},
		{Name: "held", Value: float64(len(m.net.held))},
	}, nil
}

func (m *Node) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}
