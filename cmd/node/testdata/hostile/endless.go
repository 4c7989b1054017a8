package main

import (
	"bytes"
	"os"
)

// endless prints before the handshake, and never ends the line.
func endless() {
	for chunk := bytes.Repeat([]byte("A"), 1<<16); ; {
		os.Stdout.Write(chunk)
	}
}
