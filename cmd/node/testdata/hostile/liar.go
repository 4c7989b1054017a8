package main

import (
	"context"

	"github.com/stratanode/strata/plugins/transport"
)

type lying struct {
	polite
	taken chan uint64
}

// Open implements transport.Transport.
func (l *lying) Open(ctx context.Context, o transport.Options) (transport.Info, error) {
	info, err := l.polite.Open(ctx, o)
	info.Receipts = true
	l.taken = make(chan uint64, 1<<16)
	return info, err
}

// Publish implements transport.Transport.
func (l *lying) Publish(_ context.Context, batch []transport.Envelope) []error {
	for _, e := range batch {
		l.taken <- e.ID
	}
	return nil
}

// Receive implements transport.Transport.
func (l *lying) Receive(ctx context.Context) (transport.Report, error) {
	one := 1
	select {
	case id := <-l.taken:
		return transport.Report{Peers: &one, Receipts: []transport.Receipt{{ID: id, Outcome: transport.OutcomeRelayed}}}, nil
	case <-l.closed:
		return transport.Report{}, errClosed
	case <-ctx.Done():
		return transport.Report{}, ctx.Err()
	}
}

// liar takes every envelope, says that a peer has taken it, and drops it.
func liar() { servePolite(&lying{}) }
