package main

// silent never prints the handshake line.
func silent() { forever() }
