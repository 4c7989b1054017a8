package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/plugins/host"
	"github.com/stratanode/strata/plugins/transport"
	"github.com/stratanode/strata/plugins/transport/transporttest"
)

// conformance is what "plugin test" and "plugin verify" do with a plugin.
type conformance struct {
	config, junit string
	asJSON, log   bool
	confine       string
	patience      time.Duration
	only          []string
	list          bool
}

func newPluginTestCommand() *cobra.Command {
	var c conformance
	cmd := &cobra.Command{
		Use:   "test COMMAND [ARGS…]",
		Short: "Check a plugin against the rules of the contract",
		Long: `Test starts two or three nodes of a plugin on this machine, again and again, and
checks every rule of the contract of transports: what a node relies on. It exits
with 1 if one is broken. A warning is no fault, but good to know.

The nodes get the settings "listen", an address, and "peers", a list of them. A
transport with other settings has them in a file for --config:

  conformance:
    nodes:
      - {bind: "127.0.0.1:$PORT0", bootstrap: "127.0.0.1:$PORT1"}
      - {bind: "127.0.0.1:$PORT1", bootstrap: "127.0.0.1:$PORT0"}

$PORT0, $PORT1 and $PORT2 become free ports. Write -- before a COMMAND whose
arguments begin with a dash.`,
		Example: `  strata plugin test ./mine
  strata plugin test --rule 'publish.*' --rule close.again ./mine
  strata plugin test --junit report.xml -- /usr/bin/python3 -X dev ./mine.py`,
		Args: func(cmd *cobra.Command, args []string) error {
			if c.list {
				return noArgs(cmd, args)
			}
			return commandArgs(cmd, args)
		},
		RunE: c.run,
	}
	cmd.Flags().StringVarP(&c.config, "config", "c", "", "file with the settings of the nodes")
	cmd.Flags().StringVar(&c.junit, "junit", "", "write a report in the form of JUnit to this file")
	cmd.Flags().BoolVar(&c.log, "log", false, "show what the plugin logs")
	cmd.Flags().DurationVar(&c.patience, "patience", 10*time.Second, "how long nodes may take to find each other, and envelopes to arrive")
	cmd.Flags().StringArrayVar(&c.only, "rule", nil, "check this rule only, or those of a pattern such as publish.*; may be repeated")
	cmd.Flags().BoolVar(&c.list, "list", false, "print the rules and end")
	c.confineFlag(cmd)
	jsonFlag(cmd, &c.asJSON, "one JSON object: name, version, ok, results")
	return cmd
}

func (c *conformance) confineFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.confine, "confine", "best", "how the plugin is confined, as in a node: best, required or off")
}

// run checks the plugin and prints the report.
func (c *conformance) run(cmd *cobra.Command, args []string) error {
	named, err := transporttest.RulesNamed(c.only)
	if err != nil {
		return misused(fmt.Errorf("--rule: %w", err))
	}
	if c.list {
		return listRules(cmd, named, c.asJSON)
	}
	configs, err := nodeSettings(c.config)
	if err != nil {
		return misused(err)
	}
	command, remove, err := c.command(args, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	defer remove()
	var each func(transporttest.Result)
	if !c.asJSON {
		each = func(r transporttest.Result) { fmt.Fprintln(cmd.OutOrStdout(), printable(r.Line())) }
	}
	report := transporttest.Check(cmd.Context(), transporttest.Target{
		New:      func(node int) (transport.Transport, error) { return startFor(cmd, command, node) },
		Configs:  configs,
		Patience: c.patience,
		Only:     c.only,
	}, each)
	if c.asJSON {
		err = report.JSON(cmd.OutOrStdout())
	} else {
		_, err = fmt.Fprintln(cmd.OutOrStdout(), printable(report.Summary()))
	}
	if c.junit != "" {
		err = errors.Join(err, writeFile(c.junit, report.JUnit))
	}
	if err == nil && !report.OK() {
		err = exitError{code: exitFailed}
	}
	return err
}

func listRules(cmd *cobra.Command, rules []transporttest.Rule, asJSON bool) error {
	if asJSON {
		return printJSON(cmd.OutOrStdout(), rules)
	}
	t := newTable(cmd.OutOrStdout(), "RULE", "MEANING")
	for _, r := range rules {
		t.row(r.ID, r.Text)
	}
	return t.flush()
}

// command returns how the plugin is run, in a folder that remove removes.
func (c *conformance) command(args []string, log io.Writer) (_ host.Command, remove func(), err error) {
	command, err := pluginCommand(args)
	if err != nil {
		return command, nil, err
	}
	if command.Confine, err = confineOf(c.confine); err != nil {
		return command, nil, misused(err)
	}
	if c.log {
		command.Log = slog.New(slog.NewTextHandler(log, nil))
	}
	command.Dir, remove, err = ownFolder()
	return command, remove, err
}

func confineOf(word string) (host.Confine, error) {
	for _, c := range []host.Confine{host.Best, host.Required, host.Off} {
		if c.String() == word {
			return c, nil
		}
	}
	return host.Off, fmt.Errorf("--confine: %q is none of best, required, off", word)
}

// inFolder is a process whose transport is told of the folder in which it may
// write, whoever opens it.
type inFolder struct {
	*host.Process
	dir string
}

// Open implements transport.Transport.
func (p inFolder) Open(ctx context.Context, o transport.Options) (transport.Info, error) {
	o.Dir = p.dir
	return p.Process.Open(ctx, o)
}

// startFor starts the process of a node. Its folder stays when it is started
// again.
func startFor(cmd *cobra.Command, c host.Command, node int) (transport.Transport, error) {
	c.Dir = filepath.Join(c.Dir, strconv.Itoa(node))
	p, err := host.Start(cmd.Context(), c)
	if err != nil {
		return nil, err
	}
	return inFolder{p, c.Dir}, nil
}

// nodesConfig is the section of a file with settings for a test.
type nodesConfig struct {
	Nodes []map[string]any `yaml:"nodes" comment:"settings of each node"`
}

// Validate implements the interface of kernel.Decode.
func (c nodesConfig) Validate() error {
	if len(c.Nodes) < 2 || len(c.Nodes) > 3 {
		return fmt.Errorf("nodes: has %d entries, want 2 or 3", len(c.Nodes))
	}
	return nil
}

// nodeSettings reads the settings of the nodes as JSON texts; nil without a file.
func nodeSettings(file string) ([]string, error) {
	if file == "" {
		return nil, nil
	}
	const section = "conformance"
	cfg, err := kernel.Load([]string{file}, []string{section})
	if err != nil {
		return nil, err
	}
	c, err := kernel.Decode(cfg.Sections[section], nodesConfig{})
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, node := range c.Nodes {
		text, err := json.Marshal(node)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		texts = append(texts, string(text))
	}
	return texts, nil
}

// writeFile makes a file with what write writes.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
