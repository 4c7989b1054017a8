package main

import "github.com/stratanode/strata/plugins/transport/transportpb"

// doubledResults answers every envelope twice.
func doubledResults() {
	serveAnswering(func(p *rawPipe) error {
		for {
			select {
			case batch := <-p.batches:
				r := &transportpb.Result{Id: batch[0].Id}
				if err := p.result(r, r); err != nil {
					return err
				}
			case <-p.Context().Done():
				return nil
			}
		}
	})
}
