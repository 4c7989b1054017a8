package main

import (
	"context"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

type tardy struct{ polite }

// Publish implements transport.Transport.
func (*tardy) Publish(context.Context, []transport.Envelope) []error {
	time.Sleep(7 * time.Second) // the deadline is 5 s, and this does not heed it
	return nil
}

// late answers when the deadline is over.
func late() { servePolite(&tardy{}) }
