package main

import (
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// expired reports envelopes whose time is over.
func expired() {
	pour(func(t transport.Topic) transport.Envelope {
		e := fresh(t, 300)
		e.Sent = e.Sent.Add(-time.Hour)
		return e
	})
}
