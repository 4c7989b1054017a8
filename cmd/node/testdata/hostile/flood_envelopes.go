package main

import "github.com/stratanode/strata/plugins/transport"

// floodEnvelopes reports new envelopes of a topic that was asked for, as fast as
// the host takes them.
func floodEnvelopes() {
	pour(func(t transport.Topic) transport.Envelope { return fresh(t, 16<<10) })
}
