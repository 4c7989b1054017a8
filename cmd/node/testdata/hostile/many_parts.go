package main

import "bytes"

// manyParts sends a frame of half a million empty envelopes.
func manyParts() {
	serveRaw(func(p *rawPipe) error {
		body := bytes.Repeat([]byte{0x0a, 0x00}, 500_000)        // envelopes = 1, of length 0
		frame := append([]byte{0x0a, 0xc0, 0x84, 0x3d}, body...) // received = 1, of length 1 000 000
		return p.SendMsg(bytesFrame(frame))
	})
}
