package main

import "fmt"

// wrongLine prints a handshake line of another protocol.
func wrongLine() {
	fmt.Println("9|2|unix|/run/hostile.sock|netrpc|")
	forever()
}
