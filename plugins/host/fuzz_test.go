package host

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stratanode/strata/plugins/transport"
)

// FuzzOutput: whatever a plugin prints, what is kept is clean and bounded.
func FuzzOutput(f *testing.F) {
	f.Add([]byte("panic: x\n\ngoroutine 1\n"))
	f.Add([]byte(`{"@level":"info","@message":"x","a":{"b":[1]}}` + "\n"))
	f.Add([]byte(`{"@level":1,"@message":[]}` + "\n\x1b[2J"))
	f.Add([]byte("Traceback (most recent call last):\n  a\nError: b\n"))
	f.Add(bytes.Repeat([]byte("x"), 2*maxRaw))
	f.Fuzz(func(t *testing.T, output []byte) {
		var out bytes.Buffer
		p := newPrinter(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})), "x", 10)
		s := splitter{line: p.line}
		half := len(output) / 2
		s.Write(output[:half])
		s.Write(output[half:])
		s.flush()
		p.end()
		lines := p.last()
		if len(lines) > maxRecent+maxTrace {
			t.Errorf("%d lines kept", len(lines))
		}
		for _, line := range lines {
			if len(line) > maxLine+len("ERROR ") || !utf8.ValidString(line) || strings.ContainsFunc(line, unicode.IsControl) {
				t.Errorf("kept %q", line)
			}
		}
		if strings.ContainsFunc(strings.ReplaceAll(out.String(), "\n", ""), unicode.IsControl) {
			t.Errorf("logged %q", out.String())
		}
	})
}

// FuzzHandshake: no handshake line makes the host connect elsewhere.
func FuzzHandshake(f *testing.F) {
	f.Add("1|2|unix|/run/x|grpc|" + strings.Repeat("A", 60))
	f.Add("1|2|unix|../../x|grpc|")
	f.Add("1|2|tcp|127.0.0.1:1|grpc|" + strings.Repeat("A", 60))
	f.Add("|||||||")
	f.Fuzz(func(t *testing.T, line string) {
		c := &child{command: Command{}, run: "/nowhere/at/all"}
		err := c.checkHandshake(line)
		if err == nil {
			t.Fatalf("%q is accepted", line)
		}
		if text := err.Error(); len(text) > 2000 || strings.ContainsFunc(text, unicode.IsControl) {
			t.Errorf("error %q", text)
		}
	})
}

func TestSplitterCutsLongLinesOnce(t *testing.T) {
	var got []int
	s := splitter{line: func(b []byte) { got = append(got, len(b)) }}
	for range 10 {
		s.Write(bytes.Repeat([]byte("x"), maxRaw))
	}
	s.Write([]byte("\nab\n\nc"))
	s.flush()
	if want := []int{maxRaw, 2, 1}; !equal(got, want) {
		t.Errorf("got lines of %v bytes, want %v", got, want)
	}
}

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestHandshakeLineIsBounded(t *testing.T) {
	line, rest, err := readHandshake(strings.NewReader("1|2\nmore"))
	if line != "1|2" || string(rest) != "more" || err != nil {
		t.Errorf("got %q, %q, %v", line, rest, err)
	}
	line, _, err = readHandshake(strings.NewReader(strings.Repeat("x", 3*maxHandshake)))
	if len(line) != maxHandshake || err != nil {
		t.Errorf("got %d bytes, %v; want %d", len(line), err, maxHandshake)
	}
}

func BenchmarkOutput(b *testing.B) {
	line := []byte(`{"@level":"info","@message":"a peer has connected","@timestamp":"2026-01-01T00:00:00.000000Z","peers":5}` + "\n")
	p := newPrinter(slog.New(slog.DiscardHandler), "x", transport.MaxText)
	s := splitter{line: p.line}
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		s.Write(line)
	}
}
