package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/layers/transport"
)

func newTransportCommand(at socketOf) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "transport",
		Short: "Tell how the transport of the node is doing",
		Long: `Transport prints what the transport asks of envelopes, how many it holds, how many it
took in and refused, by reason, and by how much the clocks of others differ from
that of this machine: a node whose clock is off by ten seconds loses messages.`,
		Example: "  strata transport\n  strata transport --json | jq .refused",
		Args:    noArgs,
		RunE: withNode(at, func(ctx context.Context, c *rpc.Client, cmd *cobra.Command, _ []string) error {
			s, err := c.Transport(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), s)
			}
			t := newTable(cmd.OutOrStdout())
			for _, row := range transportRows(s) {
				t.row(row[0], row[1])
			}
			return t.flush()
		}),
	}
	jsonFlag(cmd, &asJSON, "one JSON object")
	return cmd
}

// transportRows describes a transport, a line each.
func transportRows(s transport.State) [][2]string {
	skew := "not known yet"
	if s.Samples > 0 {
		skew = fmt.Sprintf("%+.1f s against ours, by %d envelopes", s.Skew.Seconds(), s.Samples)
	}
	rows := [][2]string{
		{"proof of work asked", strconv.FormatFloat(s.MinPoW, 'g', -1, 64)},
		{"longest envelope", fmt.Sprintf("%d bytes", s.MaxMessage)},
		{"held", fmt.Sprintf("%d envelopes, %.1f of %.1f MiB", s.Pooled, float64(s.PooledBytes)/(1<<20), float64(s.PoolLimit)/(1<<20))},
		{"taken in", strconv.FormatUint(s.Admitted, 10)},
		{"known already", strconv.FormatUint(s.Duplicates, 10)},
		{"clocks of others", skew},
	}
	for _, list := range []struct {
		name   string
		counts map[string]uint64
	}{{"refused", s.Refused}, {"too much of", s.Limited}} {
		for _, reason := range slices.Sorted(maps.Keys(list.counts)) {
			if n := list.counts[reason]; n > 0 {
				rows = append(rows, [2]string{list.name + ", " + reason, strconv.FormatUint(n, 10)})
			}
		}
	}
	for _, server := range s.Servers {
		rows = append(rows, [2]string{"mail server", server})
	}
	return rows
}
