package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stratanode/strata/actors/edge/rpc"
)

// version says what program this is, from what the Go linker put into it.
func version() rpc.Version {
	v := rpc.Version{
		Module: "github.com/stratanode/strata", Version: "(devel)", Go: runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH, Protocols: protocols(),
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Path != "" {
		v.Module = info.Main.Path
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Built = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

func newVersionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Tell which program this is",
		Long:    "Version prints the version of this program, what it was built from and which protocols it has\nfor the slots of a node. It needs no running node.",
		Example: "  strata version\n  strata version --json | jq -r .version",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, w := version(), cmd.OutOrStdout()
			if asJSON {
				return printJSON(w, v)
			}
			fmt.Fprintf(w, "strata %s (%s, %s)\n", v.Version, v.Go, v.Platform)
			fmt.Fprintf(w, "%-10s%s\n", "module", v.Module)
			if v.Revision != "" {
				changed := ""
				if v.Modified {
					changed = ", changed since"
				}
				fmt.Fprintf(w, "%-10s%s of %s%s\n", "revision", v.Revision, v.Built, changed)
			}
			_, err := fmt.Fprintf(w, "%-10s%s\n", "layers", strings.Join(v.Protocols, ", "))
			return err
		},
	}
	jsonFlag(cmd, &asJSON, "one JSON object")
	return cmd
}
