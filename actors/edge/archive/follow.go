package archive

import (
	"context"
	"time"
)

// Bounds of the pauses before a server is asked again after it failed.
const (
	leastSyncPause = 2 * time.Second
	mostSyncPause  = 15 * time.Minute
)

// maxWalkFailures is after how many failures in a row a window is begun anew: a
// server may not know its cursor any more. With the pauses that is after minutes,
// longer than servers make those wait who ask too often.
const maxWalkFailures = 8

// maxVisit is after how long it is the turn of the next server, at the end of a
// page. One that has much, or is slow on purpose, does not keep the others waiting
// for longer than that and one page.
const maxVisit = 10 * time.Minute

// source is a mail server that is followed.
type source struct {
	n          int // in Archive.sources
	server, id string

	walk     *walk         // that was interrupted
	failures int           // in a row
	pause    time.Duration // after the last of them
	wary     bool          // a window was given up: single pages prove nothing
	due      time.Time     // when to ask it; zero: not again
}

// follow takes over what other mail servers have, one after the other, from when
// the transport is ready.
func (a *Archive) follow(l *life, s Store) {
	sources := make([]*source, len(a.cfg.Sync))
	for i, server := range a.cfg.Sync {
		id, err := enodeID(server)
		if err != nil {
			panic(err) // the configuration is valid
		}
		sources[i] = &source{n: i, server: server, id: id, due: time.Now()}
	}
	select {
	case <-l.pages.up:
	case <-l.ctx.Done():
		return
	}
	for {
		for _, src := range sources {
			if !src.due.IsZero() && !src.due.After(time.Now()) {
				a.visit(l, s, src)
			}
			if l.ctx.Err() != nil {
				return
			}
		}
		if !a.rest(l, sources) {
			return
		}
	}
}

// rest waits until the first source is due, or the transport is ready again. It
// reports whether to go on.
func (a *Archive) rest(l *life, sources []*source) bool {
	var next time.Time
	for _, src := range sources {
		if !src.due.IsZero() && (next.IsZero() || src.due.Before(next)) {
			next = src.due
		}
	}
	var due <-chan time.Time
	if !next.IsZero() {
		t := time.NewTimer(time.Until(next))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-due:
	case <-l.pages.up:
		// What failed may work now, but not if it has been tried just before.
		soon := time.Now().Add(leastSyncPause)
		for _, src := range sources {
			if src.failures > 0 {
				src.due = earlier(src.due, soon)
			}
		}
	case <-l.ctx.Done():
		return false
	}
	return true
}

// visit asks one server for everything that is not here.
func (a *Archive) visit(l *life, s Store, src *source) {
	free, err := l.pages.turn(l.ctx, src.id)
	if err != nil {
		return
	}
	defer free()
	a.state(src, func(t *SourceState) { t.Running, t.Tried, t.Next = true, time.Now(), time.Time{} })
	over, err := a.catchUp(l, s, src)
	err = withoutPassword(err, a.cfg.Database)
	if l.ctx.Err() != nil {
		err = nil // nobody is to blame
	}
	now := time.Now()
	switch {
	case err == nil && !over:
		src.due = now
	case err == nil:
		src.failures, src.pause, src.due = 0, 0, time.Time{}
		if a.cfg.SyncEvery > 0 {
			src.due = now.Add(a.cfg.SyncEvery)
		}
	default:
		src.failures++
		src.pause = min(max(2*src.pause, leastSyncPause), mostSyncPause)
		src.due = now.Add(src.pause)
		if src.failures == 1 && !a.failing(src) {
			a.log.Warn("what another mail server has cannot be taken over now", "server", src.id[:16])
		}
		if isLie(err) || src.failures >= maxWalkFailures {
			src.walk, src.wary, src.failures = nil, true, 1
		}
		// It may quote what the server says.
		a.log.Debug("mail server was not taken over from", "server", src.id[:16], "err", err)
	}
	a.state(src, func(t *SourceState) {
		t.Running, t.Next, t.Fault = false, src.due, ""
		if err != nil {
			t.Fault = cleaned(err.Error())
		}
	})
}

// failing reports whether the last visit to a server failed too.
func (a *Archive) failing(src *source) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sources[src.n].Fault != ""
}

// catchUp walks from the mark of a server to now, or as far as it comes in the
// time of a visit. It reports whether that is over.
func (a *Archive) catchUp(l *life, s Store, src *source) (over bool, err error) {
	begun := time.Now()
	for target := begun.Truncate(time.Second); ; {
		if src.walk == nil {
			w, err := a.window(l.ctx, s, src, target)
			if err != nil || w == nil {
				return true, err
			}
			src.walk = w
		}
		for w := src.walk; !w.over; {
			if time.Since(begun) > maxVisit {
				return false, nil
			}
			y, err := a.next(l.ctx, l, w)
			a.state(src, func(t *SourceState) {
				t.Envelopes += uint64(y.came)
				t.Added += uint64(y.added)
				t.Refused += y.refused.sum()
			})
			if err != nil {
				return true, err
			}
			if !src.wary {
				src.failures, src.pause = 0, 0
			}
		}
		// All of it is durable: so is what says so.
		if err := s.SetUntil(l.ctx, src.id, seconds(src.walk.to), seconds(time.Now().Add(syncTolerance))); err != nil {
			return true, err
		}
		a.state(src, func(t *SourceState) { t.Until = src.walk.to.UTC() })
		src.walk, src.wary, src.failures, src.pause = nil, false, 0, 0
	}
}

// window returns the oldest part of what is not here of a server, or nil if
// everything up to target is.
//
// Each window begins before the mark, by the overlap. No window ends after the
// moment it is first asked for: so an envelope of it that was not there yet came
// to the server after the mark, and is had if it was late by no more than that.
func (a *Archive) window(ctx context.Context, s Store, src *source, target time.Time) (*walk, error) {
	now := time.Now()
	until, has, err := s.Until(ctx, src.id)
	if err != nil {
		return nil, err
	}
	mark := moment(until)
	if !has || mark.After(now.Add(syncTolerance)) { // a clock was wrong
		mark = now.Add(-a.cfg.SyncWindow).Truncate(time.Second)
		if err := s.SetUntil(ctx, src.id, seconds(mark), seconds(now.Add(syncTolerance))); err != nil {
			return nil, err
		}
	}
	a.state(src, func(t *SourceState) { t.Until = mark.UTC() })
	oldest := a.oldest(now)
	if mark = later(mark, oldest); !mark.Before(target) {
		return nil, nil
	}
	to := mark.Add(syncStep)
	if target.Sub(to) < syncStep/2 {
		to = target // a short window would be asked for with the overlap once more
	}
	return newWalk(src.server, later(mark.Add(-a.cfg.SyncOverlap), oldest).Truncate(time.Second), to.Truncate(time.Second)), nil
}

// state changes what is told of a server.
func (a *Archive) state(src *source, f func(*SourceState)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(&a.sources[src.n])
}
