package main

import (
	"github.com/stratanode/strata/plugins/libp2p"
	"github.com/stratanode/strata/plugins/transport"
	"github.com/stratanode/strata/plugins/udp"
)

// builtin are the transports that are compiled in, by the name after "use:".
// Each is a transport like any other: with "process: true" it runs as a plugin.
var builtin = map[string]func() transport.Transport{
	"libp2p": libp2p.New,
	"udp":    udp.New,
}
