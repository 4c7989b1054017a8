package main

// oversizeData reports an envelope that is longer than it said envelopes are.
func oversizeData() {
	serveRaw(func(p *rawPipe) error {
		<-p.credits
		e := p.envelope()
		e.Data = make([]byte, maxData+1)
		return p.report(e)
	})
}
