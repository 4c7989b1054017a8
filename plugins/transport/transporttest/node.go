package transporttest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// node is one open transport and all that it received.
type node struct {
	bench  *bench
	t      transport.Transport
	info   transport.Info
	can    transport.Abilities
	closed bool
	nextID uint64

	stop    context.CancelFunc // of the pump
	stopped chan struct{}      // the pump has ended

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced when something below changes
	arrivals []arrival
	receipts map[uint64][]transport.Receipt
	peers    *int
	err      error // of Receive
}

type arrival struct {
	transport.Envelope
	at time.Time
}

// make asks the target for a transport.
func (b *bench) make(i int) (transport.Transport, error) {
	t, err := b.target.New(i)
	if err != nil {
		return nil, fmt.Errorf("it did not start: %w", err)
	}
	return t, nil
}

// options returns what node i is opened with.
func (b *bench) options(i int, config string) (transport.Options, error) {
	dir := filepath.Join(b.dir, strconv.Itoa(i))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return transport.Options{}, err
	}
	return transport.Options{
		Config: []byte(config),
		Dir:    dir,
		Log:    slog.New(slog.DiscardHandler),
		Now:    func() time.Time { b.clock.Add(1); return time.Now() },
		Rand:   rand.Reader,
	}, nil
}

// open opens node i of the network. It is closed at the end of the rule.
func (b *bench) open(ctx context.Context, net network, i int) (*node, error) {
	t, err := b.make(i)
	if err != nil {
		return nil, err
	}
	n := &node{bench: b, t: t, changed: make(chan struct{}), receipts: map[uint64][]transport.Receipt{}}
	b.own = append(b.own, n)
	o, err := b.options(i, net.configs[i])
	if err != nil {
		return nil, err
	}
	err = within(ctx, openTimeout, "Open", func(ctx context.Context) (err error) {
		n.info, err = t.Open(ctx, o)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("node %d did not open with %s: %w", i, o.Config, err)
	}
	b.info, b.opened = n.info, true
	n.can = n.info.Abilities
	if _, process := t.(Process); !process && n.can == (transport.Abilities{}) {
		n.can = transport.AbilitiesOf(t)
	}
	return n, nil
}

// start lets the node receive.
func (n *node) start() {
	ctx, stop := context.WithCancel(context.Background())
	n.stop, n.stopped = stop, make(chan struct{})
	go func() {
		defer close(n.stopped)
		for ctx.Err() == nil {
			r, err := n.t.Receive(ctx)
			if err != nil {
				n.update(func() { n.err = err })
				return
			}
			n.take(r)
		}
	}()
}

// take keeps a report and notes what is illegal about it.
func (n *node) take(r transport.Report) {
	now := time.Now()
	if fault := illegal(r, n.info); fault != "" {
		n.bench.mu.Lock()
		if len(n.bench.illegal) < 10 {
			n.bench.illegal = append(n.bench.illegal, fault)
		}
		n.bench.mu.Unlock()
	}
	n.update(func() {
		for _, e := range r.Envelopes {
			n.arrivals = append(n.arrivals, arrival{e, now})
		}
		for _, x := range r.Receipts {
			n.receipts[x.ID] = append(n.receipts[x.ID], x)
		}
		if r.Peers != nil {
			n.peers = r.Peers
		}
	})
	n.bench.mu.Lock()
	n.bench.receipts += len(r.Receipts)
	n.bench.mu.Unlock()
}

func illegal(r transport.Report, info transport.Info) string {
	switch {
	case len(r.Envelopes) == 0 && len(r.Receipts) == 0 && r.Peers == nil:
		return "Receive returned a report with nothing in it"
	case len(r.Envelopes) > transport.MaxBatch:
		return fmt.Sprintf("a report has %d envelopes, more than %d", len(r.Envelopes), transport.MaxBatch)
	case r.Peers != nil && *r.Peers < 0:
		return fmt.Sprintf("a report counts %d peers", *r.Peers)
	}
	for _, e := range r.Envelopes {
		switch {
		case len(e.Data) == 0 || len(e.Data) > info.MaxData:
			return fmt.Sprintf("received Data is %d bytes long, not 1 to MaxData %d", len(e.Data), info.MaxData)
		case e.TTL < time.Second || e.TTL%time.Second != 0:
			return fmt.Sprintf("received TTL is %v, not whole seconds from 1s", e.TTL)
		case e.Sent.Nanosecond() != 0:
			return fmt.Sprintf("received Sent is %v, not to the second", e.Sent)
		}
	}
	for _, x := range r.Receipts {
		if x.Outcome < transport.OutcomeRelayed || x.Outcome > transport.OutcomeFailed || len(x.Reason) > transport.MaxText {
			return fmt.Sprintf("a receipt has outcome %d and a reason of %d bytes", x.Outcome, len(x.Reason))
		}
	}
	return ""
}

func (n *node) update(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.changed)
	n.changed = make(chan struct{})
}

// wait waits until ok, which it calls with n.mu held, and reports whether that
// was before limit, or the bench's patience if it is zero.
func (n *node) wait(ctx context.Context, limit time.Duration, ok func() bool) bool {
	if limit == 0 {
		limit = n.bench.patience()
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		n.mu.Lock()
		good, failed, changed := ok(), n.err != nil, n.changed
		n.mu.Unlock()
		if good || failed {
			return good
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// find returns the arrivals of an envelope, known by its topic and data; call
// it with n.mu held.
func (n *node) find(e transport.Envelope) []arrival {
	var found []arrival
	for _, a := range n.arrivals {
		if a.Topic == e.Topic && bytes.Equal(a.Data, e.Data) {
			found = append(found, a)
		}
	}
	return found
}

// got is find for a caller that does not hold n.mu.
func (n *node) got(e transport.Envelope) []arrival {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.find(e)
}

// close closes the transport once and returns what Close returned.
func (n *node) close(ctx context.Context) error {
	if n.closed {
		return nil
	}
	n.closed = true
	err := within(ctx, closeTimeout, "Close", n.t.Close)
	if n.stop != nil {
		n.stop()
	}
	return err
}

// end closes the node if that is left to do, and sees to it that a process is
// gone.
func (n *node) end() {
	_ = n.close(context.Background())
	if k, ok := n.t.(interface{ Kill() }); ok {
		k.Kill()
	}
	if n.stopped != nil {
		select {
		case <-n.stopped:
		case <-time.After(closeTimeout): // a Receive that does not end; its own rule says so
		}
	}
}

// failed returns the error that ended Receive, if it was not the suite.
func (n *node) failed() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err == nil || n.closed || errors.Is(n.err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("Receive: %w", n.err)
}
