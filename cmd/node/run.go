package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

func newRunCommand(f *fileFlags) *cobra.Command {
	var asJSON bool
	var o bootOptions
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run a node until it is interrupted",
		Long: `Run starts the layers that the configuration names and prints who the node is:
its enode and ENR for peers, its chat key for people. Without a configuration it
is a client with the defaults of "strata config print".

The passphrase of the data folder comes from store.passphrase_file, from the
environment variable that store.passphrase_env names, or is asked for.`,
		Example: `  strata run -c configs/relay.yaml
  strata run -c configs/client.yaml -c mine.yaml   # mine overrides`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.load()
			if err != nil {
				return err
			}
			log, err := newLogger(cfg.Log, cmd.ErrOrStderr())
			if err != nil {
				return misused(err)
			}
			if err := check(cfg); err != nil {
				return err // before anybody is asked for a passphrase
			}
			key, err := storeKey(cfg, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if err := limitProcess(cfg); err != nil {
				return misused(err)
			}
			begin := time.Now()
			n, err := boot(cfg, key, log, o)
			if err != nil {
				return err
			}
			defer n.close()
			if err := n.introduce(cmd, asJSON); err != nil {
				return err
			}
			log.Info("node is up", "data_dir", cfg.DataDir, "took", time.Since(begin).Round(time.Millisecond))
			<-cmd.Context().Done()
			log.Info("node is stopping")
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print who the node is as one JSON object")
	cmd.Flags().BoolVar(&o.acceptRollback, "accept-rollback", false,
		"start with a store that was put back to an earlier state, after a restored backup; sessions may then use keys twice")
	return cmd
}

// introduction is what a node says of itself at the start.
type introduction struct {
	Enode   string `json:"enode,omitempty"`
	ENR     string `json:"enr,omitempty"`
	Key     string `json:"key,omitempty"`
	NewKey  bool   `json:"new_key,omitempty"`
	DataDir string `json:"data_dir"`
	IPC     string `json:"ipc,omitempty"`
}

// introduce prints who the node is.
func (n *node) introduce(cmd *cobra.Command, asJSON bool) error {
	id, err := n.server.Self(cmd.Context())
	if err != nil {
		return err
	}
	in := introduction{
		Enode: id.Enode, ENR: id.ENR, NewKey: n.fresh,
		DataDir: n.config.DataDir, IPC: n.server.IPCPath(),
	}
	if !n.keys.identity.IsZero() {
		in.Key = n.keys.identity.Public().String()
	}
	if asJSON {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(in)
	}
	in.print(cmd.OutOrStdout())
	return nil
}

func (in introduction) print(w io.Writer) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-10s%s\n", name, value)
		}
	}
	line("enode", in.Enode)
	line("enr", in.ENR)
	if in.NewKey {
		line("chat key", in.Key+" (new)")
	} else {
		line("chat key", in.Key)
	}
	line("data", in.DataDir)
	line("ipc", in.IPC)
}
