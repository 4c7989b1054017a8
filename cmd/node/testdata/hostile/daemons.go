package main

import (
	"context"

	"github.com/stratanode/strata/plugins/transport"
)

type parent struct{ stubbornOne }

// Open implements transport.Transport.
func (p *parent) Open(ctx context.Context, o transport.Options) (transport.Info, error) {
	for range 5 {
		spawn()
	}
	return p.polite.Open(ctx, o)
}

// daemons has a few children in sessions of their own, and ignores all signals
// as they do.
func daemons() {
	ignoreSignals()
	servePolite(&parent{})
}
