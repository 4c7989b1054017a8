package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stratanode/strata/plugins/transport"
)

// serveBuiltin serves a transport that is compiled in and reports true, if args
// are those of "plugin serve NAME". It is called before anything else is set up:
// a node waits for the process.
func serveBuiltin(args []string) bool {
	if len(args) != 3 || args[0] != "plugin" || args[1] != "serve" || builtin[args[2]] == nil {
		return false
	}
	transport.Serve(builtin[args[2]])
	return true
}

// newPluginServeCommand returns the command for help and for mistakes: main calls
// serveBuiltin where all is well.
func newPluginServeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve NAME",
		Short: "Be the process of a transport that is compiled in",
		Long: fmt.Sprintf(`Serve runs a transport of this program as a plugin process: %s. A node
starts it so if its settings say "process: true"; by hand it is of use as a
command for "plugin test", "plugin run" and "plugin verify".`, strings.Join(builtinNames(), ", ")),
		Example: "  strata plugin test -- strata plugin serve udp",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misused(errors.New("say which transport to serve: " + strings.Join(builtinNames(), ", ")))
			}
			if builtin[args[0]] == nil {
				return misused(fmt.Errorf("there is no transport %q; have %s", args[0], strings.Join(builtinNames(), ", ")))
			}
			transport.Serve(builtin[args[0]])
			return nil
		},
	}
}

// builtinNames lists the transports that are compiled in.
func builtinNames() []string { return slices.Sorted(maps.Keys(builtin)) }
