package main

import "fmt"

// chatty prints before the handshake.
func chatty() {
	fmt.Println("Welcome to the most friendly transport there is!")
	servePolite(&polite{})
}
