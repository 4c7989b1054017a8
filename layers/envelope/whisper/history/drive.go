package history

import (
	"slices"
	"time"

	"github.com/stratanode/strata/layers/envelope"
)

// drive does all that is due and says when it wants to be woken.
func (d *Driver) drive(now time.Time, out Output) Output {
	if now.Before(d.clock.Add(-settle)) {
		d.setBack(now)
	}
	d.clock = now
	d.save(now, &out)
	for d.run != nil || d.begin(now, &out) {
		if !d.advance(now, &out) {
			break
		}
	}
	out.WakeAt(d.alarm())
	return out
}

// setBack is called when the clock has been set back by so much that what was
// planned by it makes no sense any more. Everything is fetched again.
func (d *Driver) setBack(now time.Time) {
	d.ripe = nil
	d.started, d.first, d.startAt, d.retryAt, d.staleAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}, now
	if d.run != nil {
		for _, l := range d.run.legs {
			l.at = now.Add(patience)
		}
	}
}

// alarm returns the earliest time at which something is due.
func (d *Driver) alarm() time.Time {
	var at time.Time
	if len(d.ripe) > 0 {
		at = d.ripe[0].at
	}
	if d.run != nil {
		for _, l := range d.run.legs {
			if !l.done {
				at = earliest(at, l.at)
			}
		}
		return at
	}
	if d.listen == 0 || len(d.wanted) == 0 {
		return at
	}
	if len(d.stale) > 0 && d.ready && d.somebody() {
		at = earliest(at, latest(d.startAt, d.retryAt))
	}
	return earliest(at, d.staleAt)
}

// begin starts a run if there is anything to be fetched and somebody to ask.
func (d *Driver) begin(now time.Time, out *Output) bool {
	if d.listen == 0 {
		return false
	}
	if reached(now, d.staleAt) {
		d.staleAt = time.Time{}
		for t := range d.wanted {
			d.stale[t] = true
		}
	}
	switch {
	case len(d.stale) == 0:
		if d.partly { // what it was about is not wanted any more
			d.settled(out)
		}
		return false
	case !d.ready || !d.somebody():
		d.show(envelope.Waiting, out)
		return false
	case now.Before(d.startAt) || now.Before(d.retryAt):
		if d.partly {
			d.show(envelope.PartlyUp, out)
		}
		return false
	}
	d.run = d.newRun(now)
	d.started, d.first, d.startAt, d.retryAt = now, time.Time{}, time.Time{}, time.Time{}
	d.progress, d.shown = envelope.Progress{}, false
	return true
}

// somebody reports whether there is anybody to ask.
func (d *Driver) somebody() bool { return d.sure && len(d.servers) > 0 }

// finish ends the run.
func (d *Driver) finish(now time.Time, out *Output) {
	r := d.run
	d.run = nil
	d.progress.From, d.progress.To = time.Unix(r.from, 0).UTC(), time.Unix(r.to, 0).UTC()
	if d.cfg.Every > 0 && d.staleAt.IsZero() {
		d.staleAt = r.at.Add(d.cfg.Every)
	}
	if len(r.series) == 0 {
		d.forgive(r)
		d.settled(out)
		return
	}
	d.partly = true
	d.wait = min(max(2*d.wait, firstWait), longestWait)
	d.retryAt = now.Add(d.wait)
	if d.somebody() {
		d.show(envelope.PartlyUp, out)
	} else {
		d.show(envelope.Waiting, out)
	}
}

// forgive gives servers that have failed before, but not in this run, another
// chance after as many runs as they have failed.
func (d *Driver) forgive(r *run) {
	for s := range d.faults {
		if _, failed := r.failed[s]; failed {
			continue
		}
		if d.faults[s]--; d.faults[s] <= 0 {
			delete(d.faults, s)
		}
	}
}

func (d *Driver) settled(out *Output) {
	if d.partly {
		d.progress.Gaps = slices.DeleteFunc(slices.Clone(d.progress.Gaps), func(g envelope.Gap) bool { return g.Missing == 0 })
	}
	d.partly, d.wait, d.retryAt = false, 0, time.Time{}
	d.show(envelope.CaughtUp, out)
}

// show emits a Progress unless the state is the one that was shown last.
func (d *Driver) show(state envelope.CatchUp, out *Output) {
	if d.shown && d.progress.State == state {
		return
	}
	d.progress.State = state
	d.report(out)
}

func (d *Driver) report(out *Output) {
	d.shown = true
	p := d.progress
	p.Gaps = slices.Clone(p.Gaps)
	out.Up = append(out.Up, p)
}

func reached(now, at time.Time) bool { return !at.IsZero() && !now.Before(at) }

// earliest and latest pass over the zero time.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
