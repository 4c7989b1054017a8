package main

// badTopic reports an envelope with a topic of 5 bytes.
func badTopic() {
	serveRaw(func(p *rawPipe) error {
		<-p.credits
		e := p.envelope()
		e.Topic = append(e.Topic, 1)
		return p.report(e)
	})
}
