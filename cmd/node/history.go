package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/stratanode/strata/actors/edge/rpc"
)

// maxHistory is the most messages one call returns.
const maxHistory = 1000

func newHistoryCommand(at socketOf) *cobra.Command {
	var (
		q      rpc.Query
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "history [CHAT]",
		Short: "Print the messages of a chat or of all",
		Long: `History prints the latest messages of a chat, a public key or the name of a public
chat, or without CHAT of all chats. The newest comes last; with --json it comes
first. If there are older ones it says how to go on.`,
		Example: `  strata history test
  strata history 0x04ab… --limit 10
  strata history --json | jq -r '.messages[].text'`,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if q.Limit < 1 || q.Limit > maxHistory {
				return misused(fmt.Errorf("--limit: %d is not between 1 and %d", q.Limit, maxHistory))
			}
			if len(args) > 0 {
				var err error
				if q.Chat, err = chatOf(args[0]); err != nil {
					return err
				}
			}
			return withNode(at, func(ctx context.Context, c *rpc.Client, cmd *cobra.Command, _ []string) error {
				p, err := c.History(ctx, q)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), p)
				}
				for _, m := range slices.Backward(p.Messages) {
					if err := printMessage(cmd.OutOrStdout(), m); err != nil {
						return err
					}
				}
				if p.Next != "" {
					fmt.Fprintf(cmd.ErrOrStderr(), "strata: there are older ones: --before %s\n", printable(p.Next))
				}
				return nil
			})(cmd, args)
		},
	}
	cmd.Flags().IntVar(&q.Limit, "limit", 100, "at most this many messages")
	cmd.Flags().StringVar(&q.Before, "before", "", "go on where an earlier call ended")
	jsonFlag(cmd, &asJSON, "one JSON object: messages, next")
	return cmd
}
