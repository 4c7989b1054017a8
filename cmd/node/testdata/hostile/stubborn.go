package main

import "context"

type stubbornOne struct{ polite }

// Close implements transport.Transport.
func (*stubbornOne) Close(context.Context) error { select {} }

// stubborn ignores signals and does not return from Close.
func stubborn() {
	ignoreSignals()
	servePolite(&stubbornOne{})
}
