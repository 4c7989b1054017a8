package main

// badName has a name that would clear a terminal.
func badName() {
	r := newRaw(nil)
	r.info.Name = "\x1b[2J\x1b]0;owned\a"
	serveServer(r)
}
