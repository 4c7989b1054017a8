package history

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/transport"
)

const (
	// maxSpan is the longest window of one query: servers of 2019 refuse more
	// than a day (Status mail server 0.39, and the fixed form of requests).
	maxSpan = 24 * 60 * 60 // seconds

	// togetherSpan is how much earlier a topic may be asked for than it needs, to
	// be asked for together with others.
	togetherSpan = 60 * 60 // seconds

	maxGaps   = 64  // reported of one run
	maxReason = 200 // bytes of what a server says went wrong
)

// run is one catch-up: all series are fetched to the same second.
type run struct {
	at       time.Time
	from, to int64
	series   []*series         // what is left; the first is being fetched
	failed   map[string]string // servers that are not asked again, and why

	// The window that is being fetched, of the first series.
	open       bool
	start, end int64
	legs       []*leg
}

// series are topics that are fetched together.
type series struct {
	topics []transport.Topic // sorted
	from   int64             // what is before was fetched
	listen uint64            // the last Listen before it began
}

// newRun sorts the stale topics by where they begin. A few seconds of difference
// are not worth a query of their own, days are.
func (d *Driver) newRun(now time.Time) *run {
	r := &run{at: now, to: now.Unix(), failed: map[string]string{}}
	byStart := map[int64][]transport.Topic{}
	for t := range d.stale {
		from := d.start(t, now)
		byStart[from] = append(byStart[from], t)
	}
	r.from = r.to
	var last *series
	for _, from := range slices.Sorted(maps.Keys(byStart)) {
		if last == nil || from-last.from > togetherSpan {
			last = &series{from: from, listen: d.listen}
			r.series = append(r.series, last)
		}
		last.topics = append(last.topics, byStart[from]...)
		r.from = min(r.from, from)
	}
	for _, s := range r.series {
		slices.SortFunc(s.topics, compareTopics)
	}
	return r
}

// start returns from when on a topic is to be fetched. Every wanted topic has a
// mark. One in the future is of a clock that was wrong, and as good as none.
func (d *Driver) start(t transport.Topic, now time.Time) int64 {
	from := time.Unix(d.marks.until[t], 0).Add(-d.cfg.Overlap)
	if from.After(now) {
		from = now.Add(-d.cfg.FirstWindow)
	}
	return max(0, latest(from, now.Add(-d.cfg.MaxWindow)).Unix())
}

// advance goes on with the run as far as it can without an answer. It reports
// whether the run has ended.
func (d *Driver) advance(now time.Time, out *Output) bool {
	r := d.run
	for {
		if !r.open {
			if !d.next(now, out) {
				d.finish(now, out)
				return true
			}
		}
		d.tend(now, out)
		if len(r.legs) == 0 {
			d.giveUp()
			d.finish(now, out)
			return true
		}
		if slices.ContainsFunc(r.legs, func(l *leg) bool { return !l.done }) {
			return false
		}
		d.close(now)
	}
}

// next opens the next window, if anything is left and there is somebody to ask.
func (d *Driver) next(now time.Time, out *Output) bool {
	r := d.run
	if len(r.series) == 0 {
		return false
	}
	r.open, r.start, r.end, r.legs = true, r.series[0].from, min(r.series[0].from+maxSpan, r.to), nil
	for range d.cfg.Compare {
		d.hire(now, out)
	}
	d.progress.From, d.progress.To = time.Unix(r.start, 0).UTC(), time.Unix(r.end, 0).UTC()
	if len(r.legs) > 0 {
		d.show(envelope.CatchingUp, out)
	}
	return true
}

// close ends a window that every leg has come through.
func (d *Driver) close(now time.Time) {
	r := d.run
	s := r.series[0]
	d.compare()
	d.ripen(now, s, r.end)
	r.open, r.legs = false, nil
	if r.end < r.to {
		s.from = r.end + 1
		return
	}
	r.series = r.series[1:]
	for _, t := range s.topics {
		if d.counts(t, s) {
			delete(d.stale, t)
		}
	}
}

// compare reports what servers lacked that others had.
func (d *Driver) compare() {
	r := d.run
	if len(r.legs) < 2 || slices.ContainsFunc(r.legs, func(l *leg) bool { return l.overflow }) {
		return
	}
	union := map[short]bool{}
	for _, l := range r.legs {
		for h, counts := range l.seen {
			if counts {
				union[h] = true
			}
		}
	}
	for _, l := range r.legs {
		missing := 0
		for h := range union {
			if _, has := l.seen[h]; !has {
				missing++
			}
		}
		if missing > 0 {
			d.gap(envelope.Gap{From: time.Unix(r.start, 0).UTC(), To: time.Unix(r.end, 0).UTC(),
				Server: l.server, Missing: missing, Reason: "another server has more"})
		}
	}
}

// giveUp reports what is left of a run when nobody can be asked any more.
func (d *Driver) giveUp() {
	r := d.run
	server, reason := d.progress.Server, "nobody to ask"
	if why, ok := r.failed[server]; ok {
		reason = why
	}
	for _, s := range r.series {
		d.gap(envelope.Gap{From: time.Unix(s.from, 0).UTC(), To: time.Unix(r.to, 0).UTC(), Server: server, Reason: reason})
	}
}

func (d *Driver) gap(g envelope.Gap) {
	if len(d.progress.Gaps) < maxGaps {
		d.progress.Gaps = append(d.progress.Gaps, g)
	}
}

// brief cuts what others say to a length that can be shown.
func brief(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxReason)], "?")
}
