package transporttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// store is the archive of a node of the suite.
type store struct {
	mu    sync.Mutex
	all   []transport.Envelope // oldest first
	fault string               // what was asked against the contract
}

func (s *store) archive(_ context.Context, a transport.Ask) (transport.Page, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fault := illegalAsk(a); fault != "" {
		s.fault = fault
	}
	start := 0
	if len(a.Cursor) > 0 {
		n, err := strconv.Atoi(string(a.Cursor))
		if err != nil || n < 0 || n > len(s.all) {
			return transport.Page{}, transport.Invalid("cursor", "%q is not one of this archive", a.Cursor)
		}
		start = n
	}
	var page transport.Page
	for i, e := range s.all[start:] {
		if e.Sent.Before(a.From) || !e.Sent.Before(a.To) || !a.Filter.All && !slices.Contains(a.Filter.Topics, e.Topic) {
			continue
		}
		if len(page.Envelopes) == a.Limit {
			page.Cursor = strconv.AppendInt(nil, int64(start+i), 10)
			break
		}
		page.Envelopes = append(page.Envelopes, e)
	}
	return page, nil
}

func illegalAsk(a transport.Ask) string {
	switch {
	case a.Limit < 1 || a.Limit > transport.MaxBatch:
		return fmt.Sprintf("the archive was asked for %d envelopes", a.Limit)
	case len(a.Cursor) > transport.MaxText || len(a.Filter.Topics) > transport.MaxTopics:
		return fmt.Sprintf("the archive was asked with a cursor of %d bytes and %d topics", len(a.Cursor), len(a.Filter.Topics))
	case a.Peer == "" || len(a.Peer) > transport.MaxText:
		return fmt.Sprintf("the archive was asked by the peer %q", a.Peer)
	}
	return ""
}

// illegal returns what was asked against the contract, as an error.
func (s *store) illegal() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault != "" {
		return errors.New(s.fault)
	}
	return nil
}

// serve lets the node's peers ask the archive until stop, which returns how
// Serve ended.
func (n *node) serve(s *store) (stop func() error, err error) {
	server, ok := n.t.(transport.Server)
	if !n.can.Serve || !ok {
		return nil, skipped("Serve is not declared")
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				ended <- fmt.Errorf("Serve panicked: %v", r)
			}
		}()
		if err := server.Serve(ctx, s.archive); ctx.Err() == nil {
			ended <- fmt.Errorf("Serve ended before its context did: %v", err)
		}
		ended <- nil
	}()
	return func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(closeTimeout):
			return fmt.Errorf("Serve did not return in %v after its context was done", closeTimeout)
		}
	}, nil
}

// page asks for one page, again while there is nobody to ask.
func (n *node) page(ctx context.Context, q transport.Query) (page transport.Page, err error) {
	deadline := time.Now().Add(n.bench.patience())
	for {
		err = within(ctx, queryTimeout, "Query", func(ctx context.Context) (err error) {
			page, err = n.t.(transport.Querier).Query(ctx, q)
			return err
		})
		if err == nil || !passing(err) || time.Now().After(deadline) || ctx.Err() != nil {
			return page, err
		}
		pause(ctx, probeEvery)
	}
}

// pages asks for all pages from a query on.
func (n *node) pages(ctx context.Context, q transport.Query) (got []transport.Envelope, err error) {
	for range 100 {
		page, err := n.page(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("Query: %w", err)
		}
		if len(page.Envelopes) > q.Limit || len(page.Cursor) > transport.MaxText {
			return nil, fmt.Errorf("a page has %d envelopes of %d and a cursor of %d bytes", len(page.Envelopes), q.Limit, len(page.Cursor))
		}
		got = append(got, page.Envelopes...)
		if q.Cursor = page.Cursor; page.Cursor == nil {
			return got, nil
		}
	}
	return nil, fmt.Errorf("Query did not end after 100 pages of %d", q.Limit)
}

func serveAnswers(ctx context.Context, b *bench) error {
	a, c, t, err := b.tuned(ctx)
	if err != nil {
		return err
	}
	if _, ok := c.t.(transport.Querier); !c.can.Query || !ok {
		return skipped("Query is not declared, so no peer asks")
	}
	s := new(store)
	for i := range 7 {
		e := a.envelope(t, min(100+i, a.info.MaxData))
		e.Sent = e.Sent.Add(-time.Duration(7-i) * time.Hour)
		s.all = append(s.all, e)
	}
	other := a.envelope(newTopic(), min(100, a.info.MaxData))
	other.Sent = s.all[6].Sent
	s.all = append(s.all, other)
	stop, err := a.serve(s)
	if err != nil {
		return err
	}
	want := s.all[1:6]
	got, err := c.pages(ctx, transport.Query{
		Filter: transport.Filter{Topics: []transport.Topic{t}},
		From:   want[0].Sent, To: want[4].Sent.Add(time.Second), Limit: 2,
	})
	if err := errors.Join(err, stop(), s.illegal()); err != nil {
		return err
	}
	if len(got) != len(want) {
		return fmt.Errorf("Query returned %d envelopes of the %d that the archive of the peer has", len(got), len(want))
	}
	for i, e := range got {
		if w := want[i]; e.Topic != w.Topic || !bytes.Equal(e.Data, w.Data) || !e.Sent.Equal(w.Sent) {
			return fmt.Errorf("envelope %d of the archive arrived with topic %s, %d bytes and Sent %v, want %s, %d and %v",
				i, e.Topic, len(e.Data), e.Sent, w.Topic, len(w.Data), w.Sent)
		}
	}
	return nil
}

func serveEnds(ctx context.Context, b *bench) error {
	a, _, err := b.pair(ctx)
	if err != nil {
		return err
	}
	for range 2 {
		stop, err := a.serve(new(store))
		if err != nil {
			return err
		}
		pause(ctx, grace)
		if err := stop(); err != nil {
			return err
		}
	}
	return nil
}
