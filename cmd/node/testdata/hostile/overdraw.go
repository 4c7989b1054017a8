package main

// overdraw reports more envelopes than it was granted.
func overdraw() {
	serveRaw(func(p *rawPipe) error {
		for {
			if err := p.report(p.envelope(), p.envelope(), p.envelope(), p.envelope()); err != nil {
				return err
			}
		}
	})
}
