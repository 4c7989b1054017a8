package main

import (
	"context"
	"os"

	"github.com/stratanode/strata/plugins/transport"
)

type mortal struct {
	polite
	calls int
}

// Publish implements transport.Transport.
func (m *mortal) Publish(context.Context, []transport.Envelope) []error {
	if m.calls++; m.calls == 2 {
		os.Exit(3)
	}
	return nil
}

// crashNth ends at every second Publish.
func crashNth() { servePolite(&mortal{}) }
