package main

import "errors"

// pipeEnds ends the Pipe with an error of its own.
func pipeEnds() {
	serveRaw(func(*rawPipe) error { return errors.New("the plugin has had enough \x1b[31m") })
}
