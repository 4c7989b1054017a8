package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stratanode/strata/actors/edge/rpc"
)

func newStatusCommand(at socketOf) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell how the node and its layers are",
		Long: `Status prints every layer of the running node: its state and since when, how often
it was restarted, what waits for it, how many inputs it refused as bad or keeps in
quarantine. The exit code is 0 if every layer is running well and 1 if one is not
or no node is running.`,
		Example: "  strata status\n  strata status --json | jq '.layers[] | {name, state}'",
		Args:    noArgs,
		RunE: withNode(at, func(ctx context.Context, c *rpc.Client, cmd *cobra.Command, _ []string) error {
			st, err := c.Status(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), st)
			} else {
				err = printStatus(cmd.OutOrStdout(), st)
			}
			if err == nil && !st.Healthy {
				err = fmt.Errorf("the node is degraded: %s", printable(strings.Join(st.Reasons, "; ")))
			}
			return err
		}),
	}
	jsonFlag(cmd, &asJSON, "one JSON object")
	return cmd
}

// historyLine tells how a client catches up with what it missed.
func historyLine(h *rpc.History) string {
	if h == nil {
		return ""
	}
	text := h.State
	if !h.To.IsZero() {
		text += fmt.Sprintf(", %s to %s: %d envelopes, %d opened", localTime(h.From), localTime(h.To), h.Envelopes, h.Opened)
	}
	for _, g := range h.Gaps {
		text += fmt.Sprintf("; gap from %s to %s: %s", localTime(g.From), localTime(g.To), g.Reason)
	}
	return text
}

func printStatus(w io.Writer, st rpc.Status) error {
	health := "healthy"
	if !st.Healthy {
		health = "degraded"
	}
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-10s%s\n", name, printable(value))
		}
	}
	line("node", fmt.Sprintf("%s, %d peers, up since %s, strata %s", health, st.Peers, localTime(st.Started), st.Version))
	if !st.Identity.ChatKey.IsZero() {
		line("chat key", st.Identity.ChatKey.String())
	}
	line("enode", st.Identity.Enode)
	line("enr", st.Identity.ENR)
	line("process", fmt.Sprintf("%d MiB of memory, %d goroutines", st.Process.Memory>>20, st.Process.Goroutines))
	line("history", historyLine(st.History))
	line("api", fmt.Sprintf("%d calls (%d busy, %d timed out), %d subscribers (%d cut off), %d turned away",
		st.API.Calls, st.API.Busy, st.API.TimedOut, st.API.Subscribers, st.API.CutOff, st.API.TurnedAway))
	fmt.Fprintln(w)
	t := newTable(w, "LAYER", "STATE", "SINCE", "RESTARTS", "QUEUE", "STEPS", "REFUSED", "QUARANTINED", "REASON")
	for _, l := range st.Layers {
		state := string(l.State)
		if l.Degraded {
			state += ", degraded"
		}
		t.row(l.Name, state, localTime(l.Since), strconv.Itoa(l.Restarts), strconv.FormatInt(l.Queue, 10),
			strconv.FormatUint(l.Steps, 10), strconv.FormatUint(l.Refused, 10), strconv.FormatInt(l.Quarantined, 10), l.Reason)
	}
	return t.flush()
}
