//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"unicode"
	"unicode/utf8"
)

// logged reports whether the log has a text.
func (s *besieged) logged(t *testing.T, text string) bool {
	t.Helper()
	b, err := os.ReadFile(s.log)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(b, []byte(text))
}

// checkLog fails the test if a record of the node's log is not one, would steer
// a terminal, or pretends to be the node's, or if there are too many.
func (s *besieged) checkLog(t *testing.T, atMost int) {
	t.Helper()
	f, err := os.Open(s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<10) // no record is longer
	n := 0
	for ; lines.Scan(); n++ {
		var record map[string]any
		if err := json.Unmarshal(lines.Bytes(), &record); err != nil {
			t.Fatalf("%q is no record: %v", lines.Text(), err)
		}
		if !printableAll(record) {
			t.Errorf("%q would steer a terminal", lines.Text())
		}
		if text, _ := record["msg"].(string); containsForged(text) && record["plugin"] != "hostile" {
			t.Errorf("%q pretends to be the node's", lines.Text())
		}
	}
	if err := lines.Err(); err != nil {
		t.Errorf("a record of the log: %v", err)
	}
	if n == 0 || n > atMost {
		t.Errorf("the log has %d records, want 1 to %d", n, atMost)
	}
}

func containsForged(text string) bool {
	return len(text) >= 6 && (text[:6] == "forged" || text[:6] == "all is")
}

// printableAll reports whether all texts in a value can be shown. Line ends are
// the host's own, between the lines of a trace.
func printableAll(v any) bool {
	switch v := v.(type) {
	case string:
		for _, r := range v {
			if !unicode.IsPrint(r) && r != '\n' && r != utf8.RuneError {
				return false
			}
		}
	case []any:
		for _, x := range v {
			if !printableAll(x) {
				return false
			}
		}
	case map[string]any:
		for key, x := range v {
			if !printableAll(key) || !printableAll(x) {
				return false
			}
		}
	}
	return true
}
