//go:build unix

package main

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers/transport"
)

// The load of the table: one chat that all nodes have joined, and in which
// random ones say something.
const (
	chatEvery = 100 * time.Millisecond // from one message to the next
	chatCount = 60                     // messages in a round
	chatIdle  = 5 * time.Second        // of nothing, for the processor time of an idle network
	chatTail  = 2 * time.Second        // after the last message, for what gossip still has to say
)

var chatTopic = transport.TopicOf("bench")

// BenchmarkPluginTable compares libp2p, compiled in, with Whisper over devp2p:
// networks of 2, 8 and 24 nodes in this process, over loopback, with the same
// links. The load is that of a chat with the layers above left out: opaque
// envelopes of 1 KiB, so that what is compared is the transports. The table is
// printed for docs/benchmarks.md if STRATA_TABLE is 1.
func BenchmarkPluginTable(b *testing.B) {
	text := &strings.Builder{}
	fmt.Fprintln(text, "| nodes, links of each | transport | delivered | bytes a node a message, in + out | copies a delivery | latency p50 / p99 | CPU a message | CPU idle |")
	fmt.Fprintln(text, "|---|---|---|---|---|---|---|---|")
	for _, shape := range []struct{ nodes, reach, rounds int }{{2, 1, 2}, {8, 3, 2}, {24, 3, 2}, {24, 23, 1}} {
		rows := map[string]*chatRow{"Whisper": {}, "libp2p": {}}
		for range shape.rounds { // in turns
			for _, kind := range []string{"Whisper", "libp2p"} {
				b.Run(fmt.Sprintf("%s/%d/%d", kind, shape.nodes, shape.reach), func(b *testing.B) {
					runChat(b, kind, shape.nodes, shape.reach, rows[kind])
					reportLoad(b)
				})
			}
		}
		for _, kind := range []string{"Whisper", "libp2p"} {
			rows[kind].print(text, kind, shape.nodes, len(linksOf(0, shape.nodes, shape.reach)))
		}
	}
	if os.Getenv("STRATA_TABLE") == "1" {
		fmt.Print("\n", text)
	} else {
		b.Log("\n" + text.String())
	}
}

// linksOf returns the nodes that one of n has links to: on a ring, those up to
// reach places away.
func linksOf(one, n, reach int) (all []int) {
	for other := range n {
		if d := (other - one + n) % n; d != 0 && min(d, n-d) <= reach {
			all = append(all, other)
		}
	}
	return all
}

// chatRow is a line of the table, over all rounds.
type chatRow struct {
	messages, expected int
	bytes, copies      uint64
	took               []time.Duration // one for each delivery
	busy               time.Duration   // of the processors, under load
	loaded             time.Duration   // how long there was load
	idle               float64         // processors, without load; sum over the rounds
	rounds             int
}

func (r *chatRow) print(w *strings.Builder, kind string, nodes, links int) {
	if r.rounds == 0 {
		return // not asked for with -bench
	}
	perMessage := func(v float64) float64 { return v / float64(r.messages) }
	idle := r.idle / float64(r.rounds)
	fmt.Fprintf(w, "| %d, %d | %s | %d of %d | %.0f | %.2f | %.1f / %.1f ms | %.2f ms | %.1f %% of a core |\n",
		nodes, links, kind, len(r.took), r.expected,
		perMessage(float64(r.bytes)/float64(nodes)), float64(r.copies)/float64(len(r.took)),
		quantile(r.took, .5).Seconds()*1e3, quantile(r.took, .99).Seconds()*1e3,
		perMessage((r.busy.Seconds()-idle*r.loaded.Seconds())*1e3), idle*100)
}

// runChat is one round with one network.
func runChat(b *testing.B, kind string, nodes, reach int, row *chatRow) {
	b.Helper()
	build := newWhisperMember
	if kind == "libp2p" {
		build = newLibp2pMember
	}
	ledger := &chatLedger{}
	var all []*member
	for i := range nodes {
		var earlier []*member
		for _, j := range linksOf(i, nodes, reach) {
			if j < i {
				earlier = append(earlier, all[j])
			}
		}
		m := build(b, earlier)
		m.hear(b, ledger)
		all = append(all, m)
	}
	for i, m := range all {
		eventually(b, "links", func() bool { return int(m.peers.Load()) >= len(linksOf(i, nodes, reach)) })
	}
	<-time.After(chatTail) // the meshes form
	busy := processorTime(b)
	<-time.After(chatIdle)
	row.idle += (processorTime(b) - busy).Seconds() / chatIdle.Seconds()
	row.rounds++

	bytes, copies := totals(all)
	busy = processorTime(b)
	begin := time.Now()
	pace := time.NewTicker(chatEvery)
	defer pace.Stop()
	for i := range chatCount {
		<-pace.C
		ledger.say(all[mathrand.IntN(nodes)], uint64(i))
	}
	<-time.After(chatTail)
	row.busy += processorTime(b) - busy
	row.loaded += time.Since(begin)
	afterBytes, afterCopies := totals(all)
	row.bytes += afterBytes - bytes
	row.copies += afterCopies - copies
	row.messages += chatCount
	row.expected += chatCount * (nodes - 1)
	ledger.mu.Lock()
	defer ledger.mu.Unlock()
	row.took = append(row.took, ledger.took...)
}

func totals(all []*member) (bytes, copies uint64) {
	for _, m := range all {
		b, c := m.counts()
		bytes += b
		copies += c
	}
	return bytes, copies
}

// processorTime is what this process has used so far.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// chatLedger knows when each message was said, and how long it took to each
// node.
type chatLedger struct {
	mu   sync.Mutex
	said [chatCount]time.Time
	took []time.Duration
}

func (l *chatLedger) say(m *member, number uint64) {
	data := make([]byte, benchSize)
	_, _ = rand.Read(data) // as incompressible as what is encrypted
	binary.BigEndian.PutUint64(data, number)
	l.mu.Lock()
	l.said[number] = time.Now()
	l.mu.Unlock()
	m.in.Send(transport.Publish{Ref: newRef(), Topic: chatTopic, Data: data})
}

func (l *chatLedger) arrived(now time.Time, all []transport.Envelope) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range all {
		l.took = append(l.took, now.Sub(l.said[binary.BigEndian.Uint64(e.Data)]))
	}
}

// member is one node of a network.
type member struct {
	stack   *actors.Stack
	kernel  *kernel.Kernel
	in      actors.Inlet[transport.Command]
	peers   atomic.Int64
	address func() string
	counts  func() (bytes, copies uint64)
	also    func(*actors.Top) (started func()) // what a transport of this kind needs besides, or nil
}

func newMember(b *testing.B) *member {
	k := kernel.New(benchLog)
	return &member{kernel: k, stack: actors.NewStack(k, nopStore(b), nil, benchLog)}
}

// hear starts the member, which has joined the chat.
func (m *member) hear(b *testing.B, ledger *chatLedger) {
	b.Helper()
	top := actors.NewTop(m.stack, "tap")
	m.in = actors.Hear(top, transportSlot, func(e transport.Event) {
		switch e := e.(type) {
		case transport.Peers:
			m.peers.Store(int64(e.Count))
		case transport.Received:
			ledger.arrived(time.Now(), e.Envelopes)
		}
	})
	started := func() {}
	if m.also != nil {
		started = m.also(top)
	}
	top.Run(tap{make(chan struct{})})
	if err := m.stack.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(m.kernel.Stop)
	started()
	m.in.Send(transport.Subscribe{Topics: []transport.Topic{chatTopic}})
}
