package main

import "fmt"

// overTCP sends its host to another machine.
func overTCP() {
	fmt.Printf("1|2|tcp|127.0.0.1:9|grpc|%s\n", certificate)
	forever()
}
