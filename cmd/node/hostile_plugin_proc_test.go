//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// noneLeft fails the test unless all processes of the plugin are gone soon.
func (s *besieged) noneLeft(t *testing.T, since time.Time) {
	t.Helper()
	noneLeft(t, s.token, since)
}

func noneLeft(t *testing.T, token string, since time.Time) {
	t.Helper()
	eventually(t, "the end of the plugin's processes", func() bool {
		left := processesOf(t, token)
		if took := time.Since(since); len(left) > 0 && took > stopWithin {
			t.Fatalf("%d processes of the plugin are left after %v", len(left), took)
		}
		return len(left) == 0
	})
}

// memory returns a value of /proc/PID/status of the node in bytes.
func (s *besieged) memory(t *testing.T, key string) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("no %s", key)
	return 0
}

// processesOf returns the living processes with a word in their command line,
// but for nodes.
func processesOf(t *testing.T, token string) (found []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		switch {
		case err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ESRCH):
			t.Fatal(err)
		case strings.Contains(string(b), token):
			found = append(found, pid)
		}
	}
	return found
}
