package main

import "bytes"

// garbageFrame sends bytes that are no frame.
func garbageFrame() {
	serveRaw(func(p *rawPipe) error { return p.SendMsg(bytesFrame(bytes.Repeat([]byte{0xff}, 1000))) })
}
