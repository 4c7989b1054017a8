package main

// oversizeFrame sends a frame of 64 MiB.
func oversizeFrame() {
	serveRaw(func(p *rawPipe) error { return p.SendMsg(bytesFrame(make([]byte, 64<<20))) })
}
