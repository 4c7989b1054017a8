package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/stratanode/strata/actors/edge/archive"
	"github.com/stratanode/strata/actors/edge/rpc"
)

// syncStep is how much is taken over between two lines of output.
const syncStep = 24 * time.Hour

// mailSync is what the flags of mail sync say.
type mailSync struct {
	server, from, to string
	asJSON           bool
}

func newMailSyncCommand(at socketOf) *cobra.Command {
	var s mailSync
	cmd := &cobra.Command{
		Use:   "sync --server ENODE",
		Short: "Take over what another mail server has",
		Long: `Sync has the running mail server ask another one for what it keeps, and puts that into
its own archive, a day at a time, the oldest first. What is there already is not
stored twice, so it may be repeated. Times are RFC 3339, or how long ago.

A mail server does so by itself with the servers in layers.archive.settings.sync.`,
		Example: "  strata mail sync --server enode://…@192.0.2.7:30303 --from 72h",
		Args:    noArgs,
		RunE: withNode(at, func(ctx context.Context, c *rpc.Client, cmd *cobra.Command, _ []string) error {
			now := time.Now()
			r, err := s.takeover(now)
			if err != nil {
				return err
			}
			return s.run(ctx, c, cmd, r)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&s.server, "server", "", "whom to ask: an enode URL")
	flags.StringVar(&s.from, "from", defaultFrom, "since when: a time, or how long ago")
	flags.StringVar(&s.to, "to", "", "until when; by default now")
	jsonFlag(cmd, &s.asJSON, "one JSON object for each day")
	return cmd
}

// takeover reads the flags.
func (s *mailSync) takeover(now time.Time) (r rpc.Takeover, err error) {
	r.Server, r.To = s.server, now
	if r.Server == "" {
		return r, misused(errors.New("--server: missing"))
	}
	if r.From, err = momentOf("--from", s.from, now); err != nil {
		return r, err
	}
	if s.to != "" {
		if r.To, err = momentOf("--to", s.to, now); err != nil {
			return r, err
		}
	}
	if r.To.Before(r.From) {
		return r, misused(fmt.Errorf("--to: %v is before --from", r.To.Format(time.RFC3339)))
	}
	return r, nil
}

// run takes over one step after the other.
func (s *mailSync) run(ctx context.Context, c *rpc.Client, cmd *cobra.Command, r rpc.Takeover) error {
	var total archive.Synced
	for from := r.From; ; from = from.Add(syncStep) {
		step := rpc.Takeover{Server: r.Server, From: from, To: r.To}
		last := !from.Add(syncStep).Before(r.To)
		if !last {
			step.To = from.Add(syncStep)
		}
		raw, err := c.MailSync(ctx, step)
		if err != nil {
			return fmt.Errorf("%d envelopes of before %s are taken over; then: %w", total.Envelopes, localTime(from), err)
		}
		var done archive.Synced
		if err := json.Unmarshal(raw, &done); err != nil {
			return fmt.Errorf("answer of the node: %w", err)
		}
		total.Envelopes += done.Envelopes
		total.Added += done.Added
		total.Refused += done.Refused
		if s.asJSON {
			err = printJSON(cmd.OutOrStdout(), raw)
		} else {
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s to %s: %d envelopes in %d pages, %d new\n",
				localTime(step.From), localTime(step.To), done.Envelopes, done.Pages, done.Added)
		}
		if err != nil || last {
			return errors.Join(err, s.sum(cmd, total))
		}
	}
}

func (s *mailSync) sum(cmd *cobra.Command, total archive.Synced) error {
	if s.asJSON {
		return nil
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%d envelopes, %d new, %d refused\n", total.Envelopes, total.Added, total.Refused)
	return err
}
