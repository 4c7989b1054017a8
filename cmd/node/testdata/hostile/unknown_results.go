package main

import "github.com/stratanode/strata/plugins/transport/transportpb"

// unknownResults answers envelopes that it was not given.
func unknownResults() {
	serveRaw(func(p *rawPipe) error { return p.result(&transportpb.Result{Id: 1 << 60}) })
}
