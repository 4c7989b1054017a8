package main

import (
	"context"

	"github.com/stratanode/strata/plugins/transport"
)

type lazy struct{ polite }

// Publish implements transport.Transport.
func (*lazy) Publish(_ context.Context, batch []transport.Envelope) []error {
	errs := make([]error, len(batch))
	for i := range errs {
		errs[i] = transport.ErrBusy
	}
	return errs
}

// busy never has room.
func busy() { servePolite(&lazy{}) }
