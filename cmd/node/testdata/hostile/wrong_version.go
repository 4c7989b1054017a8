package main

import "github.com/stratanode/strata/plugins/transport"

// wrongVersion speaks a version of the protocol that no host speaks.
func wrongVersion() {
	transport.ServeVersions(func() transport.Transport { return &polite{} }, 77)
}
