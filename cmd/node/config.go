package main

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/stratanode/strata/actors/edge/archive"
	"github.com/stratanode/strata/actors/edge/bridge"
	"github.com/stratanode/strata/actors/edge/devp2p"
	"github.com/stratanode/strata/actors/edge/plugin"
	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/actors/edge/shh"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers/datasync/mvds"
	sealing "github.com/stratanode/strata/layers/envelope/whisper"
	"github.com/stratanode/strata/layers/payload/status"
	"github.com/stratanode/strata/layers/secure/ratchet"
	"github.com/stratanode/strata/layers/transport/whisper"
)

func newConfigCommand(f *fileFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check and print layer configuration files",
		Long: `A layer configuration file says which layers a node has and how they are set. What
it leaves out has its default; "strata config print" lists all there is.`,
		RunE: group,
	}
	cmd.AddCommand(newConfigCheckCommand(f), newConfigPrintCommand(f))
	return cmd
}

func newConfigCheckCommand(f *fileFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE…]",
		Short: "Report every fault of a configuration, and start nothing",
		Long: `Check reads the files, each over the one before, and those of --config, as "run"
would. It prints every fault with file, line and the name of the field, and exits
with 2 if there is one.`,
		Example: "  strata config check configs/relay.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			flags := fileFlags{files: append(slices.Clone(f.files), args...), dataDir: f.dataDir}
			cfg, err := flags.load()
			if err != nil {
				return err
			}
			if err := check(cfg); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "ok:", describe(cfg))
			return err
		},
	}
}

// describe names the layers of a configuration, top to bottom.
func describe(cfg kernel.Config) string {
	text := ""
	for _, slot := range slices.Backward(slotNames) {
		if sec, ok := cfg.Layers[slot]; ok {
			if text != "" {
				text += " / "
			}
			text += slot + " " + sec.Use
		}
	}
	return text
}

func newConfigPrintCommand(f *fileFlags) *cobra.Command {
	var effective bool
	cmd := &cobra.Command{
		Use:   "print",
		Short: "Print the defaults with comments, or a configuration in effect",
		Long: `Print writes a configuration file with every setting, its default and what it is
for. With --effective, or with --config, it writes what the files given by
--config amount to; secrets are left out.`,
		Example: `  strata config print > mine.yaml
  strata config print -c configs/client.yaml`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.load()
			if err != nil {
				return err
			}
			if err := check(cfg); err != nil {
				return err
			}
			write := kernel.Document
			if effective || len(f.files) > 0 {
				write = kernel.Effective
			}
			return printConfig(cmd.OutOrStdout(), cfg, write)
		},
	}
	cmd.Flags().BoolVar(&effective, "effective", false, "print what is in effect, without secrets")
	return cmd
}

// printConfig writes a checked configuration section by section.
func printConfig(w io.Writer, cfg kernel.Config, write func(io.Writer, string, any) error) error {
	if err := write(w, "", cfg); err != nil {
		return err
	}
	for _, section := range []struct {
		name string
		read func(kernel.Section) (any, error)
	}{
		{apiSection, decodeAs(rpc.DefaultConfig())},
		{processSection, decodeAs(processConfig{})},
		{shhSection, decodeAs(shh.DefaultConfig())},
		{traceSection, decodeAs(defaultTraceConfig())},
	} {
		c, err := section.read(cfg.Sections[section.name])
		if err != nil {
			return err
		}
		if err := write(w, section.name, c); err != nil {
			return err
		}
	}
	fmt.Fprint(w, "layers:\n")
	for _, slot := range slices.Backward(slotNames) {
		sec, ok := cfg.Layers[slot]
		if !ok {
			continue
		}
		c, err := settings[slot+" "+sec.Use](sec)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "  %s:\n    use: %s\n", slot, sec.Use)
		if err := write(w, "    settings", c); err != nil {
			return err
		}
	}
	return nil
}

// settings decodes the section of every protocol that a slot can have.
var settings = map[string]func(kernel.Section) (any, error){
	"overlay devp2p":    decodeAs(devp2p.DefaultConfig()),
	"transport whisper": decodeAs(whisper.DefaultConfig()),
	"transport plugin":  decodeAs(plugin.DefaultConfig()),
	"transport libp2p":  decodeAs(plugin.DefaultConfig()),
	"transport udp":     decodeAs(plugin.DefaultConfig()),
	"far plugin":        decodeAs(plugin.DefaultConfig()),
	"far libp2p":        decodeAs(plugin.DefaultConfig()),
	"far udp":           decodeAs(plugin.DefaultConfig()),
	"bridge relay":      decodeAs(bridge.DefaultConfig()),
	"archive sqlite":    decodeAs(archive.DefaultConfig()),
	"archive postgres":  decodeAs(archive.DefaultConfig()),
	"envelope whisper":  decodeAs(sealing.DefaultConfig()),
	"secure ratchet":    decodeAs(ratchet.DefaultConfig()),
	"datasync mvds":     decodeAs(mvds.DefaultConfig()),
	"payload status":    decodeAs(status.DefaultConfig()),
}

func decodeAs[T interface{ Validate() error }](defaults T) func(kernel.Section) (any, error) {
	return func(sec kernel.Section) (any, error) { return kernel.Decode(sec, defaults) }
}

// protocols lists what this binary can put into its slots, for version.
func protocols() []string { return slices.Sorted(maps.Keys(settings)) }
