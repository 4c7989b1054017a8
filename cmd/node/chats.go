package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/layers/payload"
	"github.com/stratanode/strata/layers/secure"
)

func newChatsCommand(at socketOf) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "chats",
		Short:   "List the chats of the node",
		Long:    "Chats lists the public chats that are joined and the people one has written with.",
		Example: "  strata chats\n  strata chats --json | jq -r '.[].id'",
		Args:    noArgs,
		RunE: withNode(at, func(ctx context.Context, c *rpc.Client, cmd *cobra.Command, _ []string) error {
			chats, err := c.Chats(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), chats)
			}
			t := newTable(cmd.OutOrStdout(), "KIND", "CHAT")
			for _, chat := range chats {
				kind := "private"
				if chat.Public {
					kind = "public"
				}
				t.row(kind, string(chat.ID))
			}
			return t.flush()
		}),
	}
	jsonFlag(cmd, &asJSON, "one JSON array")
	return cmd
}

// joined is what join and leave print with --json.
type joined struct {
	Chat   payload.ChatID `json:"chat"`
	Joined bool           `json:"joined"`
}

func newJoinCommand(at socketOf) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "join CHANNEL",
		Short:   "Join a public chat",
		Long:    "Join makes the node receive the messages of a public chat, from now on and after a restart too.",
		Example: "  strata join test",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := channelOf(args[0])
			if err != nil {
				return err
			}
			return withNode(at, func(ctx context.Context, c *rpc.Client, cmd *cobra.Command, _ []string) error {
				if err := c.Join(ctx, secure.Channel(name)); err != nil {
					return err
				}
				return printJoined(cmd, asJSON, joined{payload.ChatID(name), true})
			})(cmd, args)
		},
	}
	jsonFlag(cmd, &asJSON, "one JSON object: chat, joined")
	return cmd
}

func newLeaveCommand(at socketOf) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "leave CHAT",
		Short:   "Leave a chat",
		Long:    "Leave closes a chat, public or private. Its history stays.",
		Example: "  strata leave test\n  strata leave 0x04ab…",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			chat, err := chatOf(args[0])
			if err != nil {
				return err
			}
			return withNode(at, func(ctx context.Context, c *rpc.Client, cmd *cobra.Command, _ []string) error {
				if err := c.Leave(ctx, chat); err != nil {
					return err
				}
				return printJoined(cmd, asJSON, joined{chat, false})
			})(cmd, args)
		},
	}
	jsonFlag(cmd, &asJSON, "one JSON object: chat, joined")
	return cmd
}

func printJoined(cmd *cobra.Command, asJSON bool, j joined) error {
	if asJSON {
		return printJSON(cmd.OutOrStdout(), j)
	}
	did := "left"
	if j.Joined {
		did = "joined"
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), did, printable(string(j.Chat)))
	return err
}
