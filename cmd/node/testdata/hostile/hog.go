package main

import (
	"context"

	"github.com/stratanode/strata/plugins/transport"
)

type hoarder struct{ polite }

// Subscribe implements transport.Transport.
func (h *hoarder) Subscribe(ctx context.Context, f transport.Filter) error {
	go allocate()
	return h.polite.Subscribe(ctx, f)
}

// hog allocates until it is killed.
func hog() { servePolite(&hoarder{}) }

// kept is what allocate has.
var kept [][]byte

func allocate() {
	for {
		b := make([]byte, 8<<20)
		for i := range b {
			b[i] = byte(i) // not zero, so that it is really there
		}
		kept = append(kept, b)
	}
}
