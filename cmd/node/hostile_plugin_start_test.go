//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers/payload"
)

// unstartable are plugins with which no node starts, and of which none takes
// over a slot. Each has settings and what the reason must say.
var unstartable = []struct{ name, settings, reason string }{
	{"chatty", "", `printed "Welcome to the most friendly`},
	{"endless", "", "before the handshake line"},
	{"wrong-line", "", `begins with "9"`},
	{"wrong-version", "", `version "77"`},
	{"quitter", "", "this program is no plugin at all"},
	{"polite", "sha256: " + strings.Repeat("ab", 32), "checksum"},
	{"silent", "start_timeout: 1s", "1s"},
	{"uncertified", "", "no certificate"},
	{"elsewhere", "", "not in PLUGIN_UNIX_SOCKET_DIR"},
	{"tcp", "", `"tcp", not on a unix socket`},
	{"deaf-socket", "start_timeout: 1s", "1s"},
	{"greedy-start", "memory_mib: 64", "memory"},
	{"open-never", "start_timeout: 5s", "Open"}, // long enough to get there on a slow machine
	{"open-error", "", "nothing fits"},
	{"open-panic", "", "no idea how to open"},
	{"bad-info", "", "info.limit"},
	{"bad-name", "", "info.limit"},
}

// refusedAtStart starts a node with a plugin that cannot be used.
func refusedAtStart(t *testing.T, program, name, settings, reason string) {
	s := invest(t, program, name, settings)
	select {
	case <-s.ended:
	case <-time.After(patience):
		t.Fatal("the node does not end")
	}
	said := s.said(t)
	checkRefusal(t, said[strings.LastIndex(strings.TrimSpace(said), "\n")+1:], reason)
	if s.cmd.ProcessState.ExitCode() != exitFailed {
		t.Errorf("the node ends with %v, want exit status %d", s.cmd.ProcessState, exitFailed)
	}
	s.noneLeft(t, time.Now())
}

// maxRefusal bounds what is said of why a plugin was refused, in bytes.
const maxRefusal = 8 << 10

func checkRefusal(t *testing.T, text, reason string) {
	t.Helper()
	if !strings.Contains(text, reason) || !strings.Contains(text, "transport") {
		t.Errorf("the reason is %q, want one that names the slot and says %s", text, reason)
	}
	if len(text) > maxRefusal || !printableAll(strings.TrimSpace(text)) {
		t.Errorf("the reason has %d bytes, at most %d and printable: %q", len(text), maxRefusal, text[:min(len(text), 500)])
	}
}

// refusedAsReplacement offers all of them to a running node.
func refusedAsReplacement(t *testing.T, program string) {
	node := start(t, strings.Replace(plainText, "ADDRESS", "127.0.0.1:0", 1), bootOptions{}, "crashed")
	stranger := payload.ChatID(someKey(t))
	before, _ := transportOf(t, node.api)
	for _, tt := range unstartable {
		t.Run(tt.name, func(t *testing.T) {
			token := "replace-" + filepath.Base(node.config.DataDir)
			text := fmt.Sprintf("layers:\n  transport: {use: plugin, settings: {command: [%q, %q, %q], %s}}\n", program, tt.name, token, tt.settings)
			err := node.api.ReplaceLayer(t.Context(), string(transportSlot), filepath.Join(node.config.DataDir, "new.yaml"), []byte(text))
			if err == nil {
				t.Fatal("it was let in")
			}
			checkRefusal(t, err.Error(), tt.reason)
			l, d := transportOf(t, node.api)
			if l.State != kernel.Running || l.Restarts != 0 || l.Use != before.Use || d.Lives != 1 || !d.Open || !l.Since.Equal(before.Since) {
				t.Errorf("the transport is %+v now, and was %+v", l, before)
			}
			if m, err := node.api.Say(t.Context(), stranger, "after "+tt.name); err != nil || m.Status != payload.Pending {
				t.Errorf("a message is %v, %v, want it to be pending", m.Status, err)
			}
			noneLeft(t, token, time.Now())
		})
	}
	node.healthy(t)
	if left, err := os.ReadDir(filepath.Join(node.config.DataDir, "plugins", "transport", "udp")); err == nil && len(left) > 0 {
		t.Errorf("udp has files: %v", left)
	}
}

// plainText is the configuration of a client whose transport is compiled in.
const plainText = `
store: {key: file}
layers:
  transport: {use: udp, settings: {config: {listen: "ADDRESS"}}}
  envelope: {use: whisper}
  secure: {use: ratchet}
  datasync: {use: mvds, settings: {retransmit_after: 300ms, retransmit_max: 1s}}
  payload: {use: status}
`
