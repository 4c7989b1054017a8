package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stratanode/strata/actors/edge/archive"
	"github.com/stratanode/strata/actors/edge/rpc"
)

// onArchive has the running node do something with its archive or, if there is
// no node, does it with the store itself.
func onArchive(f *fileFlags, running func(context.Context, *rpc.Client) error, stopped func(context.Context, archive.Store) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		path, err := f.ipcPath(cmd)
		if err != nil {
			return err
		}
		dial, cancel := context.WithTimeout(ctx, dialWithin)
		defer cancel()
		c, err := rpc.Dial(dial, path)
		switch {
		case err == nil:
			defer c.Close()
			return running(ctx, c)
		case !errors.Is(err, rpc.ErrNoNode):
			return err
		}
		cfg, err := f.load()
		if err != nil {
			return err
		}
		sec, ok := cfg.Layers["archive"]
		if !ok {
			return misused(errors.New("no node is running, and the configuration has no layers.archive: name the file of the mail server with -c"))
		}
		settings, err := archiveConfig(sec)
		if err != nil {
			return misused(err)
		}
		s, err := archive.OpenStore(ctx, settings, cfg.DataDir)
		if err != nil {
			return err
		}
		defer s.Close()
		return stopped(ctx, s)
	}
}

func newMailStatsCommand(f *fileFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Tell what is in the archive",
		Long: `Stats prints how many envelopes the archive has, of how many topics, from when to
when, and what it takes on the disk. A running node also tells what it was asked
for. Without a running node the archive of the configuration is opened.`,
		Example: "  strata mail stats -c configs/mailserver.yaml",
		Args:    noArgs,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		show := func(raw json.RawMessage) error { return printArchive(cmd, raw, asJSON) }
		return onArchive(f, func(ctx context.Context, c *rpc.Client) error {
			raw, err := c.MailStats(ctx)
			if err != nil {
				return err
			}
			return show(raw)
		}, func(ctx context.Context, s archive.Store) error {
			if err := s.Load(ctx); err != nil { // which counts the topics
				return err
			}
			contents, err := s.Contents(ctx)
			if err != nil {
				return err
			}
			raw, err := json.Marshal(contents)
			if err != nil {
				return err
			}
			return show(raw)
		})(cmd, args)
	}
	jsonFlag(cmd, &asJSON, "one JSON object")
	return cmd
}

// printArchive prints the fields of a JSON object, a line each, in their order.
func printArchive(cmd *cobra.Command, raw json.RawMessage, asJSON bool) error {
	if asJSON {
		return printJSON(cmd.OutOrStdout(), raw)
	}
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("answer of the node: %w", err)
	}
	t := newTable(cmd.OutOrStdout())
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return fmt.Errorf("answer of the node: %w", err)
		}
		var value any
		if err := dec.Decode(&value); err != nil {
			return fmt.Errorf("answer of the node: %w", err)
		}
		t.row(strings.ReplaceAll(fmt.Sprint(name), "_", " "), plainValue(value))
	}
	return t.flush()
}

// plainValue writes a value of JSON for people.
func plainValue(v any) string {
	switch v := v.(type) {
	case float64:
		return fmt.Sprintf("%.0f", v)
	case string, bool, nil:
		return fmt.Sprint(v)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// pruneAtOnce is how many envelopes one transaction removes, so that a node that
// uses the same database goes on.
const pruneAtOnce = 1000

func newMailPruneCommand(f *fileFlags) *cobra.Command {
	var before string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "prune --before TIME",
		Short: "Remove old envelopes from the archive",
		Long: `Prune removes what was sent before a time, which is RFC 3339 or how long ago. The node
does so by itself with what is older than its retention.`,
		Example: "  strata mail prune --before 720h",
		Args:    noArgs,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if before == "" {
			return misused(errors.New("--before: missing"))
		}
		at, err := momentOf("--before", before, time.Now())
		if err != nil {
			return err
		}
		done := func(n int) error {
			if asJSON {
				return printJSON(cmd.OutOrStdout(), map[string]int{"removed": n})
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), n, "envelopes removed")
			return err
		}
		return onArchive(f, func(ctx context.Context, c *rpc.Client) error {
			n, err := c.MailPrune(ctx, at)
			if err != nil {
				return err
			}
			return done(n)
		}, func(ctx context.Context, s archive.Store) error {
			for total := 0; ; {
				n, err := s.Prune(ctx, uint32(at.Unix()), pruneAtOnce)
				if err != nil {
					return err
				}
				if total += n; n == 0 {
					return done(total)
				}
			}
		})(cmd, args)
	}
	cmd.Flags().StringVar(&before, "before", "", "a time, or how long ago")
	jsonFlag(cmd, &asJSON, "one JSON object: removed")
	return cmd
}

func newMailVerifyCommand(f *fileFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check every envelope in the archive",
		Long: `Verify reads the whole archive: each envelope must have the hash, time and topic it is
filed under, and the database must be sound. It exits with 1 if there is a fault.
A million envelopes take some seconds.`,
		Example: "  strata mail verify -c configs/mailserver.yaml",
		Args:    noArgs,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		show := func(raw json.RawMessage) error {
			var v archive.Verified
			if err := errors.Join(json.Unmarshal(raw, &v), printArchive(cmd, raw, asJSON)); err != nil {
				return err
			}
			if !v.Clean() {
				return fmt.Errorf("the archive has faults: %s", printable(strings.Join(v.Faults, "; ")))
			}
			return nil
		}
		return onArchive(f, func(ctx context.Context, c *rpc.Client) error {
			raw, err := c.MailVerify(ctx)
			if err != nil {
				return err
			}
			return show(raw)
		}, func(ctx context.Context, s archive.Store) error {
			v, err := s.Verify(ctx, func(int, int) {})
			if err != nil {
				return err
			}
			raw, err := json.Marshal(v)
			if err != nil {
				return err
			}
			return show(raw)
		})(cmd, args)
	}
	jsonFlag(cmd, &asJSON, "one JSON object")
	return cmd
}
