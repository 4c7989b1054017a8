//go:build unix

package host_test

import (
	"strings"
	"testing"
)

func TestOutputIsCleanedAndKeepsItsLevel(t *testing.T) {
	c, j := command(t, "logs")
	p := start(t, c)
	eventually(t, soon, "the last line", func() bool { return strings.Contains(j.String(), "end of logs") })
	log := j.String()
	if strings.ContainsAny(log, "\x1b\x07") {
		t.Error("an escape is in the log")
	}
	wantText(t, "log", log,
		"level=WARN msg=\"from \ufffd[31mjson\" plugin=tested",
		"with.plugin=impostor", "with.n=5", `with.deep="{\"a\":[1,2]}"`,
		"level=DEBUG msg=\"plain \ufffd]0;title\ufffd text\" plugin=tested",
		"level=ERROR msg=exception plugin=tested", "ValueError: odd",
		// Neither is a record; go-plugin's own reader would panic.
		`msg="{\"@level\":7,`, `msg="{\"@message\":5}"`,
	)
	wantText(t, "last log", strings.Join(p.LastLog(), "\n"), "end of logs", "ValueError: odd")
}

func TestFloodOfLinesIsDroppedAndCounted(t *testing.T) {
	c, j := command(t, "flood")
	c.LogRate = 10
	p := start(t, c)
	p.Kill()
	log := j.String()
	if n := strings.Count(log, "\n"); n > 200 {
		t.Errorf("%d lines in the log", n)
	}
	wantText(t, "log", log, "lines dropped")
	lines := p.LastLog()
	if len(lines) != 200 {
		t.Errorf("%d lines kept, want 200", len(lines))
	}
	wantText(t, "last log", strings.Join(lines, "\n"), "line 19999")
}

func TestEndlessLineIsCut(t *testing.T) {
	c, j := command(t, "endless-line")
	p := start(t, c)
	eventually(t, soon, "the line after", func() bool { return strings.Contains(j.String(), "msg=after") })
	if n := len(j.String()); n > 16<<10 {
		t.Errorf("%d bytes in the log", n)
	}
	for _, line := range p.LastLog() {
		if len(line) > 1<<10 {
			t.Errorf("a line of %d bytes is kept", len(line))
		}
	}
}
