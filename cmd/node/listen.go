package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/payload"
)

// listening is what the flags of listen say.
type listening struct {
	channel, from string
	status        bool
	count         int
	asJSON        bool
	key           layers.PublicKey // of from
}

func newListenCommand(at socketOf) *cobra.Command {
	var l listening
	cmd := &cobra.Command{
		Use:   "listen",
		Short: "Print messages as they arrive",
		Long: `Listen prints one line for each message that the running node receives, until it
is interrupted. Control characters in messages are shown as escapes, so a message
is always one line. What arrived earlier is in "strata history".`,
		Example: `  strata listen
  strata listen --channel test --json | jq -r .text
  strata listen --from 0x04ab… --count 1   # wait for one message`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := l.check(); err != nil {
				return err
			}
			return withNode(at, func(ctx context.Context, c *rpc.Client, cmd *cobra.Command, _ []string) error {
				return l.run(ctx, c, cmd.OutOrStdout(), cmd.ErrOrStderr())
			})(cmd, args)
		},
	}
	cmd.Flags().StringVar(&l.channel, "channel", "", "only messages of this public chat")
	cmd.Flags().StringVar(&l.from, "from", "", "only messages of this public key")
	cmd.Flags().BoolVar(&l.status, "status", false, "print also how own messages move on")
	cmd.Flags().IntVar(&l.count, "count", 0, "end after this many messages; 0 never ends")
	jsonFlag(cmd, &l.asJSON, "one JSON object a line: a message, or with --status a change (which has no text)")
	return cmd
}

func (l *listening) check() (err error) {
	if l.count < 0 {
		return misused(fmt.Errorf("--count: %d is negative", l.count))
	}
	if l.channel != "" {
		if l.channel, err = channelOf(l.channel); err != nil {
			return err
		}
	}
	if l.from != "" {
		l.key, err = keyOf("--from", l.from)
	}
	return err
}

// run prints what comes until the context ends, which is a good end, or the
// subscription does, which is not.
func (l *listening) run(ctx context.Context, c *rpc.Client, w, warn io.Writer) error {
	incoming, err := c.Messages(ctx)
	if err != nil {
		return err
	}
	notices, failed := make(chan rpc.Notice), make(chan error, 2)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go forward(ctx, incoming, notices, failed)
	if l.status {
		changes, err := c.Statuses(ctx)
		if err != nil {
			return err
		}
		go forward(ctx, changes, notices, failed)
	}
	if err := l.warn(ctx, c, warn); err != nil {
		return err
	}
	for left := l.count; ; {
		select {
		case n := <-notices:
			if !l.wants(n) {
				continue
			}
			if err := l.print(w, n); err != nil {
				return err
			}
			if n.Message == nil {
				continue
			}
			if left--; left == 0 {
				return nil
			}
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// forward moves the notices of one subscription into the common channel.
func forward(ctx context.Context, s *rpc.Subscription, to chan<- rpc.Notice, failed chan<- error) {
	for {
		n, err := s.Next(ctx)
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				failed <- err
			}
			return
		}
		select {
		case to <- n:
		case <-ctx.Done():
			return
		}
	}
}

// warn says so if nothing can arrive in the channel.
func (l *listening) warn(ctx context.Context, c *rpc.Client, w io.Writer) error {
	if l.channel == "" {
		return nil
	}
	chats, err := c.Chats(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(chats, func(c payload.Chat) bool { return c.Public && string(c.ID) == l.channel }) {
		fmt.Fprintf(w, "strata: %s is not joined, so nothing will arrive; see strata join\n", printable(l.channel))
	}
	return nil
}

func (l *listening) wants(n rpc.Notice) bool {
	switch {
	case n.Message != nil:
		return (l.channel == "" || n.Message.Public && string(n.Message.Chat) == l.channel) &&
			(l.key.IsZero() || n.Message.From == l.key)
	case n.Status != nil:
		return l.channel == "" || string(n.Status.Chat) == l.channel
	}
	return false
}

func (l *listening) print(w io.Writer, n rpc.Notice) error {
	switch {
	case l.asJSON && n.Message != nil:
		return printJSON(w, n.Message)
	case l.asJSON:
		return printJSON(w, n.Status)
	case n.Message != nil:
		return printMessage(w, *n.Message)
	}
	reason := ""
	if n.Status.Reason != "" {
		reason = ": " + printable(n.Status.Reason)
	}
	_, err := fmt.Fprintf(w, "%s %s%s\n", n.Status.ID, n.Status.Status, reason)
	return err
}

// printMessage prints one message on one line: when it was stored, where, by
// whom, how far it has come if it is an own one, the text.
func printMessage(w io.Writer, m payload.Message) error {
	chat, from := "private", short(m.From.String())
	if m.Public {
		chat = "#" + printable(string(m.Chat))
	}
	if m.Own {
		from = "me"
		if !m.Public {
			from = "me to " + short(printable(string(m.Chat)))
		}
		from += " (" + m.Status.String() + ")"
	}
	_, err := fmt.Fprintf(w, "%s %s %s: %s\n", localTime(m.Stored), chat, from, printable(m.Text))
	return err
}
