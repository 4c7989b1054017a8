package main

import (
	"crypto/rand"

	"github.com/stratanode/strata/plugins/transport"
)

// foreignTopics reports envelopes of topics that nobody asked for.
func foreignTopics() {
	pour(func(t transport.Topic) transport.Envelope {
		rand.Read(t[:])
		return fresh(t, 300)
	})
}
