package main

import (
	"crypto/rand"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/edge/plugin"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
)

// usePlugin is the "use" of a transport that is a program of its own.
const usePlugin = "plugin"

// isPlugin reports whether a protocol of the transport slot comes by way of the
// plugin contract, in a process or compiled in.
func isPlugin(use string) bool { return use == usePlugin || builtin[use] != nil }

// carriers lists what can stand in the transport slot.
func carriers() []string {
	return append([]string{"whisper", usePlugin}, slices.Sorted(maps.Keys(builtin))...)
}

// codecOf returns the half of Whisper that works in the read goroutines of the
// overlay's peers. A node whose transport is another one, but which has an
// overlay, may get Whisper later.
func codecOf(cfg kernel.Config) (overlay.Codec, error) {
	c, err := whisperConfig(cfg)
	return whisper.NewCodec(c), err
}

func whisperConfig(cfg kernel.Config) (whisper.Config, error) {
	sec := cfg.Layers["transport"]
	if sec.Use != "whisper" {
		return whisper.DefaultConfig(), nil
	}
	return kernel.Decode(sec, whisper.DefaultConfig())
}

func standTransport(s *actors.Stack, cfg kernel.Config, k keys, r *residents, log *slog.Logger) error {
	sec, ok := cfg.Layers["transport"]
	switch {
	case !ok:
		return nil
	case isPlugin(sec.Use):
		p, err := pluginOf(sec, cfg.DataDir, "transport", log)
		if err != nil {
			return err
		}
		r.set("transport", sec.Use, p)
		actors.StandEdge(s, transportSlot, func(out actors.Outlet[transport.Event]) actors.Edge[transport.Command] {
			return p.Edge(out)
		})
		return nil
	case sec.Use != "whisper":
		return unknown(sec, carriers()...)
	}
	sec, _, err := resident(cfg, "transport", overlaySlot)
	if err != nil {
		return err
	}
	c, err := kernel.Decode(sec, whisper.DefaultConfig())
	if err != nil {
		return err
	}
	_, archived := cfg.Layers["archive"]
	tools := whisperTools(c, k, archived)
	stand(s, transportSlot, overlaySlot, func(layers.Saved) *whisper.Node { return whisper.NewWith(c, tools) })
	return nil
}

// whisperTools returns what Whisper needs and must not have itself: keys and a
// source of randomness.
func whisperTools(c whisper.Config, k keys, archived bool) whisper.Tools {
	return whisper.Tools{
		Sealer: &mailSealer{node: k.node, password: c.Mail.Password}, Random: rand.Reader, Archive: archived,
	}
}

// pluginOf returns the transport that a section describes, to be opened later.
func pluginOf(sec kernel.Section, dataDir, slot string, log *slog.Logger) (*plugin.Resident, error) {
	p, err := readPlugin(sec)
	if err != nil {
		return nil, err
	}
	if dataDir, err = filepath.Abs(dataDir); err != nil {
		return nil, err
	}
	p.config.Dir = filepath.Join(dataDir, "plugins", slot, p.name)
	p.config.Hide = []string{dataDir}
	return plugin.NewResident(p.name, p.config, p.opener(log), log), nil
}

// besides makes a path that begins with ./ or ../ relative to the folder of the
// file that names it, as all paths in configuration files are.
func besides(file, path string) string {
	if file == "" || !strings.HasPrefix(path, "./") && !strings.HasPrefix(path, "../") {
		return path
	}
	abs, err := filepath.Abs(filepath.Join(filepath.Dir(file), path))
	if err != nil {
		return path
	}
	return abs
}
