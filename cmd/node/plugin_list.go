package main

import (
	"debug/buildinfo"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// listed is one transport in "plugin list".
type listed struct {
	Name    string   `json:"name"`
	Kind    string   `json:"kind"` // how it is used in the configuration
	Version string   `json:"version,omitempty"`
	Command []string `json:"command,omitempty"`
	Path    string   `json:"path,omitempty"`
	SHA256  string   `json:"sha256,omitempty"`
	Pinned  bool     `json:"pinned,omitempty"`
	Fault   string   `json:"fault,omitempty"`
}

func newPluginListCommand(f *fileFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the transports that are compiled in, and the plugin of a configuration",
		Long: `List prints what "use:" of the transport slot can name and, with -c, the plugin of
that configuration with its program and checksum. It starts nothing; what a plugin
speaks and says of itself tells "plugin verify".`,
		Example: "  strata plugin list\n  strata plugin list -c node.yaml --json | jq '.[] | select(.kind == \"process\")'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := listPlugins(f)
			if err != nil {
				return misused(err)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), all)
			}
			t := newTable(cmd.OutOrStdout(), "NAME", "KIND", "VERSION", "SHA256", "PROGRAM")
			for _, l := range all {
				sum := l.SHA256
				if l.Pinned {
					sum += " (pinned)"
				}
				program := l.Path
				if l.Fault != "" {
					program = l.Fault
				}
				t.row(l.Name, l.Kind, l.Version, sum, program)
			}
			return t.flush()
		},
	}
	jsonFlag(cmd, &asJSON, "a JSON array")
	return cmd
}

func listPlugins(f *fileFlags) ([]listed, error) {
	all := []listed{{Name: "whisper", Kind: "layer", Version: version().Version}}
	for _, name := range builtinNames() {
		all = append(all, listed{Name: name, Kind: "compiled in", Version: version().Version})
	}
	if len(f.files) == 0 {
		return all, nil
	}
	s, err := pluginOfFiles(f)
	if err != nil || s.name == "" {
		return all, err
	}
	l := listed{Name: s.name, Kind: "process", Command: s.args, Pinned: s.config.SHA256 != ""}
	if l.Path, l.SHA256, err = s.file(); err != nil {
		l.Fault = err.Error()
		return append(all, l), nil
	}
	if l.Pinned && !strings.EqualFold(l.SHA256, s.config.SHA256) {
		l.Fault = fmt.Sprintf("%s has not the checksum of the configuration and will not be started", l.Path)
	}
	if info, err := buildinfo.ReadFile(l.Path); err == nil { // a program in Go says so itself
		l.Version = info.Main.Version
	}
	return append(all, l), nil
}
