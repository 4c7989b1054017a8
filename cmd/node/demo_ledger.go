package main

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stratanode/strata/layers/payload"
)

// demoLedger knows every message of the demo: when it was said, where it
// arrived, how often, and what its sender was told.
type demoLedger struct {
	mu      sync.Mutex
	entries []*demoEntry
	byText  map[string]*demoEntry
	byID    map[payload.MessageID]*demoEntry
	early   map[payload.MessageID]payload.Status // of messages whose Say has not returned yet
}

// demoEntry is one message.
type demoEntry struct {
	demoLine
	text   string
	id     payload.MessageID
	at     time.Time                       // when its sender was asked to say it
	copies map[payload.MessageID]time.Time // distinct messages with this text, stored at the receiver
	here   chan struct{}                   // closed when the first has arrived
	status payload.Status
	reason string
}

func newDemoLedger() *demoLedger {
	return &demoLedger{byText: map[string]*demoEntry{}, byID: map[payload.MessageID]*demoEntry{}, early: map[payload.MessageID]payload.Status{}}
}

// enter makes a message of a line; its text is unique.
func (l *demoLedger) enter(line demoLine) *demoEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &demoEntry{
		demoLine: line, at: time.Now(), here: make(chan struct{}),
		copies: map[payload.MessageID]time.Time{},
		text:   fmt.Sprintf("%04d %s, from %s", len(l.entries)+1, line.kind, line.from),
	}
	l.entries = append(l.entries, e)
	l.byText[e.text] = e
	return e
}

func (l *demoLedger) said(e *demoEntry, m payload.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.id = m.ID
	e.status = max(e.status, m.Status, l.early[m.ID])
	l.byID[m.ID] = e
}

// arrived notes that a message is durable at a node. The same message in a
// notice and in the history counts once; a second one with its text is a double.
func (l *demoLedger) arrived(node string, m payload.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.byText[m.Text]
	if e == nil || e.to != node {
		return
	}
	if _, ok := e.copies[m.ID]; !ok {
		e.copies[m.ID] = m.Stored
		if len(e.copies) == 1 {
			close(e.here)
		}
	}
}

// moved notes what a sender was told.
func (l *demoLedger) moved(id payload.MessageID, s payload.Status, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.byID[id]
	switch {
	case e == nil:
		l.early[id] = max(l.early[id], s)
	case s > e.status:
		e.status, e.reason = s, reason
	}
}

// statusOf returns what the sender of a message was told.
func (l *demoLedger) statusOf(e *demoEntry) payload.Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return e.status
}

// settled reports whether nothing is under way any more: everything has arrived
// and every sender knows it.
func (l *demoLedger) settled() bool { return len(l.open()) == 0 }

// open returns the messages that are under way.
func (l *demoLedger) open() []*demoEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var open []*demoEntry
	for _, e := range l.entries {
		final := payload.Delivered
		if e.public {
			final = payload.Relayed
		}
		if len(e.copies) == 0 || e.status < final {
			open = append(open, e)
		}
	}
	return open
}

func (l *demoLedger) counts() (sent, delivered int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		if len(e.copies) > 0 {
			delivered++
		}
	}
	return len(l.entries), delivered
}

// example returns a private message to show the life of: the last that found
// its receiver up.
func (l *demoLedger) example() *demoEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range slices.Backward(l.entries) {
		if e.kind == kindPrivate && e.from == "alice" && len(e.copies) > 0 {
			return e
		}
	}
	return nil
}

// demoRow is a line of the table: what became of one kind of message.
type demoRow struct {
	Kind       string  `json:"kind"`
	Sent       int     `json:"sent"`
	Delivered  int     `json:"delivered"`
	Duplicates int     `json:"duplicates"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
}

func (l *demoLedger) rows() []demoRow {
	var rows []demoRow
	for _, k := range demoKinds {
		if r := l.row(k, func(e *demoEntry) bool { return e.kind == k }); r.Sent > 0 {
			rows = append(rows, r)
		}
	}
	return rows
}

func (l *demoLedger) row(name string, in func(*demoEntry) bool) demoRow {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := demoRow{Kind: name}
	var latencies []time.Duration
	for _, e := range l.entries {
		if !in(e) {
			continue
		}
		r.Sent++
		if len(e.copies) > 0 {
			r.Delivered++
			r.Duplicates += len(e.copies) - 1
			latencies = append(latencies, e.latency())
		}
	}
	slices.Sort(latencies)
	r.P50, r.P99 = percentile(latencies, 50), percentile(latencies, 99)
	return r
}

// latency is the time from the call to say it until it was durable at its
// receiver.
func (e *demoEntry) latency() time.Duration {
	var first time.Time
	for _, at := range e.copies {
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return max(first.Sub(e.at), 0)
}

// longestGap returns the longest time from since on in which nothing arrived
// although something was under way.
func (l *demoLedger) longestGap(since time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	type span struct{ from, to time.Time }
	var spans []span
	for _, e := range l.entries {
		if len(e.copies) > 0 {
			spans = append(spans, span{e.at, e.at.Add(e.latency())})
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return a.to.Compare(b.to) })
	longest, last := time.Duration(0), since
	for i, s := range spans {
		// What was under way before this one arrived: itself and all later ones.
		begin := s.from
		for _, later := range spans[i+1:] {
			if later.from.Before(begin) {
				begin = later.from
			}
		}
		if begin.Before(last) {
			begin = last
		}
		if s.to.After(last) {
			longest, last = max(longest, s.to.Sub(begin)), s.to
		}
	}
	return longest
}

// percentile returns the p-th percentile of sorted latencies in milliseconds.
func percentile(sorted []time.Duration, p int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	i := min((len(sorted)*p+99)/100, len(sorted)) - 1
	return float64(sorted[max(i, 0)].Microseconds()) / 1000
}

// demoSummary is the outcome of a demo. The latencies are those of messages
// whose receiver was up.
type demoSummary struct {
	Sent        int     `json:"sent"`
	Delivered   int     `json:"delivered"`
	Lost        int     `json:"lost"`
	Duplicates  int     `json:"duplicates"`
	P50         float64 `json:"p50_ms"`
	P99         float64 `json:"p99_ms"`
	Unconfirmed int     `json:"unconfirmed"` // delivered, but the sender was not told
	LeftRunning int     `json:"left_running"`
	Seconds     float64 `json:"seconds"`
	Gap         float64 `json:"longest_gap_ms,omitempty"` // between two arrivals, from the first replacement on
}

func (l *demoLedger) summary(took time.Duration) demoSummary {
	all := l.row("", func(*demoEntry) bool { return true })
	up := l.row("", func(e *demoEntry) bool {
		return !slices.Contains([]string{kindPrivateOff, kindPublicOff, kindPrivateMail, kindPublicMail}, e.kind)
	})
	lost := all.Sent - all.Delivered
	return demoSummary{
		Sent: all.Sent, Delivered: all.Delivered, Lost: lost, Unconfirmed: len(l.open()) - lost, Duplicates: all.Duplicates,
		P50: up.P50, P99: up.P99, Seconds: float64(took.Milliseconds()) / 1000,
	}
}
