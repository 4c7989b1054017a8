// Command node is the Strata node, installed as strata: it runs a stack of
// layers from a configuration file, and talks to a running node.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/stratanode/strata/plugins/host"
)

// Exit codes of the binary.
const (
	exitOK      = 0
	exitFailed  = 1 // the command could not do what was asked
	exitMisused = 2 // the command line or a configuration file is wrong
)

func main() {
	host.Shim() // of no return in a process that is to become a plugin
	if serveBuiltin(os.Args[1:]) {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, newRootCommand())
	stop()
	os.Exit(code)
}

// execute runs a command and reports its error, if it has not done so itself.
func execute(ctx context.Context, root *cobra.Command) int {
	err := root.ExecuteContext(ctx)
	var exit exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		if exit.err != nil {
			fmt.Fprintln(root.ErrOrStderr(), "strata:", exit.err)
		}
		return exit.code
	}
	fmt.Fprintln(root.ErrOrStderr(), "strata:", err)
	return exitFailed
}

// exitError ends the process with a code of its own; a nil err has been reported
// already.
type exitError struct {
	code int
	err  error
}

// Error implements error.
func (e exitError) Error() string {
	if e.err == nil {
		return fmt.Sprint("exit ", e.code)
	}
	return e.err.Error()
}

func misused(err error) error { return exitError{exitMisused, err} }

// group is the RunE of a command that has nothing but sub-commands.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	return misused(fmt.Errorf("unknown command %q; see %s --help", args[0], cmd.CommandPath()))
}

// newRootCommand returns strata with all its commands.
func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "strata",
		Short: "A messaging node whose layers are isolated actors",
		Long: `Strata is a messaging node for the Status client specification of 2019. Each
protocol layer runs as an isolated actor; which layers, says a configuration
file. See "strata demo" for a look at it, and "strata run" to run a node.`,
		Args:          cobra.ArbitraryArgs,
		RunE:          group,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	var f fileFlags
	root.PersistentFlags().StringArrayVarP(&f.files, "config", "c", nil, "layer configuration file; a later one overrides an earlier one")
	root.PersistentFlags().StringVar(&f.dataDir, "data-dir", "", "data folder, instead of the one in the configuration")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return misused(err) })
	root.AddCommand(
		newRunCommand(&f),
		newDemoCommand(),
		newPluginCommand(&f),
		newKeyCommand(&f),
		newConfigCommand(&f),
		newSendCommand(f.ipcPath),
		newListenCommand(f.ipcPath),
		newHistoryCommand(f.ipcPath),
		newChatsCommand(f.ipcPath),
		newJoinCommand(f.ipcPath),
		newLeaveCommand(f.ipcPath),
		newPeersCommand(f.ipcPath),
		newStatusCommand(f.ipcPath),
		newTransportCommand(f.ipcPath),
		newLayersCommand(f.ipcPath),
		newLayerCommand(&f),
		newMailCommand(&f),
		newShhCommand(f.ipcPath),
		newExplainCommand(f.ipcPath),
		newTraceCommand(f.ipcPath),
		newQuarantineCommand(f.ipcPath),
		newVersionCommand(),
	)
	return root
}
