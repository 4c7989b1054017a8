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
	maxKept   = 2 << 10  // bytes of a line until LastLog is asked for
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
	recent  [maxRecent][]byte // the last lines as they came, in a ring
	count   int               // of all lines that were put there
	trace   []string          // of a crash, from its first line
	block   []string          // of an exception in Python that is being read
	dropped int
}

func newPrinter(log *slog.Logger, name string, perSecond int) *printer {
	return &printer{
		log:   log.With("plugin", name),
		limit: rate.NewLimiter(rate.Limit(perSecond), burstTime*perSecond),
	}
}

// line takes a line of output without its end. A line that is dropped costs
// little, so that a flood of them burdens the plugin more than the host.
func (p *printer) line(raw []byte) {
	raw = bytes.TrimRight(raw, " \t\r")
	if len(raw) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.trace) > 0 {
		p.continueTrace(raw)
		return
	}
	slot := &p.recent[p.count%maxRecent]
	*slot = append((*slot)[:0], raw[:min(len(raw), maxKept)]...)
	p.count++
	switch {
	case len(p.block) > 0:
		p.continueBlock(raw)
	case bytes.HasPrefix(raw, []byte("Traceback (most recent call last)")):
		p.block = []string{transport.Clean(string(raw), maxLine)}
	case bytes.HasPrefix(raw, []byte("panic: ")), bytes.HasPrefix(raw, []byte("fatal error: ")):
		p.trace = []string{transport.Clean(string(raw), maxLine)}
	case p.allow():
		r := parseLine(raw)
		p.log.LogAttrs(context.Background(), r.level, r.text, r.attrs...)
	}
}

// continueTrace takes a line after the first of a crash. From there on the
// first lines are worth more than the last.
func (p *printer) continueTrace(raw []byte) {
	if len(p.trace) < maxTrace {
		p.trace = append(p.trace, transport.Clean(string(raw), maxLine))
	}
	if len(p.trace) == headTrace {
		p.emitTrace()
	}
}

// continueBlock takes a line of a Python exception, which ends with the first
// line that is not indented.
func (p *printer) continueBlock(raw []byte) {
	text := transport.Clean(string(raw), maxLine)
	ended := raw[0] != ' ' && raw[0] != '\t'
	if len(p.block) < headTrace {
		p.block = append(p.block, text)
	} else if ended {
		p.block[headTrace-1] = text
	}
	if !ended {
		return
	}
	if p.allow() {
		p.log.Error("exception", "trace", strings.Join(p.block, "\n"))
	}
	p.block = nil
}

func (p *printer) emitTrace() {
	head := p.trace[:min(len(p.trace), headTrace)]
	p.log.Error("crashed", "trace", strings.Join(head, "\n"))
}

// allow tells whether a line may be logged now.
func (p *printer) allow() bool {
	if !p.limit.Allow() {
		p.dropped++
		return false
	}
	p.emitDropped()
	return true
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
	var lines []string
	for i := max(0, p.count-maxRecent); i < p.count; i++ {
		r := parseLine(p.recent[i%maxRecent])
		if r.json {
			r.text = r.level.String() + " " + r.text
		}
		lines = append(lines, r.text)
	}
	if len(p.trace) > 0 { // its first line is the last of the others
		lines = append(lines, p.trace[1:]...)
	}
	return lines
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

// record is a line of output, taken apart.
type record struct {
	level slog.Level
	text  string
	attrs []slog.Attr
	json  bool
}

// parseLine reads a line in the JSON form of hclog, or any other. Nothing is
// assumed of the types of the values.
func parseLine(raw []byte) record {
	plain := record{level: slog.LevelDebug}
	var fields map[string]any
	if raw[0] != '{' || json.Unmarshal(raw, &fields) != nil {
		plain.text = transport.Clean(string(raw), maxLine)
		return plain
	}
	text, isText := fields["@message"].(string)
	level, isLevel := fields["@level"].(string)
	if !isText || !isLevel {
		plain.text = transport.Clean(string(raw), maxLine)
		return plain
	}
	var with []slog.Attr
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if key == "@message" || key == "@level" || key == "@timestamp" {
			continue
		}
		if len(with) == maxAttrs {
			break
		}
		with = append(with, slog.Any(transport.Clean(key, maxKey), valueOf(fields[key])))
	}
	r := record{level: levelOf(level), text: transport.Clean(text, maxLine), json: true}
	if len(with) > 0 {
		// In a group, so that none can pass for the host's own.
		r.attrs = []slog.Attr{{Key: "with", Value: slog.GroupValue(with...)}}
	}
	return r
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
