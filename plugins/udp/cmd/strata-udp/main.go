// Strata-udp is plugins/udp as a process that a node starts.
package main

import (
	"github.com/stratanode/strata/plugins/transport"
	"github.com/stratanode/strata/plugins/udp"
)

func main() { transport.Serve(udp.New) }
