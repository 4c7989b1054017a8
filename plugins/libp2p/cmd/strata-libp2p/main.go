// Strata-libp2p is the libp2p transport as a plugin process.
package main

import (
	"github.com/stratanode/strata/plugins/libp2p"
	"github.com/stratanode/strata/plugins/transport"
)

func main() { transport.Serve(libp2p.New) }
