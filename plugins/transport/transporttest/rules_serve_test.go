package transporttest

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// hub is a network in which everything arrives at once.
type hub struct {
	mu    sync.Mutex
	nodes []*mutant
}

// mutant is a node of a hub that serves or asks in its own way.
type mutant struct {
	hub     *hub
	inbox   chan transport.Envelope
	down    chan struct{}
	filter  transport.Filter
	archive transport.Archive

	serve func(context.Context, *mutant, transport.Archive) error
	page  func(*transport.Page)
}

func (m *mutant) Open(context.Context, transport.Options) (transport.Info, error) {
	m.hub.mu.Lock()
	defer m.hub.mu.Unlock()
	m.hub.nodes = append(m.hub.nodes, m)
	return transport.Info{Name: "mutant", Version: "1", MaxData: 1000, MaxTTL: time.Hour}, nil
}

func (m *mutant) Subscribe(_ context.Context, f transport.Filter) error {
	m.hub.mu.Lock()
	defer m.hub.mu.Unlock()
	m.filter = f
	return nil
}

func (m *mutant) Publish(_ context.Context, batch []transport.Envelope) []error {
	m.hub.mu.Lock()
	defer m.hub.mu.Unlock()
	for _, e := range batch {
		for _, n := range m.hub.nodes {
			if n != m && (n.filter.All || slices.Contains(n.filter.Topics, e.Topic)) {
				n.inbox <- e
			}
		}
	}
	return nil
}

func (m *mutant) Receive(ctx context.Context) (transport.Report, error) {
	select {
	case e := <-m.inbox:
		return transport.Report{Envelopes: []transport.Envelope{e}}, nil
	case <-m.down:
		return transport.Report{}, transport.ErrClosed
	case <-ctx.Done():
		return transport.Report{}, ctx.Err()
	}
}

func (m *mutant) Close(context.Context) error {
	m.hub.mu.Lock()
	defer m.hub.mu.Unlock()
	m.hub.nodes = slices.DeleteFunc(m.hub.nodes, func(n *mutant) bool { return n == m })
	close(m.down)
	return nil
}

func (m *mutant) Serve(ctx context.Context, a transport.Archive) error {
	if m.serve != nil {
		return m.serve(ctx, m, a)
	}
	return m.answer(ctx, a)
}

// answer is Serve as it should be.
func (m *mutant) answer(ctx context.Context, a transport.Archive) error {
	set := func(a transport.Archive) {
		m.hub.mu.Lock()
		defer m.hub.mu.Unlock()
		m.archive = a
	}
	set(a)
	defer set(nil)
	<-ctx.Done()
	return ctx.Err()
}

func (m *mutant) Query(ctx context.Context, q transport.Query) (transport.Page, error) {
	m.hub.mu.Lock()
	i := slices.IndexFunc(m.hub.nodes, func(n *mutant) bool { return n != m && n.archive != nil })
	if i < 0 {
		m.hub.mu.Unlock()
		return transport.Page{}, transport.ErrUnavailable
	}
	archive := m.hub.nodes[i].archive
	m.hub.mu.Unlock()
	page, err := archive(ctx, transport.Ask{Query: q, Peer: "mutant"})
	if err == nil && m.page != nil {
		page.Envelopes = slices.Clone(page.Envelopes)
		m.page(&page)
	}
	return page, err
}

// judged returns the result of one rule for a network of mutants.
func judged(t *testing.T, id string, m mutant) Result {
	t.Helper()
	net := new(hub)
	b, err := newBench(Target{Configs: []string{"{}", "{}"}, New: func(int) (transport.Transport, error) {
		n := m
		n.hub, n.inbox, n.down = net, make(chan transport.Envelope, 1000), make(chan struct{})
		return &n, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.end()
	i := slices.IndexFunc(rules, func(r rule) bool { return r.ID == id })
	return b.check(t.Context(), rules[i])
}

// forwarding serves by way of another archive.
func forwarding(change func(transport.Ask) transport.Ask) func(context.Context, *mutant, transport.Archive) error {
	return func(ctx context.Context, n *mutant, a transport.Archive) error {
		return n.answer(ctx, func(ctx context.Context, ask transport.Ask) (transport.Page, error) { return a(ctx, change(ask)) })
	}
}

func TestBadServersAreNoticed(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	for name, c := range map[string]struct {
		rule   string
		mutant mutant
		want   string
	}{
		"ends at once": {"serve.ends", mutant{serve: func(context.Context, *mutant, transport.Archive) error { return nil }}, "before its context"},
		"never ends": {"serve.ends", mutant{serve: func(ctx context.Context, n *mutant, a transport.Archive) error {
			err := n.answer(ctx, a)
			<-release
			return err
		}}, "did not return"},
		"hides who asks":    {"serve.answers", mutant{serve: forwarding(func(a transport.Ask) transport.Ask { a.Peer = ""; return a })}, "by the peer"},
		"asks for too many": {"serve.answers", mutant{serve: forwarding(func(a transport.Ask) transport.Ask { a.Limit = 0; return a })}, "for 0 envelopes"},
		"loses the cursor":  {"serve.answers", mutant{page: func(p *transport.Page) { p.Cursor = nil }}, "2 envelopes of the 5"},
		"changes the time": {"serve.answers", mutant{page: func(p *transport.Page) {
			for i := range p.Envelopes {
				p.Envelopes[i].Sent = p.Envelopes[i].Sent.Add(time.Second)
			}
		}}, "Sent"},
		"changes the data": {"serve.answers", mutant{page: func(p *transport.Page) {
			for i := range p.Envelopes {
				p.Envelopes[i].Data = bytes.ToUpper(p.Envelopes[i].Data[1:])
			}
		}}, "bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := judged(t, c.rule, c.mutant); got.Outcome != Fail || !strings.Contains(got.Detail, c.want) {
				t.Errorf("%s: %s %q, want a failure about %q", c.rule, got.Outcome, got.Detail, c.want)
			}
		})
	}
	for _, id := range []string{"serve.answers", "serve.ends", "query.pages"} {
		if got := judged(t, id, mutant{}); got.Outcome != Pass {
			t.Errorf("%s of a good one: %s %q", id, got.Outcome, got.Detail)
		}
	}
}
