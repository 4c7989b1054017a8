package main

import (
	"context"

	"github.com/stratanode/strata/plugins/transport"
)

type panicking struct{ polite }

// Receive implements transport.Transport.
func (p *panicking) Receive(ctx context.Context) (transport.Report, error) {
	if _, err := p.awaitTopics(ctx); err != nil {
		return transport.Report{}, err
	}
	panic("nothing was ever received \x1b[31mred\x1b[0m")
}

// panicReceive panics in Receive.
func panicReceive() { servePolite(&panicking{}) }
