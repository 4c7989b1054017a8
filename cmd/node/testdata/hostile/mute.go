package main

import (
	"context"

	"github.com/stratanode/strata/plugins/transport"
)

type muted struct{ polite }

// Publish implements transport.Transport.
func (*muted) Publish(context.Context, []transport.Envelope) []error { select {} }

// mute never answers a Publish.
func mute() { servePolite(&muted{}) }
