package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/layers/payload"
)

// maxStdin bounds the text read from standard input, in bytes. The payload layer
// has a lower limit of its own, and says so.
const maxStdin = 1 << 20

// sending is what the flags of send say.
type sending struct {
	to, channel string
	wait        string
	timeout     time.Duration
	asJSON      bool
}

func newSendCommand(at socketOf) *cobra.Command {
	var s sending
	cmd := &cobra.Command{
		Use:   "send (--to KEY | --channel NAME) [TEXT...]",
		Short: "Send a message to a person or a public chat",
		Long: `Send hands a message to the running node. Without TEXT, or if it is -, the text
is read from standard input. It prints the id of the message and how far it has
come: pending (durable in this node), sent, relayed (a peer has taken it) and,
for private messages, delivered (the receiver has acknowledged it).

By default it returns when the message is pending; the node goes on sending. With
--wait it returns when that much is reached, and fails when the message has
failed or the time is up. What is not reached in time may still be reached later:
see "strata trace".`,
		Example: `  strata send --to 0x04ab… hello
  strata send --channel test --wait relayed "hello, everybody"
  date | strata send --to 0x04ab… --wait delivered --timeout 5m --json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			chat, least, err := s.check()
			if err != nil {
				return err
			}
			text, err := textOf(args, cmd.InOrStdin())
			if err != nil {
				return err
			}
			return withNode(at, func(ctx context.Context, c *rpc.Client, cmd *cobra.Command, _ []string) error {
				return s.run(ctx, c, cmd.OutOrStdout(), chat, text, least)
			})(cmd, args)
		},
	}
	cmd.Flags().StringVar(&s.to, "to", "", "public key of the receiver")
	cmd.Flags().StringVar(&s.channel, "channel", "", "name of a public chat")
	cmd.Flags().StringVar(&s.wait, "wait", "", "wait until the message is sent, relayed or delivered")
	cmd.Flags().DurationVar(&s.timeout, "timeout", time.Minute, "how long to wait at most")
	jsonFlag(cmd, &s.asJSON, "one JSON object: id, chat, status, reason")
	return cmd
}

// check returns where the message goes and the status to wait for; Pending is
// no wait.
func (s sending) check() (payload.ChatID, payload.Status, error) {
	if (s.to == "") == (s.channel == "") {
		return "", 0, misused(errors.New("say who it is for: either --to or --channel"))
	}
	least := payload.Pending
	switch s.wait {
	case "":
	case "sent", "relayed", "delivered":
		if err := least.UnmarshalText([]byte(s.wait)); err != nil {
			return "", 0, err
		}
	default:
		return "", 0, misused(fmt.Errorf("--wait: %q is none of sent, relayed and delivered", s.wait))
	}
	if s.timeout <= 0 {
		return "", 0, misused(fmt.Errorf("--timeout: %v is no time to wait", s.timeout))
	}
	if s.channel != "" {
		if least == payload.Delivered {
			return "", 0, misused(errors.New("--wait: nobody acknowledges public messages; relayed is the most that can be reached"))
		}
		name, err := channelOf(s.channel)
		return payload.ChatID(name), least, err
	}
	k, err := keyOf("--to", s.to)
	return payload.ChatID(k.String()), least, err
}

// textOf returns the text of the arguments, or of standard input if there are
// none.
func textOf(args []string, stdin io.Reader) (string, error) {
	text := strings.Join(args, " ")
	if len(args) == 0 || len(args) == 1 && args[0] == "-" {
		b, err := io.ReadAll(io.LimitReader(stdin, maxStdin+1))
		if err != nil {
			return "", fmt.Errorf("standard input: %w", err)
		}
		if len(b) > maxStdin {
			return "", misused(fmt.Errorf("standard input: more than %d bytes", maxStdin))
		}
		text = strings.TrimRight(string(b), "\r\n")
	}
	if strings.TrimSpace(text) == "" {
		return "", misused(errors.New("the text is empty"))
	}
	return text, nil
}

// run sends the message and waits until it has come far enough. The changes of
// status are subscribed to first, so that none is missed.
func (s sending) run(ctx context.Context, c *rpc.Client, w io.Writer, chat payload.ChatID, text string, least payload.Status) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var changes *rpc.Subscription
	if least > payload.Pending {
		var err error
		if changes, err = c.Statuses(ctx); err != nil {
			return s.late(ctx, err)
		}
	}
	m, err := c.Say(ctx, chat, text)
	if err != nil {
		return s.late(ctx, err)
	}
	reached := rpc.StatusChange{ID: m.ID, Chat: m.Chat, Status: m.Status, Reason: m.Reason}
	for reached.Status < least && err == nil { // Failed is beyond all
		var n rpc.Notice
		if n, err = changes.Next(ctx); err == nil && n.Status != nil && n.Status.ID == m.ID {
			reached = *n.Status
		}
	}
	if err := s.print(w, reached); err != nil {
		return err
	}
	if reached.Status == payload.Failed {
		return fmt.Errorf("the message has failed: %s", printable(reached.Reason))
	}
	if err != nil {
		return fmt.Errorf("the message is %s, not yet %s: %w", reached.Status, least, s.late(ctx, err))
	}
	return nil
}

// late says how long was waited when the time is up.
func (s sending) late(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("the time of %v is up", s.timeout)
	}
	return err
}

func (s sending) print(w io.Writer, c rpc.StatusChange) error {
	if s.asJSON {
		return printJSON(w, c)
	}
	_, err := fmt.Fprintln(w, c.ID, c.Status)
	return err
}
