package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/stratanode/strata/layers/secure"
)

// Bounds of the demo.
const (
	demoLimit       = 55 * time.Second // for the conversation; the rest of the minute is for stopping
	demoMessages    = 40
	maxDemoMessages = 2000
	minDemoMessages = 12 // each kind of message, and some while one node is dead
	demoChannel     = "strata-demo"
)

func newDemoCommand() *cobra.Command {
	d := demo{messages: demoMessages, transport: "whisper"}
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch a relay and two clients exchange messages on this machine",
		Long: `Demo starts a relay and two clients, alice and bob, as processes of their own on
the loopback interface, each with a configuration file and a data folder in a
temporary place. They write to each other and in a public chat. Half way bob is
killed (SIGKILL) and started again, and what was sent to it meanwhile arrives.

With --transport the envelopes travel by a transport plugin instead of Whisper,
in a process of its own beside each node. With --swap nobody is killed; instead
Whisper is replaced by libp2p and back on all three nodes while they talk. With
--offline the relay is a mail server; both clients go away, what was sent expires
everywhere, and bob fetches it from the archive while alice is still away. If
STRATA_POSTGRES names a database, that is played again with the archive there.

It ends by itself within a minute, with --offline within two, and successfully only if no message was lost
or doubled and no process was left running.`,
		Example: `  strata demo
  strata demo --transport libp2p
  strata demo --swap
  strata demo --offline
  strata demo --messages 400 --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if d.messages < minDemoMessages || d.messages > maxDemoMessages {
				return misused(fmt.Errorf("--messages: %d is not from %d to %d", d.messages, minDemoMessages, maxDemoMessages))
			}
			if err := d.checkFlags(cmd.Flags().Changed("messages")); err != nil {
				return misused(err)
			}
			for _, d.database = range d.databases() {
				if err := d.once(cmd, keep); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&d.messages, "messages", d.messages, "how many messages are sent")
	cmd.Flags().StringVar(&d.transport, "transport", d.transport, "whisper, or a transport plugin: "+strings.Join(demoTransports, ", "))
	cmd.Flags().BoolVar(&d.swap, "swap", false, "replace Whisper by libp2p and back while they talk")
	cmd.Flags().BoolVar(&d.offline, "offline", false, "have a mail server keep what is sent while the receiver is away")
	cmd.Flags().BoolVar(&d.json, "json", false, "print one JSON object a line, the last one the summary")
	cmd.Flags().BoolVar(&keep, "keep", false, "keep the configuration files, data folders and logs")
	return cmd
}

// once plays the demo in a folder of its own.
func (d *demo) once(cmd *cobra.Command, keep bool) error {
	dir, err := os.MkdirTemp("", "strata-demo-")
	if err != nil {
		return err
	}
	if keep {
		fmt.Fprintln(cmd.ErrOrStderr(), "data and logs stay in", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	d.dir = dir
	d.show = newDemoDisplay(cmd.OutOrStdout(), d.json, isTerminal(cmd.OutOrStdout()))
	return d.run(cmd.Context())
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// demo is one run of the command.
type demo struct {
	messages  int
	transport string
	swap      bool
	offline   bool
	database  string // of the mail server; empty: a file
	channel   string
	json      bool
	dir       string
	show      *demoDisplay

	relay, alice, bob *demoNode
	ledger            *demoLedger
	swapped           time.Time // when the first replacement began
}

// run plays the demo and reports it. Whatever happens, all processes are gone
// when it returns.
func (d *demo) run(ctx context.Context) error {
	begin := time.Now()
	limit := demoLimit
	if d.offline {
		limit = demoOfflineLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	d.ledger = newDemoLedger()
	d.newChannel()
	playErr := d.play(ctx)
	var life []demoStep
	if playErr == nil && !d.offline { // there most of it would be the nodes' starts
		life = d.life(ctx)
	}
	left := d.stop()
	s := d.ledger.summary(time.Since(begin))
	s.LeftRunning = left
	if d.swap {
		s.Gap = float64(d.ledger.longestGap(d.swapped).Milliseconds())
	}
	d.show.report(d.ledger.rows(), life, s)
	switch {
	case playErr != nil:
		return fmt.Errorf("demo: %w%s", playErr, d.lastWords())
	case s.Lost > 0 || s.Duplicates > 0 || s.Unconfirmed > 0 || left > 0:
		for _, e := range d.ledger.open() {
			fmt.Fprintf(os.Stderr, "%s: %s, arrived %d times, %s %s\n", e.id, e.text, len(e.copies), e.status, e.reason)
		}
		return fmt.Errorf("demo: %d lost, %d doubled, %d unconfirmed, %d processes left running",
			s.Lost, s.Duplicates, s.Unconfirmed, left)
	case s.Gap > float64(demoMaxGap.Milliseconds()):
		return fmt.Errorf("demo: nothing arrived for %.0f ms during a replacement, which is more than %v", s.Gap, demoMaxGap)
	}
	return nil
}

// play starts the nodes and has them talk.
func (d *demo) play(ctx context.Context) error {
	if err := d.start(ctx); err != nil {
		return err
	}
	switch {
	case d.swap:
		return d.playSwap(ctx)
	case d.offline:
		return d.playOffline(ctx)
	}
	half := d.messages / 2
	away := max(d.messages/8, 4) // sent while bob is dead
	plan := d.plan()

	d.show.phase("talking")
	if err := d.talk(ctx, plan[:half], true); err != nil {
		return err
	}
	d.show.phase("killing bob (SIGKILL)")
	d.bob.kill()
	if err := d.talk(ctx, d.whileDead(away), false); err != nil {
		return err
	}
	d.show.phase(fmt.Sprintf("starting bob again; %d messages wait for it", away))
	if err := d.bob.start(ctx); err != nil {
		return err
	}
	if err := d.listen(ctx, d.bob); err != nil {
		return err
	}
	d.show.phase("talking on")
	if err := d.talk(ctx, plan[half:d.messages-away], true); err != nil {
		return err
	}
	d.show.phase("waiting for what is under way")
	return d.finish(ctx)
}

// start brings up the three nodes and waits until both clients have the relay.
func (d *demo) start(ctx context.Context) error {
	d.show.phase("starting a relay and two clients")
	d.relay = newDemoNode(d.dir, "relay")
	d.alice = newDemoNode(d.dir, "alice")
	d.bob = newDemoNode(d.dir, "bob")
	if err := d.choosePorts(); err != nil {
		return err
	}
	if err := d.relay.configure(demoRelay, d.relayTransport()); err != nil {
		return err
	}
	if err := d.relay.start(ctx); err != nil {
		return err
	}
	for _, n := range []*demoNode{d.alice, d.bob} {
		transport, err := d.clientTransport(ctx, n)
		if err != nil {
			return err
		}
		if err := n.configure(demoClient, transport); err != nil {
			return err
		}
		if err := n.start(ctx); err != nil {
			return err
		}
		if err := n.client.Join(ctx, secure.Channel(d.channel)); err != nil {
			return err
		}
		if err := d.listen(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// listen takes what a client receives into the ledger, what it had before the
// subscription included.
func (d *demo) listen(ctx context.Context, n *demoNode) error {
	sub, err := n.client.Messages(ctx)
	if err != nil {
		return err
	}
	statuses, err := n.client.Statuses(ctx)
	if err != nil {
		return err
	}
	go func() {
		for {
			notice, err := sub.Next(ctx)
			if err != nil || notice.Message == nil {
				return
			}
			d.ledger.arrived(n.name, *notice.Message)
			d.progress()
		}
	}()
	go func() {
		for {
			notice, err := statuses.Next(ctx)
			if err != nil || notice.Status == nil {
				return
			}
			d.ledger.moved(notice.Status.ID, notice.Status.Status, notice.Status.Reason)
		}
	}()
	return d.readHistory(ctx, n)
}

// stop ends the children and returns how many had to be killed.
func (d *demo) stop() (left int) {
	for _, n := range []*demoNode{d.bob, d.alice, d.relay} {
		if n != nil && !n.stop() {
			left++
		}
	}
	return left
}

func (d *demo) progress() { d.show.progress(d.ledger.counts()) }

// lastWords quotes the end of the nodes' logs, for a demo that failed.
func (d *demo) lastWords() string {
	text := ""
	for _, n := range []*demoNode{d.relay, d.alice, d.bob} {
		if n == nil {
			continue
		}
		log, err := os.ReadFile(filepath.Join(d.dir, n.name+".log"))
		if err == nil && len(log) > 0 {
			text += fmt.Sprintf("\n--- end of the log of %s\n%s", n.name, log[max(0, len(log)-2000):])
		}
	}
	return text
}
