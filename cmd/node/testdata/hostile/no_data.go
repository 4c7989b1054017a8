package main

// noData reports an envelope of nothing.
func noData() {
	serveRaw(func(p *rawPipe) error {
		<-p.credits
		e := p.envelope()
		e.Data = nil
		return p.report(e)
	})
}
