// Package python is a transport in Python, and the runtime to copy for others.
// Its Go part only gives the files to "strata plugin new".
package python

import "embed"

// Files are the runtime, the generated stubs and the example, by their names.
//
//go:embed strata_transport.py strata_udp.py transport_pb2.py transport_pb2_grpc.py
var Files embed.FS
