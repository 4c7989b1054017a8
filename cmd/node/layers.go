package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stratanode/strata/actors/edge/rpc"
)

func newLayersCommand(at socketOf) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "layers",
		Short: "List the slots of the running node and who fills them",
		Long: `Layers prints every slot from top to bottom: its resident, how it is and since
when, how often it was restarted and why, and what a transport says of itself.`,
		Example: "  strata layers\n  strata layers --json | jq '.[] | {name, use, about}'",
		Args:    noArgs,
		RunE: withNode(at, func(ctx context.Context, c *rpc.Client, cmd *cobra.Command, _ []string) error {
			st, err := c.Status(ctx)
			if err != nil {
				return err
			}
			slices.Reverse(st.Layers)
			if asJSON {
				return printJSON(cmd.OutOrStdout(), st.Layers)
			}
			return printLayers(cmd.OutOrStdout(), st.Layers)
		}),
	}
	jsonFlag(cmd, &asJSON, "a JSON list")
	return cmd
}

func printLayers(w io.Writer, all []rpc.Layer) error {
	t := newTable(w, "SLOT", "RESIDENT", "STATE", "SINCE", "RESTARTS", "REASON")
	for _, l := range all {
		state := string(l.State)
		if l.Degraded {
			state += ", degraded"
		}
		t.row(l.Name, l.Use, state, localTime(l.Since), strconv.Itoa(l.Restarts), l.Reason)
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, l := range all {
		if len(l.About) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s\n", l.Name)
		for _, key := range slices.Sorted(maps.Keys(l.About)) {
			fmt.Fprintf(w, "  %-16s %s\n", words(key), printable(inWords(l.About[key])))
		}
	}
	return nil
}

// inWords writes a value of JSON for people; of an object only what is not
// nothing.
func inWords(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case []any:
		all := make([]string, len(v))
		for i, x := range v {
			all[i] = inWords(x)
		}
		return strings.Join(all, ", ")
	case map[string]any:
		var all []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			switch text := inWords(v[key]); text {
			case "", "-", "0", "false", "none":
			case "true":
				all = append(all, words(key))
			default:
				all = append(all, words(key)+" "+text)
			}
		}
		return cmp.Or(strings.Join(all, ", "), "-")
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

func words(key string) string { return strings.ReplaceAll(strings.ToLower(key), "_", " ") }

func newLayerCommand(f *fileFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "layer",
		Short: "Replace a layer of the running node",
		Long: `A slot of the running node can be given another resident; "strata layers" lists
what there is.`,
		RunE: group,
	}
	cmd.AddCommand(newLayerReplaceCommand(f))
	return cmd
}

func newLayerReplaceCommand(f *fileFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "replace SLOT -c FILE",
		Short: "Put another resident into a slot of the running node",
		Long: `Replace exchanges what fills a slot while the node runs: nothing that is queued is
lost, and what is not yet confirmed is sent again by the new resident. FILE is a
layer configuration file; only its section of the slot is read. The slot that can
be replaced is transport.

The one before is heard for a while yet, so that nothing is lost which others have
sent by it. If the new one does not open, an error says why and nothing has
changed. The exchange holds until the node stops: to keep it, change the file that
the node is started with.

Which node is meant says --data-dir, or data_dir in FILE.`,
		Example: "  strata layer replace transport -c libp2p.yaml --data-dir ~/.strata",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(f.files) != 1 {
				return misused(errors.New("replace takes one file, by -c FILE"))
			}
			file, err := filepath.Abs(f.files[0])
			if err != nil {
				return misused(err)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				return misused(err)
			}
			return withNode(f.ipcPath, func(ctx context.Context, c *rpc.Client, cmd *cobra.Command, _ []string) error {
				begin := time.Now()
				if err := c.ReplaceLayer(ctx, args[0], file, text); err != nil {
					return err
				}
				took := time.Since(begin)
				if asJSON {
					return printJSON(cmd.OutOrStdout(), map[string]any{"slot": args[0], "took_ms": took.Milliseconds()})
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s replaced in %v\n", args[0], took.Round(time.Millisecond))
				return err
			})(cmd, args)
		},
	}
	jsonFlag(cmd, &asJSON, "one JSON object")
	return cmd
}
