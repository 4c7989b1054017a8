package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/stratanode/strata/actors/edge/plugin"
	"github.com/stratanode/strata/kernel"
)

// readPlugin returns the plugin that a section of the transport slot describes.
// Its args are empty if the transport is compiled in and runs in the node.
func readPlugin(sec kernel.Section) (subject, error) {
	c, err := kernel.Decode(sec, plugin.DefaultConfig())
	if err != nil {
		return subject{}, err
	}
	for _, paths := range [][]string{c.Command, c.AllowRead} {
		for i, path := range paths {
			paths[i] = besides(sec.File(), path)
		}
	}
	pins := map[string]string{}
	for file, sum := range c.Pins {
		pins[besides(sec.File(), file)] = sum
	}
	c.Pins = pins
	s := subject{name: sec.Use, args: c.Command, config: c}
	switch {
	case sec.Use == usePlugin && c.Attach != "":
		s.name = "attached"
	case c.Attach != "":
		return s, sec.Fault("attach", sec.Use+" is compiled in; one that runs already is used by 'use: plugin'")
	case sec.Use == usePlugin && len(c.Command) == 0:
		return s, sec.Fault("command", "is empty: it names the program of the plugin")
	case sec.Use == usePlugin:
		s.name = strings.TrimSuffix(filepath.Base(c.Command[0]), filepath.Ext(c.Command[0]))
	case len(c.Command) > 0:
		return s, sec.Fault("command", fmt.Sprintf("%s is compiled in; a program is used by 'use: plugin'", sec.Use))
	case c.Process:
		self, err := os.Executable()
		if err != nil {
			return s, err
		}
		s.args = []string{self, "plugin", "serve", sec.Use}
	}
	return s, nil
}

// opener returns what starts the plugin, or connects to it.
func (s subject) opener(log *slog.Logger) plugin.Opener {
	switch {
	case s.config.Attach != "":
		return plugin.Attach(s.config.Attach)
	case len(s.args) > 0:
		return plugin.Process(s.name, s.config, s.args, log)
	}
	inProcess := plugin.InProcess(builtin[s.name])
	return func(ctx context.Context) (plugin.Running, error) {
		if err := os.MkdirAll(s.config.Dir, 0o700); err != nil {
			return nil, err
		}
		return inProcess(ctx)
	}
}
