package archive

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// SyncRange is what to take over from another mail server by hand.
type SyncRange struct {
	Server   string    // an enode URL, or whatever else the transport can find
	From, To time.Time // when envelopes were sent, both included; a zero To is now
}

// Synced is what came of a SyncRange.
type Synced struct {
	Server    string    `json:"server"`
	From      time.Time `json:"from"`      // as far back as envelopes are kept
	To        time.Time `json:"to"`        // not after now
	Until     time.Time `json:"until"`     // everything from From until then is in the archive
	Pages     int       `json:"pages"`     // that were had
	Envelopes int       `json:"envelopes"` // that came
	Added     int       `json:"added"`     // of them were new, and are durable
	Refused   int       `json:"refused"`   // not wanted, or not as they should be
}

// maxSyncTries is how often in a row a page is asked for, by hand.
const maxSyncTries = 5

// Sync takes over what another mail server has, now, the oldest first. It waits
// while that server is being asked already, and calls report after each page.
//
// If the first page cannot be had it ends with the reason; later ones are tried
// again for some seconds. It returns what was taken over with an error too.
func (a *Archive) Sync(ctx context.Context, r SyncRange, report func(Synced)) (Synced, error) {
	done := Synced{Server: r.Server}
	id, err := sourceID(r.Server)
	if err != nil {
		return done, fmt.Errorf("archive: sync: %w", err)
	}
	now := time.Now()
	if r.To.IsZero() {
		r.To = now
	}
	done.From = later(later(r.From, a.oldest(now)), time.Unix(0, 0)).UTC().Truncate(time.Second)
	done.To = earlier(r.To, now).UTC().Truncate(time.Second)
	done.Until = done.From
	if done.To.Before(done.From) {
		return done, fmt.Errorf("archive: sync: nothing is kept from %v to %v", r.From.UTC().Format(time.RFC3339), r.To.UTC().Format(time.RFC3339))
	}
	err = a.within(ctx, func(ctx context.Context, l *life, s Store) error {
		free, err := l.pages.turn(ctx, id)
		if err != nil {
			return err
		}
		defer free()
		return a.takeOver(ctx, l, s, id, &done, report)
	})
	if err != nil && !errors.Is(err, errNotOpen) {
		err = fmt.Errorf("archive: sync: %w", err)
	}
	return done, err
}

// takeOver walks through a range.
func (a *Archive) takeOver(ctx context.Context, l *life, s Store, id string, done *Synced, report func(Synced)) error {
	for from := done.From; ; from = done.Until {
		w := newWalk(done.Server, from, earlier(from.Add(syncStep), done.To))
		if err := a.insist(ctx, l, w, done, report); err != nil {
			return err
		}
		if err := a.joined(ctx, s, id, w); err != nil {
			return err
		}
		if done.Until = w.to; !w.to.Before(done.To) {
			report(*done)
			return nil
		}
	}
}

// insist walks through a window and tries again what failed, unless nothing has
// succeeded yet.
func (a *Archive) insist(ctx context.Context, l *life, w *walk, done *Synced, report func(Synced)) error {
	for tries, pause := 0, leastSyncPause; ; {
		y, err := a.next(ctx, l, w)
		done.Envelopes += y.came
		done.Added += y.added
		done.Refused += int(y.refused.sum())
		if err == nil {
			tries, pause = 0, leastSyncPause
			done.Pages++
			report(*done)
			if w.over {
				return nil
			}
			continue
		}
		if tries++; ctx.Err() != nil || isLie(err) || done.Pages == 0 || tries >= maxSyncTries {
			return err
		}
		if err := wait(ctx, pause); err != nil {
			return err
		}
		pause *= 2
	}
}

// joined moves the mark of a server that is followed, if what was walked through
// goes on from there.
func (a *Archive) joined(ctx context.Context, s Store, id string, w *walk) error {
	until, has, err := s.Until(ctx, id)
	if err != nil || !has || seconds(w.from) > until || seconds(w.to) <= until {
		return err
	}
	return s.SetUntil(ctx, id, seconds(w.to), seconds(time.Now()))
}
