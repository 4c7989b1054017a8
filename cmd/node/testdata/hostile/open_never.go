package main

import (
	"context"

	"github.com/stratanode/strata/plugins/transport"
)

type neverOpen struct{ polite }

// Open implements transport.Transport.
func (*neverOpen) Open(context.Context, transport.Options) (transport.Info, error) {
	select {}
}

// openNever never returns from Open.
func openNever() { servePolite(&neverOpen{}) }
