package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// uncertified offers a socket without TLS.
func uncertified() {
	path := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "plain")
	if _, err := net.Listen("unix", path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("1|2|unix|%s|grpc|\n", path)
	forever()
}
