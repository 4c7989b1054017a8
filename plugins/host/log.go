package host

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/stratanode/strata/plugins/transport"
)

// Limits of what is kept of a plugin's output.
const (
	maxRaw    = 16 << 10 // bytes of a line that are read; the rest of it is dropped
	maxLine   = 1 << 10  // bytes of a message
	maxKey    = 64       // bytes of the name of an attribute
	maxValue  = 256      // bytes of the value of an attribute
	maxAttrs  = 16       // attributes of a line
	maxRecent = 200      // lines for LastLog
	maxTrace  = 1000     // lines of a crash, beside them
	headTrace = 8        // lines of a crash that go to the log
	burstTime = 4        // seconds' worth of lines that may come at once
)

// printer turns a plugin's output into log records: cleaned, capped, and not
// more than so many a second. It may be used by several goroutines.
type printer struct {
	log   *slog.Logger
	limit *rate.Limiter

	mu      sync.Mutex
	recent  []string // the last lines, oldest first
	trace   []string // of a crash, from its first line
	block   []string // of an exception in Python that is being read
	dropped int
}

func newPrinter(log *slog.Logger, name string, perSecond int) *printer {
	return &printer{
		log:   log.With("plugin", name),
		limit: rate.NewLimiter(rate.Limit(perSecond), burstTime*perSecond),
	}
}

// line takes a line of output without its end.
func (p *printer) line(raw []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r, ok := parseRecord(raw); ok {
		p.keep(r.level.String() + " " + r.text)
		p.emit(r.level, r.text, r.attrs)
		return
	}
	text := transport.Clean(string(bytes.TrimRight(raw, " \t\r")), maxLine)
	if text == "" {
		return
	}
	p.keep(text)
	switch {
	case len(p.trace) > 0:
		if len(p.trace) == headTrace {
			p.emitTrace()
		}
	case len(p.block) > 0:
		p.continueBlock(raw, text)
	case strings.HasPrefix(text, "Traceback (most recent call last)"):
		p.block = []string{text}
	case strings.HasPrefix(text, "panic: "), strings.HasPrefix(text, "fatal error: "):
		p.trace = []string{text}
	default:
		p.emit(slog.LevelDebug, text, nil)
	}
}

// keep remembers a line for LastLog. From the start of a crash on the first
// lines are worth more than the last.
func (p *printer) keep(text string) {
	if len(p.trace) > 0 {
		if len(p.trace) < maxTrace {
			p.trace = append(p.trace, text)
		}
		return
	}
	if len(p.recent) == maxRecent {
		p.recent = slices.Delete(p.recent, 0, 1)
	}
	p.recent = append(p.recent, text)
}

// continueBlock takes a line of a Python exception, which ends with the first
// line that is not indented.
func (p *printer) continueBlock(raw []byte, text string) {
	if len(p.block) < headTrace {
		p.block = append(p.block, text)
	}
	if raw[0] == ' ' || raw[0] == '\t' {
		return
	}
	p.block[len(p.block)-1] = text
	p.emit(slog.LevelError, "exception", []slog.Attr{slog.String("trace", strings.Join(p.block, "\n"))})
	p.block = nil
}

func (p *printer) emitTrace() {
	head := p.trace[:min(len(p.trace), headTrace)]
	p.log.LogAttrs(context.Background(), slog.LevelError, "crashed", slog.String("trace", strings.Join(head, "\n")))
}

func (p *printer) emit(level slog.Level, text string, attrs []slog.Attr) {
	if !p.limit.Allow() {
		p.dropped++
		return
	}
	p.emitDropped()
	// The attributes are in a group, so that none can pass for the host's own.
	if len(attrs) > 0 {
		attrs = []slog.Attr{{Key: "with", Value: slog.GroupValue(attrs...)}}
	}
	p.log.LogAttrs(context.Background(), level, text, attrs...)
}

func (p *printer) emitDropped() {
	if p.dropped > 0 {
		p.log.Warn(fmt.Sprintf("%d lines dropped", p.dropped))
		p.dropped = 0
	}
}

// end reports what was held back.
func (p *printer) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.emitDropped()
	if 0 < len(p.trace) && len(p.trace) < headTrace {
		p.emitTrace()
	}
}

// last returns the lines that were kept, oldest first.
func (p *printer) last() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.trace) == 0 {
		return slices.Clone(p.recent)
	}
	// The first line of the crash is the last of recent too.
	return slices.Concat(p.recent, p.trace[1:])
}

// crash returns the first line of a crash, or "".
func (p *printer) crash() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.trace) == 0 {
		return ""
	}
	return p.trace[0]
}

// record is a line in the JSON form of hclog.
type record struct {
	level slog.Level
	text  string
	attrs []slog.Attr
}

// parseRecord reads a JSON line; ok is false for every other one. Nothing is
// assumed of the types of the values.
func parseRecord(raw []byte) (r record, ok bool) {
	if len(raw) == 0 || raw[0] != '{' {
		return record{}, false
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		return record{}, false
	}
	text, isText := fields["@message"].(string)
	level, isLevel := fields["@level"].(string)
	if !isText || !isLevel {
		return record{}, false
	}
	r = record{level: levelOf(level), text: transport.Clean(text, maxLine)}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if key == "@message" || key == "@level" || key == "@timestamp" {
			continue
		}
		if len(r.attrs) == maxAttrs {
			break
		}
		r.attrs = append(r.attrs, slog.Any(transport.Clean(key, maxKey), valueOf(fields[key])))
	}
	return r, true
}

func levelOf(name string) slog.Level {
	switch name {
	case "info":
		return slog.LevelInfo
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelDebug
}

func valueOf(v any) any {
	switch v := v.(type) {
	case bool, float64, nil:
		return v
	case string:
		return transport.Clean(v, maxValue)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return transport.Clean(string(text), maxValue)
}

// splitter cuts a stream into lines of at most maxRaw bytes. What is longer is
// passed on once, without its end. It is used by one goroutine at a time.
type splitter struct {
	line func([]byte)
	buf  []byte
	skip bool // until the end of a line that was too long
}

// Write implements io.Writer. It never fails.
func (s *splitter) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		part, rest, ended := bytes.Cut(b, []byte("\n"))
		if !s.skip {
			s.buf = append(s.buf, part[:min(len(part), maxRaw-len(s.buf))]...)
		}
		if !s.skip && (ended || len(s.buf) == maxRaw) {
			s.flush()
			s.skip = true
		}
		if ended {
			s.skip = false
		}
		b = rest
	}
	return n, nil
}

// flush passes on what has been read of a line.
func (s *splitter) flush() {
	if len(s.buf) > 0 {
		s.line(s.buf)
		s.buf = s.buf[:0]
	}
}

// drainTime is how long output is still read after the plugin is gone; a
// descendant may hold the other end of the pipe for ever.
const drainTime = 500 * time.Millisecond
