package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/stratanode/strata/layers/payload"
)

// databaseEnv names a PostgreSQL database that the demo uses too, as a URL. It is
// in the environment because it may hold a password.
const databaseEnv = "STRATA_POSTGRES"

// Of the demo with a mail server.
const (
	demoOfflineTTL   = "10s" // so that one need not wait long for envelopes to expire
	demoOfflineLimit = 100 * time.Second
)

// Kinds of message that only the mail server can bring.
const (
	kindPrivateMail = "1:1, both away"
	kindPublicMail  = "public, both away"
)

// databases lists where the archive of the demo is to be: in a file and, if the
// environment names a database, there too.
func (d *demo) databases() []string {
	all := []string{""}
	if url := os.Getenv(databaseEnv); d.offline && url != "" {
		all = append(all, url)
	}
	return all
}

// mailServer returns the layers of a relay that is a mail server too.
func (d *demo) mailServer() string {
	database := ""
	if d.database != "" {
		database = fmt.Sprintf(", settings: {database: %q}", d.database)
	}
	return fmt.Sprintf(`  overlay: {use: devp2p, settings: {listen: "127.0.0.1:0"}}
  transport: {use: whisper, settings: {interest: everything}}
  archive: {use: %s%s}
`, archiveUse(d.database), database)
}

// mailClient returns the layers that carry for a client of the mail server.
func (d *demo) mailClient() string {
	return fmt.Sprintf(`  overlay: {use: devp2p, settings: {inbound: false}}
  transport: {use: whisper, settings: {interest: subscribed, ttl: %s, mail_servers: [%q]}}
`, demoOfflineTTL, d.relay.self.Enode)
}

// playOffline has the clients talk; bob goes away, alice goes on writing and goes
// away too, what she wrote expires, and bob comes back while she is away: what
// he then has can only be from the mail server.
func (d *demo) playOffline(ctx context.Context) error {
	half := d.messages / 2
	d.show.phase("talking")
	if err := d.talk(ctx, d.plan()[:half], true); err != nil {
		return err
	}
	d.show.phase("killing bob (SIGKILL)")
	d.bob.kill()
	away := d.whileAway(d.messages - half)
	d.show.phase(fmt.Sprintf("alice writes %d messages to nobody", len(away)))
	if err := d.talk(ctx, away, false); err != nil {
		return err
	}
	if err := d.relayed(ctx); err != nil {
		return err
	}
	d.show.phase("killing alice too, and waiting until her envelopes have expired")
	d.alice.kill()
	if err := d.expired(ctx); err != nil {
		return err
	}
	d.show.phase("starting bob again")
	if err := d.again(ctx, d.bob); err != nil {
		return err
	}
	if err := d.fetched(ctx); err != nil {
		return err
	}
	d.show.phase("bob has everything from the mail server; starting alice again")
	if err := d.again(ctx, d.alice); err != nil {
		return err
	}
	return d.finish(ctx)
}

// whileAway lists what alice says while bob is away.
func (d *demo) whileAway(n int) []demoLine {
	var lines []demoLine
	for i := range n {
		l := demoLine{kind: kindPrivateMail, from: "alice", to: "bob"}
		if i%2 == 1 {
			l.kind, l.public = kindPublicMail, true
		}
		lines = append(lines, l)
	}
	return lines
}

func (d *demo) again(ctx context.Context, n *demoNode) error {
	if err := n.start(ctx); err != nil {
		return err
	}
	return d.listen(ctx, n)
}

// relayed waits until the mail server has confirmed what alice wrote: then it is
// in the archive. Bob, who is dead, cannot say what became of his own.
func (d *demo) relayed(ctx context.Context) error {
	return d.until(ctx, "the mail server to confirm all", func() (bool, error) {
		for _, e := range d.ledger.open() {
			if e.from == "alice" && d.ledger.statusOf(e) < payload.Relayed {
				return false, nil
			}
		}
		return true, nil
	})
}

// expired waits until the relay holds no envelope any more.
func (d *demo) expired(ctx context.Context) error {
	return d.until(ctx, "the envelopes to expire", func() (bool, error) {
		s, err := d.relay.client.Transport(ctx)
		return err == nil && s.Pooled == 0, err
	})
}

// fetched waits until bob has all that alice wrote.
func (d *demo) fetched(ctx context.Context) error {
	return d.until(ctx, "bob to have everything", func() (bool, error) {
		sent, delivered := d.ledger.counts()
		return sent == delivered, nil
	})
}

// until waits for a condition.
func (d *demo) until(ctx context.Context, what string, holds func() (bool, error)) error {
	tick := time.NewTicker(settleTick)
	defer tick.Stop()
	for {
		switch ok, err := holds(); {
		case err != nil:
			return err
		case ok:
			return nil
		}
		select {
		case <-tick.C:
			d.progress()
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		}
	}
}

// newChannel gives the public chat of a run a name of its own: a database may
// still have what was said in an earlier one.
func (d *demo) newChannel() {
	d.channel = demoChannel
	if d.offline {
		d.channel += "-" + strings.ToLower(rand.Text()[:8])
	}
}
