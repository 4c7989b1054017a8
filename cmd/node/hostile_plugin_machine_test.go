//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stratanode/strata/actors/edge/rpc"
)

// orphansGoneWithin is how soon nothing of a plugin is left of a node that was
// killed.
const orphansGoneWithin = 2 * time.Second

// assailTheMachine runs the plugins that go for what is around the node. Each is
// run without confinement too, which shows that the attack is one.
func assailTheMachine(t *testing.T, program string) {
	t.Run("thief", func(t *testing.T) {
		t.Parallel()
		s, loot := robbed(t, program, "best")
		for what, got := range loot {
			if what != "environment" && !strings.HasPrefix(got, "failed: ") {
				t.Errorf("%s: %.200q, want it to fail", what, got)
			}
			if strings.Contains(got, canary) {
				t.Errorf("%s has the canary", what)
			}
		}
		for _, path := range s.prey() {
			if b, err := os.ReadFile(path); err == nil && string(b) == "hostile" {
				t.Errorf("%s was written", path)
			}
		}
		s.withoutCanary(t)
		s.stop(t)
		s.checkLog(t, maxRecords)
	})
	t.Run("thief-unconfined", func(t *testing.T) {
		t.Parallel()
		s, loot := robbed(t, program, "off")
		for _, what := range []string{
			"read " + s.others("secret"), "read " + filepath.Join(s.dir, "notes"), "read " + s.outside(),
			fmt.Sprintf("process %d environ", s.cmd.Process.Pid),
		} {
			if !strings.Contains(loot[what], canary) {
				t.Errorf("%s: %.200q, want the canary: the attack is none", what, loot[what])
			}
		}
		for _, what := range []string{"signal", "descriptors", "list " + s.dir, "connect " + s.socket(), "connect " + s.abstract(), "write " + filepath.Join(s.dir, "evil")} {
			if got, tried := loot[what]; !tried || strings.HasPrefix(got, "failed: ") {
				t.Errorf("%s: %q, want it to succeed: the attack is none", what, got)
			}
		}
		s.stop(t)
	})
	t.Run("killer", func(t *testing.T) {
		t.Parallel()
		s := besiege(t, program, "polite", "")
		s.confined(t)
		if err := s.invite(t, program, "killer", fmt.Sprintf("config: {host: %d}", s.cmd.Process.Pid)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.api.Status(t.Context()); err != nil {
			t.Error(err)
		}
		s.stop(t)
	})
	t.Run("orphans", func(t *testing.T) {
		t.Parallel()
		s := orphaned(t, program, "best")
		s.confined(t)
		s.kill(t)
		begin := time.Now()
		eventually(t, "the end of the plugin and its children", func() bool {
			left := processesOf(t, s.token)
			if took := time.Since(begin); len(left) > 0 && took > orphansGoneWithin {
				t.Fatalf("%d processes of the plugin are left %v after the node was killed", len(left), took)
			}
			return len(left) == 0
		})
	})
	t.Run("orphans-unconfined", func(t *testing.T) {
		t.Parallel()
		s := orphaned(t, program, "off")
		_, d := s.transport(t)
		s.kill(t)
		eventually(t, "the end of the plugin itself", func() bool { return syscall.Kill(d.PID, 0) == syscall.ESRCH })
		if left := processesOf(t, s.token); len(left) == 0 {
			t.Error("none of its children is left: the attack is none")
		}
	})
}

// The places that a thief goes for.
func (s *besieged) socket() string   { return filepath.Join(s.dir, rpc.SocketName) }
func (s *besieged) abstract() string { return "@" + s.token }
func (s *besieged) outside() string  { return filepath.Join(filepath.Dir(s.dir), "outside") }

// prey returns the files that no plugin may write.
func (s *besieged) prey() []string {
	return []string{
		filepath.Join(s.dir, "evil"), s.others("evil"), s.others("secret"), s.outside(),
		filepath.Join(filepath.Dir(s.dir), "node.yaml"), filepath.Join(os.TempDir(), s.token),
	}
}

// robbed runs a node, lets a thief in, and returns what it got, by attempt.
func robbed(t *testing.T, program, confine string) (*besieged, map[string]string) {
	t.Helper()
	s := besiege(t, program, "polite", "")
	s.confined(t)
	l, err := net.Listen("unix", s.abstract())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); os.Remove(filepath.Join(os.TempDir(), s.token)) })
	var files []string
	err = filepath.WalkDir(filepath.Dir(s.dir), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && !strings.Contains(path, "/hostile/") {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files, %v, want the store, its key and the canaries", len(files), err)
	}
	wants, err := json.Marshal(map[string]any{
		"host": s.cmd.Process.Pid, "read": files, "write": s.prey(),
		"list":    []string{s.dir, filepath.Dir(s.dir), filepath.Dir(s.others("")), "/proc", "/root", "/home", os.TempDir()},
		"connect": []string{s.socket(), s.abstract()},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.invite(t, program, "thief", fmt.Sprintf("confine: %s, config: %s", confine, wants)); err != nil {
		t.Fatal(err)
	}
	loot := map[string]string{}
	b, err := os.ReadFile(filepath.Join(s.dir, "plugins", "transport", "hostile", "loot.json"))
	if err == nil {
		err = json.Unmarshal(b, &loot)
	}
	if err != nil || len(loot) < 20 {
		t.Fatalf("%d attempts, %v", len(loot), err)
	}
	return s, loot
}

// invite replaces the transport of the node by another hostile one.
func (s *besieged) invite(t *testing.T, program, name, settings string) error {
	t.Helper()
	text := fmt.Sprintf("layers:\n  transport: {use: plugin, settings: {command: [%q, %q, %q], %s}}\n", program, name, s.token, settings)
	return s.api.ReplaceLayer(t.Context(), string(transportSlot), filepath.Join(s.dir, "new.yaml"), []byte(text))
}

// confined ends the test where the system has nothing to confine a plugin with.
func (s *besieged) confined(t *testing.T) {
	t.Helper()
	_, d := s.transport(t)
	if strings.HasPrefix(d.Confinement, "none: off") {
		return
	}
	for _, facility := range []string{"landlock", "namespaces", "seccomp"} {
		if !strings.Contains(strings.Split(d.Confinement, ":")[0], facility) {
			t.Skipf("the system lacks %s: %s", facility, d.Confinement)
		}
	}
}

// withoutCanary fails the test if the plugin's folder or the log has the canary.
func (s *besieged) withoutCanary(t *testing.T) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(s.dir, "plugins", "transport", "hostile", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(paths, s.log) {
		if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
			continue // a link into the dark
		}
		if b, err := os.ReadFile(path); err != nil || strings.Contains(string(b), canary) {
			t.Errorf("%s has the canary, or cannot be read: %v", path, err)
		}
	}
}

// orphaned runs a node with a plugin that has children, and waits for them.
func orphaned(t *testing.T, program, confine string) *besieged {
	t.Helper()
	s := besiege(t, program, "daemons", "confine: "+confine)
	eventually(t, "the children of the plugin", func() bool { return len(processesOf(t, s.token)) == 6 })
	return s
}

// kill ends the node without giving it a chance to tidy up.
func (s *besieged) kill(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.ended
}
