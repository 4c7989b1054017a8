package main

import (
	"math"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

// absurdCredits grants four billion envelopes at a time, again and again, and
// answers none of them.
func absurdCredits() {
	serveRaw(func(p *rawPipe) error {
		for {
			err := p.Send(&transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Credit{Credit: &transportpb.Credit{Envelopes: math.MaxUint32}}})
			if err != nil {
				return err
			}
		}
	})
}
