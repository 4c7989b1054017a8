package main

import (
	"context"

	"github.com/stratanode/strata/plugins/transport"
)

type deafened struct{ polite }

// Subscribe implements transport.Transport.
func (*deafened) Subscribe(context.Context, transport.Filter) error { select {} }

// deaf never returns from Subscribe.
func deaf() { servePolite(&deafened{}) }
