package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/layers/overlay"
)

func newPeersCommand(at socketOf) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "peers",
		Short:   "List the peers, add and remove some",
		Long:    "Peers lists the live links of the node and the nodes it is told to keep a link to.",
		Example: "  strata peers\n  strata peers --json | jq -r '.[] | select(.connected).enode'\n  strata peers add enode://…@127.0.0.1:30303",
		Args:    noArgs,
		RunE: withNode(at, func(ctx context.Context, c *rpc.Client, cmd *cobra.Command, _ []string) error {
			peers, err := c.Peers(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), peers)
			}
			t := newTable(cmd.OutOrStdout(), "STATE", "ADDRESS", "NAME", "KIND", "SINCE", "IN", "OUT", "ENODE")
			for _, p := range peers {
				t.row(peerState(p), p.Address, p.Name, peerKind(p), localTime(p.Since),
					strconv.FormatUint(p.In, 10), strconv.FormatUint(p.Out, 10), p.Enode)
			}
			return t.flush()
		}),
	}
	jsonFlag(cmd, &asJSON, "one JSON array")
	cmd.AddCommand(newPeersAddCommand(at), newPeersRemoveCommand(at))
	return cmd
}

func peerState(p overlay.PeerInfo) string {
	switch {
	case !p.Connected:
		return "down"
	case p.Inbound:
		return "inbound"
	}
	return "outbound"
}

func peerKind(p overlay.PeerInfo) string {
	switch {
	case p.Static && p.Trusted:
		return "static,trusted"
	case p.Static:
		return "static"
	case p.Trusted:
		return "trusted"
	}
	return ""
}

// peerChanged is what peers add and remove print with --json.
type peerChanged struct {
	Node    string `json:"node"`
	Added   bool   `json:"added"`
	Trusted bool   `json:"trusted,omitempty"`
}

func newPeersAddCommand(at socketOf) *cobra.Command {
	var trusted, asJSON bool
	cmd := &cobra.Command{
		Use:     "add NODE",
		Short:   "Keep a link to a node",
		Long:    "Add makes the node keep a link to the node with the given enode URL or ENR.\nThe link may take a while; see \"strata peers\".",
		Example: "  strata peers add enode://…@192.0.2.1:30303\n  strata peers add --trusted enr:-…",
		Args:    exactly(1),
		RunE: withNode(at, func(ctx context.Context, c *rpc.Client, cmd *cobra.Command, args []string) error {
			if err := c.AddPeer(ctx, args[0], trusted); err != nil {
				return err
			}
			return printPeer(cmd, asJSON, peerChanged{args[0], true, trusted})
		}),
	}
	cmd.Flags().BoolVar(&trusted, "trusted", false, "it may connect beyond the peer limit")
	jsonFlag(cmd, &asJSON, "one JSON object: node, added, trusted")
	return cmd
}

func newPeersRemoveCommand(at socketOf) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "remove NODE",
		Short:   "Give up the link to a node",
		Long:    "Remove undoes \"strata peers add\" and ends the link.",
		Example: "  strata peers remove enode://…@192.0.2.1:30303",
		Args:    exactly(1),
		RunE: withNode(at, func(ctx context.Context, c *rpc.Client, cmd *cobra.Command, args []string) error {
			if err := c.RemovePeer(ctx, args[0]); err != nil {
				return err
			}
			return printPeer(cmd, asJSON, peerChanged{Node: args[0]})
		}),
	}
	jsonFlag(cmd, &asJSON, "one JSON object: node, added")
	return cmd
}

func printPeer(cmd *cobra.Command, asJSON bool, p peerChanged) error {
	if asJSON {
		return printJSON(cmd.OutOrStdout(), p)
	}
	did := "removed"
	if p.Added {
		did = "added"
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), did, printable(p.Node))
	return err
}
