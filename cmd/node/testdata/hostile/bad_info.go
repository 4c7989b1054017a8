package main

// badInfo claims to carry envelopes of 4 GiB.
func badInfo() {
	r := newRaw(nil)
	r.info.MaxData = 1<<32 - 1
	serveServer(r)
}
