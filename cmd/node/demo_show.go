package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// demoDisplay shows a demo: to a person at a terminal, as a plain log, or as
// JSON objects.
type demoDisplay struct {
	mu       sync.Mutex
	w        io.Writer
	json     bool
	terminal bool
	begin    time.Time
	title    string
	line     bool // an unfinished progress line is on the terminal
	shown    [2]int
}

func newDemoDisplay(w io.Writer, asJSON, terminal bool) *demoDisplay {
	return &demoDisplay{w: w, json: asJSON, terminal: terminal && !asJSON, begin: time.Now()}
}

func (s *demoDisplay) object(name string, v any) {
	_ = json.NewEncoder(s.w).Encode(map[string]any{name: v})
}

// phase says what comes now.
func (s *demoDisplay) phase(title string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.title = title
	if s.json {
		s.object("phase", title)
		return
	}
	s.endLine()
	fmt.Fprintf(s.w, "%6.2fs  %s\n", time.Since(s.begin).Seconds(), title)
}

// progress shows how far the demo is. A log gets a line for every ten messages.
func (s *demoDisplay) progress(sent, delivered int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := [2]int{sent, delivered}
	switch {
	case now == s.shown:
	case s.json && (delivered%10 == 0 && delivered != s.shown[1]):
		s.object("progress", map[string]int{"sent": sent, "delivered": delivered})
	case s.terminal:
		fmt.Fprintf(s.w, "\r\x1b[K%6.2fs  %s: %d sent, %d delivered", time.Since(s.begin).Seconds(), s.title, sent, delivered)
		s.line = true
	case !s.json && delivered%10 == 0 && delivered != s.shown[1]:
		fmt.Fprintf(s.w, "%6.2fs  %d sent, %d delivered\n", time.Since(s.begin).Seconds(), sent, delivered)
	}
	s.shown = now
}

func (s *demoDisplay) endLine() {
	if s.line {
		fmt.Fprintln(s.w)
		s.line = false
	}
}

// report shows the outcome.
func (s *demoDisplay) report(rows []demoRow, life []demoStep, sum demoSummary) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.json {
		for _, r := range rows {
			s.object("kind", r)
		}
		for _, step := range life {
			s.object("step", step)
		}
		s.object("summary", sum)
		return
	}
	s.endLine()
	s.table(rows)
	s.life(life)
	fmt.Fprintf(s.w, "\n%d sent, %d delivered, %d lost, %d doubled, p50 %.1f ms, p99 %.1f ms, in %.1f s; %d processes left running\n",
		sum.Sent, sum.Delivered, sum.Lost, sum.Duplicates, sum.P50, sum.P99, sum.Seconds, sum.LeftRunning)
	if sum.Gap > 0 {
		fmt.Fprintf(s.w, "longest gap while the transport was replaced: %.0f ms\n", sum.Gap)
	}
}

func (s *demoDisplay) table(rows []demoRow) {
	fmt.Fprintln(s.w)
	t := tabwriter.NewWriter(s.w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "kind\tsent\tdelivered\tdoubled\tp50 ms\tp99 ms\t")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%.1f\t%.1f\t\n", r.Kind, r.Sent, r.Delivered, r.Duplicates, r.P50, r.P99)
	}
	t.Flush()
}

// life shows one message on its way, with the time since it was said.
func (s *demoDisplay) life(life []demoStep) {
	if len(life) == 0 {
		return
	}
	fmt.Fprintln(s.w, "\nThe life of one 1:1 message, and of its acknowledgement:")
	fmt.Fprintln(s.w)
	begin := life[0].At
	t := tabwriter.NewWriter(s.w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "at ms\tnode\tlayer\ttakes\temits\tsaves\ttook ms")
	for _, step := range life {
		fmt.Fprintf(t, "%.2f\t%s\t%s\t%s\t%s\t%d\t%.2f\n",
			float64(step.At.Sub(begin).Microseconds())/1000, step.Node, step.Layer, step.Input,
			emitted(step.Emitted), step.Saved, float64(step.Took.Microseconds())/1000)
	}
	t.Flush()
}

// emitted lists message types, each once with how often it occurs.
func emitted(types []string) string {
	var names []string
	count := map[string]int{}
	for _, t := range types {
		if count[t]++; count[t] == 1 {
			names = append(names, t)
		}
	}
	for i, n := range names {
		if count[n] > 1 {
			names[i] = fmt.Sprintf("%s ×%d", n, count[n])
		}
	}
	return strings.Join(names, ", ")
}
