package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/layers/transport"
)

func newMailCommand(f *fileFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mail",
		Short: "Ask archives for envelopes of the past; look after one's own",
		Long: `A mail server keeps envelopes for those who are away. "Query" asks one, as a client;
the others are about the archive of a node that is a mail server itself.`,
		RunE: group,
	}
	cmd.AddCommand(newMailQueryCommand(f.ipcPath), newMailStatsCommand(f), newMailPruneCommand(f), newMailVerifyCommand(f), newMailSyncCommand(f.ipcPath))
	return cmd
}

// mailQuery is what the flags of mail query say.
type mailQuery struct {
	server   string
	from, to string
	topics   []string
	channels []string
	most     int
	asJSON   bool
}

// defaultFrom is how far back a query reaches if nothing else is asked for.
const defaultFrom = "24h"

func newMailQueryCommand(at socketOf) *cobra.Command {
	var q mailQuery
	cmd := &cobra.Command{
		Use:   "query",
		Short: "Fetch envelopes of the past from a mail server",
		Long: `Query has the running node ask a mail server, page by page, and prints a line for each
envelope. The layers of the node get the envelopes too: what they have keys for
appears in "strata history". Times are RFC 3339, or how long ago, such as 36h.

A client asks for what it missed by itself; "strata status" tells how that goes.`,
		Example: `  strata mail query --from 72h --channel test
  strata mail query --server enode://…@192.0.2.7:30303 --topic 0xf8946aac --json`,
		Args: noArgs,
		RunE: withNode(at, func(ctx context.Context, c *rpc.Client, cmd *cobra.Command, _ []string) error {
			past, err := q.past(time.Now())
			if err != nil {
				return err
			}
			return q.run(ctx, c, cmd, past)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&q.server, "server", "", "whom to ask: an enode URL; by default the best that is linked")
	flags.StringVar(&q.from, "from", defaultFrom, "since when: a time, or how long ago")
	flags.StringVar(&q.to, "to", "", "until when; by default now")
	flags.StringArrayVar(&q.topics, "topic", nil, "only this topic, 4 bytes in hex; may be repeated")
	flags.StringArrayVar(&q.channels, "channel", nil, "only the topic of this public chat; may be repeated")
	flags.IntVar(&q.most, "limit", 0, "end after this many envelopes; 0 takes all")
	jsonFlag(cmd, &q.asJSON, "one JSON object for each envelope")
	return cmd
}

// past reads the flags.
func (q *mailQuery) past(now time.Time) (p rpc.Past, err error) {
	p.Server, p.Topics = q.server, q.topics
	if q.most < 0 {
		return p, misused(fmt.Errorf("--limit: %d is negative", q.most))
	}
	if p.From, err = momentOf("--from", q.from, now); err != nil {
		return p, err
	}
	if q.to != "" {
		if p.To, err = momentOf("--to", q.to, now); err != nil {
			return p, err
		}
	}
	for _, name := range q.channels {
		if name, err = channelOf(name); err != nil {
			return p, err
		}
		p.Topics = append(p.Topics, "0x"+transport.TopicOf(name).String())
	}
	return p, nil
}

// momentOf reads a time, or how long ago it was.
func momentOf(flag, text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil {
		if d < 0 {
			return time.Time{}, misused(fmt.Errorf("%s: %s is negative", flag, text))
		}
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, misused(fmt.Errorf("%s: %q is neither a time such as %s nor a duration such as 36h", flag, text, time.RFC3339))
	}
	return t, nil
}

// run follows the cursor of the server to the end.
func (q *mailQuery) run(ctx context.Context, c *rpc.Client, cmd *cobra.Command, p rpc.Past) error {
	t := newTable(cmd.OutOrStdout(), "SENT", "TOPIC", "SIZE", "TTL", "HASH")
	total, pages := 0, 0
	for {
		if q.most > 0 {
			p.Limit = min(q.most-total, transport.MaxPage)
		}
		page, err := c.Fetch(ctx, p)
		if err != nil {
			return err
		}
		pages++
		total += page.Count
		for _, e := range page.Envelopes {
			if !q.asJSON {
				t.row(localTime(e.Sent), e.Topic, strconv.Itoa(e.Size), e.TTL.String(), e.Hash)
			} else if err := printJSON(cmd.OutOrStdout(), e); err != nil {
				return err
			}
		}
		if page.End != transport.QueryDone.String() {
			return fmt.Errorf("%s: %s after %d envelopes: %s", printable(page.Server), page.End, total, printable(page.Reason))
		}
		p.Cursor, p.Server = page.Cursor, page.Server
		if page.Cursor == "" || q.most > 0 && total >= q.most {
			break
		}
	}
	if q.asJSON {
		return nil
	}
	if err := t.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%d envelopes in %d pages from %s\n", total, pages, printable(p.Server))
	return err
}

func newExplainCommand(at socketOf) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain HASH",
		Short: "Tell what this node did with an envelope, and why",
		Long: `Explain prints what the transport remembers of an envelope: from whom it came, its proof
of work, topic and expiry, whether it was refused and for what reason, to whom it
was forwarded, who confirmed it, whether it was handed to the layers above, and
whether it is in the archive of this node. What was refused or has expired is
remembered for a while only. The steps in the layers above are in "strata trace".`,
		Example: "  strata explain 0x3fb1…",
		Args:    exactly(1),
		RunE: withNode(at, func(ctx context.Context, c *rpc.Client, cmd *cobra.Command, args []string) error {
			facts, err := c.Explain(ctx, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				if err := printJSON(cmd.OutOrStdout(), facts); err != nil {
					return err
				}
			}
			if len(facts) == 0 {
				return errors.New("nothing is remembered of it")
			}
			if asJSON {
				return nil
			}
			t := newTable(cmd.OutOrStdout(), "TIME", "WHAT", "PEER", "DETAIL")
			for _, f := range facts {
				t.row(f.At.Local().Format("2006-01-02 15:04:05.000"), string(f.Deed), short(f.Peer), f.Detail)
			}
			return t.flush()
		}),
	}
	jsonFlag(cmd, &asJSON, "one JSON array")
	return cmd
}
