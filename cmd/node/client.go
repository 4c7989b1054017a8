package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/payload"
)

// dialWithin bounds the wait for a node on this machine to take a connection.
const dialWithin = 5 * time.Second

// socketOf returns the socket of the node that a command is about.
type socketOf func(*cobra.Command) (string, error)

// withNode makes a RunE of f, which gets a connection to the running node.
func withNode(at socketOf, f func(ctx context.Context, c *rpc.Client, cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		path, err := at(cmd)
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		dial, cancel := context.WithTimeout(ctx, dialWithin)
		defer cancel()
		c, err := rpc.Dial(dial, path)
		if err != nil {
			return err
		}
		defer c.Close()
		return f(ctx, c, cmd, args)
	}
}

// exactly, atMost and noArgs are cobra's checks of the number of arguments, with
// the exit code of a wrong command line.
func exactly(n int) cobra.PositionalArgs { return misuse(cobra.ExactArgs(n)) }
func atMost(n int) cobra.PositionalArgs  { return misuse(cobra.MaximumNArgs(n)) }

var noArgs = misuse(cobra.NoArgs)

func misuse(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return misused(fmt.Errorf("%w; see %s --help", err, cmd.CommandPath()))
		}
		return nil
	}
}

// jsonFlag adds the flag --json.
func jsonFlag(cmd *cobra.Command, asJSON *bool, what string) {
	cmd.Flags().BoolVar(asJSON, "json", false, "print "+what)
}

// chatOf reads a chat from the command line: a public key, or the name of a
// public chat with or without #.
func chatOf(arg string) (payload.ChatID, error) {
	if strings.HasPrefix(arg, "0x") || strings.HasPrefix(arg, "0X") {
		k, err := layers.ParsePublicKeyText(arg)
		if err != nil {
			return "", misused(fmt.Errorf("chat: %w", err))
		}
		return payload.ChatID(k.String()), nil
	}
	name, err := channelOf(arg)
	return payload.ChatID(name), err
}

// channelOf reads the name of a public chat, with or without #.
func channelOf(arg string) (string, error) {
	name := strings.TrimPrefix(arg, "#")
	if strings.TrimSpace(name) == "" {
		return "", misused(errors.New("channel: the name is empty"))
	}
	return name, nil
}

// keyOf reads a public key, compressed or not.
func keyOf(flag, arg string) (layers.PublicKey, error) {
	k, err := layers.ParsePublicKeyText(arg)
	if err != nil {
		return k, misused(fmt.Errorf("%s: %w", flag, err))
	}
	return k, nil
}
