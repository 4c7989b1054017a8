package main

import (
	"strings"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

// hugeErrors answers every envelope with a megabyte of terminal escapes, and
// never the same error twice.
func hugeErrors() {
	serveAnswering(func(p *rawPipe) error {
		reason := "\x1b[2J\r\n" + strings.Repeat("\x1b[31mno ", 100_000)
		for code := uint32(0); ; code++ {
			select {
			case batch := <-p.batches:
				for _, e := range batch {
					if err := p.result(&transportpb.Result{Id: e.Id, Error: &transportpb.Error{Code: code, Field: reason[:1<<10], Reason: reason}}); err != nil {
						return err
					}
				}
			case <-p.Context().Done():
				return nil
			}
		}
	})
}
