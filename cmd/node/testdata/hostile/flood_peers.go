package main

import (
	"context"

	"github.com/stratanode/strata/plugins/transport"
)

type counting struct {
	polite
	count int
}

// Receive implements transport.Transport.
func (c *counting) Receive(context.Context) (transport.Report, error) {
	c.count = (c.count + 7919) % (1 << 30)
	n := c.count
	return transport.Report{Peers: &n}, nil
}

// floodPeers reports another number of peers all the time.
func floodPeers() { servePolite(&counting{}) }
