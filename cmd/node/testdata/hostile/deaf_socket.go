package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// deafSocket prints a right handshake line and never answers on the socket.
func deafSocket() {
	path := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "deaf")
	if _, err := net.Listen("unix", path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	cert := selfSigned()
	fmt.Printf("1|2|unix|%s|grpc|%s\n", path, cert)
	forever()
}
