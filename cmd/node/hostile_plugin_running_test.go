//go:build linux

package main

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/actors/edge/plugin"
	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/payload"
)

// assault is a plugin that opens as a good one does, and what must be true
// after it has attacked.
type assault struct {
	name     string
	settings string

	// shown reports whether the state of the transport slot tells of the attack.
	shown func(l rpc.Layer, d plugin.Description) bool

	logged string // what the log tells of it
	breaks bool   // the attack ends the plugin's life; otherwise it must not
}

const (
	// signWithin is how soon an attack is noticed: two pings without an answer
	// take 12 s.
	signWithin = 30 * time.Second

	// maxGrowth is how much memory a node may take meanwhile, in bytes: more than
	// it takes for its own work, and less than what flood-envelopes and
	// oversize-frame send.
	maxGrowth = 96 << 20

	// maxRecords is what a node logs of itself in these tests, and four lives of
	// a plugin that says as much as it may at once (200 lines each).
	maxRecords = 1200
)

// reason is shown by the reason of the slot and the last error of the plugin.
func reason(text string) func(rpc.Layer, plugin.Description) bool {
	return func(l rpc.Layer, d plugin.Description) bool {
		return strings.Contains(l.Reason, text) && strings.Contains(d.LastError, text)
	}
}

// missed is shown by either of the two clocks that run for a call.
func missed(call string) func(rpc.Layer, plugin.Description) bool {
	return func(l rpc.Layer, d plugin.Description) bool {
		return reason("deadline.missed: "+call)(l, d) || reason(call+" did not return within")(l, d)
	}
}

// dropped is shown by the number of dropped envelopes.
func dropped(why string, atLeast uint64) func(rpc.Layer, plugin.Description) bool {
	return func(_ rpc.Layer, d plugin.Description) bool { return d.Counts.Dropped[why] >= atLeast }
}

var assaults = []assault{
	// Calls.
	{name: "mute", shown: missed("Publish"), breaks: true},
	{name: "late", shown: missed("Publish"), breaks: true},
	{name: "unwell", shown: reason("does not answer"), breaks: true},
	{name: "deaf", shown: missed("Subscribe"), breaks: true},
	{name: "crash-nth", shown: reason("exit status 3"), breaks: true},
	{name: "panic-receive", shown: reason("panic: nothing was ever received"), breaks: true},
	{name: "pipe-ends", shown: reason("the plugin has had enough"), breaks: true},
	{name: "doubled-results", shown: reason("result.unknown"), breaks: true},
	{name: "unknown-results", shown: reason("result.unknown"), breaks: true},
	{name: "liar", shown: func(_ rpc.Layer, d plugin.Description) bool { return d.Counts.Answers["relayed"] >= 3 }},
	{name: "busy", shown: func(_ rpc.Layer, d plugin.Description) bool { return d.Counts.Retried >= 5 }},
	{name: "huge-errors", shown: func(_ rpc.Layer, d plugin.Description) bool { return d.Counts.Answers["refused"] >= 3 }},

	// What is reported.
	{name: "oversize-data", shown: reason("envelope.data"), breaks: true},
	{name: "oversize-frame", shown: reason("frame.size"), breaks: true},
	{name: "garbage-frame", shown: reason("frame.malformed"), breaks: true},
	{name: "many-parts", shown: reason("frame.malformed"), breaks: true},
	{name: "bad-topic", shown: reason("envelope.topic"), breaks: true},
	{name: "no-data", shown: reason("envelope.data"), breaks: true},
	{name: "overdraw", shown: reason("credit.overdrawn"), breaks: true},
	{name: "absurd-times", shown: dropped("expired", 1)},
	{name: "foreign-topics", shown: func(_ rpc.Layer, d plugin.Description) bool {
		return d.Counts.Dropped["foreign_topic"] > 10_000 && d.Misbehaves
	}},
	{name: "expired", shown: dropped("expired", 10_000)},
	{name: "future", shown: dropped("future", 10_000)},
	{name: "replay", shown: dropped("replayed", 10_000)},
	{name: "echo", shown: dropped("own", 3)},
	{name: "flood-envelopes", shown: func(_ rpc.Layer, d plugin.Description) bool { return d.Counts.Received >= 8000 }},
	{name: "flood-peers", shown: func(_ rpc.Layer, d plugin.Description) bool { return d.Peers > 1000 }},
	{name: "flood-receipts", shown: func(_ rpc.Layer, d plugin.Description) bool { return d.Peers == 2000 }},
	{name: "absurd-credits", shown: reason("frame.flood"), breaks: true},

	// Output.
	{name: "log-flood", shown: open, logged: "lines dropped"},
	{name: "log-line", shown: open, logged: "and and and"},
	{name: "log-forged", shown: open, logged: "forged by the log"},

	// The machine.
	{name: "hog", settings: "memory_mib: 64", shown: reason("memory: used"), breaks: true},
	{name: "forks", settings: "processes: 32, memory_mib: 4096", shown: reason("processes: had"), breaks: true},
	{name: "daemons", shown: open},
	{name: "stubborn", shown: open},
}

func open(_ rpc.Layer, d plugin.Description) bool { return d.Open }

// withstand runs a node under an assault.
func withstand(t *testing.T, program string, a assault) {
	s := besiege(t, program, a.name, a.settings)
	if err := s.api.Join(t.Context(), channel); err != nil {
		t.Fatal(err)
	}
	stranger := payload.ChatID(someKey(t))
	first := s.says(t, stranger, "during "+a.name)
	for range 3 {
		s.says(t, channel, "to all, during "+a.name)
	}
	begin := time.Now()
	eventually(t, "a sign of the attack", func() bool {
		l, d := s.transport(t)
		if time.Since(begin) > signWithin {
			t.Fatalf("no sign of the attack: %+v; %+v", l, d)
		}
		return a.shown(l, d) && s.logged(t, a.logged)
	})
	// What is said now is taken too, and what was said is neither lost nor
	// believed to have arrived.
	s.says(t, channel, "to all, after "+a.name)
	all, err := s.api.History(t.Context(), rpc.Query{Chat: stranger, Limit: 10})
	if err != nil || len(all.Messages) != 1 || all.Messages[0].ID != first.ID {
		t.Errorf("the history has %v, %v, want one message", all.Messages, err)
	} else if m := all.Messages[0]; m.Status == payload.Delivered || m.Status == payload.Failed {
		t.Errorf("the message to a stranger is %v", m.Status)
	}
	l, d := s.transport(t)
	if broken := l.Restarts > 0 || l.State != kernel.Running; broken != a.breaks {
		t.Errorf("the transport is %s after %d restarts: %s; %+v", l.State, l.Restarts, l.Reason, d)
	}
	if text := l.Reason + d.LastError; len(text) > maxRefusal || !printableAll(text) {
		t.Errorf("the reason has %d bytes or cannot be shown: %.500q", len(text), text)
	}
	if grown := s.memory(t, "VmHWM") - s.base; grown > maxGrowth {
		t.Errorf("the node has grown by %d MiB, want at most %d", grown>>20, maxGrowth>>20)
	}
	s.stop(t)
	s.checkLog(t, maxRecords)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fault := range s.faults {
		t.Error(fault)
	}
}

// someKey returns the chat key of somebody who is not there.
func someKey(t *testing.T) string {
	t.Helper()
	key, err := layers.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key.Public().String()
}

// TestHostilePlugin runs nodes with each of the hostile plugins.
func TestHostilePlugin(t *testing.T) {
	t.Parallel()
	program := buildHostile(t)
	t.Run("start", func(t *testing.T) {
		t.Parallel()
		for _, tt := range unstartable {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				refusedAtStart(t, program, tt.name, tt.settings, tt.reason)
			})
		}
	})
	t.Run("replacement", func(t *testing.T) {
		t.Parallel()
		refusedAsReplacement(t, program)
	})
	t.Run("running", func(t *testing.T) {
		t.Parallel()
		for _, a := range assaults {
			t.Run(a.name, func(t *testing.T) {
				t.Parallel()
				withstand(t, program, a)
			})
		}
	})
	t.Run("metrics/stats", func(t *testing.T) {
		t.Parallel()
		countTheCounters(t, program)
	})
	t.Run("machine", func(t *testing.T) {
		t.Parallel()
		assailTheMachine(t, program)
	})
}
