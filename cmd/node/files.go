package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/kernel"
)

// Top-level sections of the configuration file beside those of the kernel.
const (
	apiSection     = "api"
	processSection = "process"
	traceSection   = "trace"
	shhSection     = "shh"
)

// topSections lists them.
var topSections = []string{apiSection, processSection, shhSection, traceSection}

// fileFlags are the flags that say which configuration a command is about.
type fileFlags struct {
	files   []string
	dataDir string
}

// traceConfig is the section "trace".
type traceConfig struct {
	Steps int `yaml:"steps" comment:"up to so many steps of each layer are remembered for 'strata trace', fewer if they are large; 0 turns it off"`
}

func defaultTraceConfig() traceConfig { return traceConfig{Steps: 1 << 12} }

// maxTraceSteps bounds the memory of the trace; a step takes some 300 bytes.
const maxTraceSteps = 1 << 20

// Validate implements the interface of kernel.Decode.
func (c traceConfig) Validate() error {
	if c.Steps < 0 || c.Steps > maxTraceSteps {
		return fmt.Errorf("steps: %d is not from 0 to %d", c.Steps, maxTraceSteps)
	}
	return nil
}

// load reads the configuration that the flags name. A configuration that names
// no layer is that of a client.
func (f *fileFlags) load() (kernel.Config, error) {
	cfg, err := kernel.Load(f.files, topSections)
	if err != nil {
		return cfg, misused(err)
	}
	if f.dataDir != "" {
		if cfg.DataDir, err = filepath.Abs(f.dataDir); err != nil {
			return cfg, misused(err)
		}
	}
	if len(cfg.Layers) == 0 {
		cfg.Layers = map[string]kernel.Section{}
		for name, use := range defaultUse {
			cfg.Layers[name] = kernel.Section{Use: use}
		}
	}
	return cfg, nil
}

// defaultUse is what stands in the slots where the file names no layers.
var defaultUse = map[string]string{
	"overlay": "devp2p", "transport": "whisper", "envelope": "whisper",
	"secure": "ratchet", "datasync": "mvds", "payload": "status",
}

// apiConfig returns the section of the API.
func apiConfig(cfg kernel.Config) (rpc.Config, error) {
	return kernel.Decode(cfg.Sections[apiSection], rpc.DefaultConfig())
}

// ipcPath returns the socket of the node that the configuration describes.
func (f *fileFlags) ipcPath(*cobra.Command) (string, error) {
	cfg, err := f.load()
	return filepath.Join(cfg.DataDir, rpc.SocketName), err
}
