package main

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/edge/rpc"
)

func newTraceCommand(at socketOf) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "trace ID",
		Short: "Tell the life of a message, step by step",
		Long: `Trace prints every step that a message or an envelope took through the layers of
the node: when, which layer, what it was given and what came of it. ID is the id
of a message, as "strata send" prints it, or the hash of an envelope. Only the
latest steps are remembered (trace.steps in the configuration).`,
		Example: "  strata trace 0x5f1c…\n  strata trace 0x5f1c… --json | jq '.[] | select(.outcome != \"done\")'",
		Args:    exactly(1),
		RunE: withNode(at, func(ctx context.Context, c *rpc.Client, cmd *cobra.Command, args []string) error {
			steps, err := c.Trace(ctx, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				if err := printJSON(cmd.OutOrStdout(), steps); err != nil {
					return err
				}
			}
			if len(steps) == 0 {
				return errors.New("nothing is remembered of it")
			}
			if asJSON {
				return nil
			}
			t := newTable(cmd.OutOrStdout(), "TIME", "LAYER", "INPUT", "OUTCOME", "TOOK", "SAVED", "CAME OF IT")
			for _, s := range steps {
				t.row(s.At.Local().Format("15:04:05.000000"), s.Layer, s.Input, outcomeOf(s),
					s.Took.Round(time.Microsecond).String(), strconv.Itoa(s.Saved), strings.Join(counted(s.Emitted), ", "))
			}
			return t.flush()
		}),
	}
	jsonFlag(cmd, &asJSON, "one JSON array of steps")
	return cmd
}

func outcomeOf(s actors.Step) string {
	if s.Reason != "" {
		return string(s.Outcome) + ": " + s.Reason
	}
	return string(s.Outcome)
}

// counted puts equal neighbours together: a, b, b becomes a, 2 b.
func counted(names []string) []string {
	var out []string
	for i := 0; i < len(names); {
		n := 1
		for i+n < len(names) && names[i+n] == names[i] {
			n++
		}
		name := names[i]
		if n > 1 {
			name = strconv.Itoa(n) + " " + name
		}
		out = append(out, name)
		i += n
	}
	return out
}

func newQuarantineCommand(at socketOf) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "quarantine",
		Short: "List the inputs that broke a layer",
		Long: `Quarantine lists the inputs on which a layer broke. Each is refused since, also
after a restart. The reason is what the layer broke with: worth a report.`,
		Example: "  strata quarantine\n  strata quarantine --json | jq -r '.[].reason'",
		Args:    noArgs,
		RunE: withNode(at, func(ctx context.Context, c *rpc.Client, cmd *cobra.Command, _ []string) error {
			all, err := c.Quarantine(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), all)
			}
			t := newTable(cmd.OutOrStdout(), "AT", "LAYER", "TYPE", "HASH", "REASON")
			for _, q := range all {
				t.row(localTime(q.At), q.Layer, q.Type, short(q.Hash), q.Reason)
			}
			return t.flush()
		}),
	}
	jsonFlag(cmd, &asJSON, "one JSON array")
	return cmd
}
