package main

import (
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// future reports envelopes that are still to be sent.
func future() {
	pour(func(t transport.Topic) transport.Envelope {
		e := fresh(t, 300)
		e.Sent = e.Sent.Add(time.Hour)
		return e
	})
}
