package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/stratanode/strata/plugins/host"
)

func newPluginCommand(f *fileFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plugin",
		Short: "Write, test, debug and inspect transport plugins",
		Long: `A transport plugin is a program that carries the envelopes of a node in place of
Whisper. It can be written in any language with gRPC; docs/add-a-transport.md goes
from nothing to two nodes that chat over one.`,
		RunE: group,
	}
	cmd.AddCommand(
		newPluginNewCommand(),
		newPluginTestCommand(),
		newPluginRunCommand(),
		newPluginListCommand(f),
		newPluginVerifyCommand(f),
		newPluginServeCommand(),
	)
	return cmd
}

// commandArgs are the arguments of a command that runs a plugin: there has to be
// a program. What comes after it belongs to it, flags included.
func commandArgs(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return misused(errors.New("say which program is the plugin, as in ./mine or /usr/bin/python3 ./mine.py"))
	}
	return nil
}

// pluginCommand returns what runs the plugin of a command line. Files among the
// arguments become absolute, since a plugin runs in a folder of its own, and it
// may read what lies beside them: the modules of a script, say.
func pluginCommand(args []string) (host.Command, error) {
	c := host.Command{Args: slices.Clone(args)}
	for i, arg := range c.Args {
		info, err := os.Stat(arg)
		if err != nil || info.IsDir() || i == 0 && filepath.Base(arg) == arg {
			continue // the name of a program is looked for in PATH
		}
		path, err := filepath.Abs(arg)
		if err != nil {
			return c, err
		}
		c.Args[i] = path
		c.AllowRead = append(c.AllowRead, filepath.Dir(path))
	}
	return c, nil
}

// ownFolder returns a folder for one run of a plugin, and what removes it.
func ownFolder() (string, func(), error) {
	dir, err := os.MkdirTemp("", "strata-plugin")
	if err != nil {
		return "", nil, fmt.Errorf("a folder for the plugin: %w", err)
	}
	return dir, func() { os.RemoveAll(dir) }, nil
}
