package main

import (
	"bufio"
	"encoding/json"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// withoutJSON are the commands whose output is not data, or is a format of its
// own.
var withoutJSON = map[string]string{
	"strata":              "prints its help",
	"strata key":          "prints its help",
	"strata config":       "prints its help",
	"strata config check": "says ok, or exits with 2",
	"strata config print": "prints YAML",
	"strata layer":        "prints its help",
	"strata mail":         "prints its help",
	"strata shh":          "prints its help",
	"strata plugin":       "prints its help",
	"strata plugin serve": "speaks the protocol of plugins",
}

func TestEveryCommandHasHelp(t *testing.T) {
	commands := []*cobra.Command{newRootCommand()}
	for i := 0; i < len(commands); i++ {
		c := commands[i]
		commands = append(commands, c.Commands()...)
		path := c.CommandPath()
		if c.Short == "" || c.Long == "" && c.Example == "" {
			t.Errorf("%s: has no short text, or neither a long one nor an example", path)
		}
		if _, without := withoutJSON[path]; c.Runnable() && !without && c.Flags().Lookup("json") == nil {
			t.Errorf("%s: has no --json", path)
		}
		code, out, errOut := command(t, append(strings.Fields(path)[1:], "--help")...)
		if code != exitOK || errOut != "" || !strings.Contains(out, "Usage:") || !strings.Contains(out, path) {
			t.Errorf("%s --help: code %d, %s%s", path, code, out, errOut)
		}
	}
	if len(commands) < 20 {
		t.Errorf("found %d commands", len(commands))
	}
}

func TestUnknownCommandIsMisuse(t *testing.T) {
	for _, args := range [][]string{{"fly"}, {"run", "fast"}, {"demo", "--messages", "1"}, {"config", "print", "--loud"}, {"key", "mew"}, {"config", "chekc"}} {
		if code, out, errOut := command(t, args...); code != exitMisused || out != "" || errOut == "" {
			t.Errorf("%q: code %d, %q, %q, want code %d", args, code, out, errOut, exitMisused)
		}
	}
}

func TestDemoLosesNothing(t *testing.T) {
	for _, tt := range []struct {
		flags    []string
		messages int
	}{
		{nil, 40},
		{[]string{"--transport", "libp2p"}, 40},
		{[]string{"--transport", "udp"}, 40},
		{[]string{"--swap"}, demoSwapMessages},
	} {
		t.Run(strings.Join(append([]string{"demo"}, tt.flags...), " "), func(t *testing.T) {
			t.Parallel()
			demoLosesNothing(t, tt.messages, tt.flags...)
		})
	}
}

func demoLosesNothing(t *testing.T, messages int, flags ...string) {
	code, out, errOut := runStrata(t, append([]string{"demo", "--json"}, flags...)...)
	if code != exitOK || errOut != "" {
		t.Fatalf("code %d: %s", code, errOut)
	}
	var last string
	lines := bufio.NewScanner(strings.NewReader(out))
	for lines.Scan() {
		last = lines.Text()
		if !json.Valid([]byte(last)) {
			t.Errorf("no JSON: %s", last)
		}
	}
	var end struct{ Summary *demoSummary }
	if err := json.Unmarshal([]byte(last), &end); err != nil || end.Summary == nil {
		t.Fatalf("the last line is no summary: %s", last)
	}
	s := *end.Summary
	if s.Sent != messages || s.Delivered != messages || s.Lost != 0 || s.Duplicates != 0 || s.LeftRunning != 0 {
		t.Errorf("got %+v", s)
	}
}
