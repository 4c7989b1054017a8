package main

import (
	"context"

	"github.com/stratanode/strata/plugins/transport"
)

type panicOpen struct{ polite }

// Open implements transport.Transport.
func (*panicOpen) Open(context.Context, transport.Options) (transport.Info, error) {
	panic("no idea how to open")
}

// openPanic panics in Open.
func openPanic() { servePolite(&panicOpen{}) }
