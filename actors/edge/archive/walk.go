package archive

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/stratanode/strata/layers/transport"
)

const (
	// syncPage is how many envelopes a page has, if none had to be shortened.
	// Deployed servers gather a whole page before they send any of it.
	syncPage = 250

	// syncStep is how much time is walked through at once. Only at its end it is
	// noted that everything of it is here, because a server may begin with the
	// newest.
	syncStep = 6 * time.Hour

	// maxSyncWindow is the longest time that is asked for: deployed servers
	// refuse longer ones.
	maxSyncWindow = 24 * time.Hour

	// maxSyncPages bounds the pages of one step: 16 million envelopes.
	maxSyncPages = 1 << 16

	// maxEmptyPages bounds pages in a row that have no envelopes but a cursor. A
	// server that bounds what it reads may send some.
	maxEmptyPages = 64

	// maxShortPages bounds how often in a row a page is asked for again for want
	// of room.
	maxShortPages = 16
)

// walk is the way through a window of time at another mail server, page by page.
// It may be interrupted after each.
type walk struct {
	server   string
	from, to time.Time // to the second, both included

	cursor []byte               // of the next page; empty: the first
	seen   map[[8]byte]struct{} // hashes of the cursors so far
	limit  int                  // of the next page
	empty  int                  // pages in a row
	short  int                  // pages in a row
	over   bool
}

func newWalk(server string, from, to time.Time) *walk {
	return &walk{server: server, from: from, to: to, seen: map[[8]byte]struct{}{}, limit: syncPage}
}

// syncFault is why a page was not had.
type syncFault struct {
	end   transport.QueryEnd
	lies  bool // what came makes no sense: it is of no use to go on from there
	cause string
}

// Error implements error. What the server has said itself is made printable.
func (f *syncFault) Error() string {
	switch {
	case f.lies:
		return "the server " + f.cause
	case f.end == transport.QueryNobody:
		return "the server cannot be reached: " + cleaned(f.cause)
	case f.end == transport.QueryGone:
		return "the link to the server ended: " + cleaned(f.cause)
	case f.end == transport.QueryTimeout:
		return "the server does not answer: " + cleaned(f.cause)
	case f.end == transport.QueryRefused:
		return "the server refuses: " + cleaned(f.cause)
	}
	return "interrupted: " + cleaned(f.cause)
}

// maxCause is how many characters of a reason are told.
const maxCause = 200

// cleaned returns a text of somebody else in a form that can be shown.
func cleaned(text string) string {
	var b strings.Builder
	n := 0
	for _, r := range text {
		if n++; n > maxCause {
			b.WriteString("…")
			break
		}
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			r = '?'
		}
		b.WriteRune(r)
	}
	if n == 0 {
		return "no reason is given"
	}
	return b.String()
}

// next takes the next page over.
func (a *Archive) next(ctx context.Context, l *life, w *walk) (yield, error) {
	y, err := l.pages.fetch(ctx, transport.Query{
		From: w.from, To: w.to, Limit: w.limit, Cursor: w.cursor, Server: w.server, Sync: true,
	}, a.send[near])
	if err != nil {
		a.countPage(y, &syncFault{end: transport.QueryCancelled})
		return y, err
	}
	fault := w.turn(y)
	a.countPage(y, fault)
	if fault != nil {
		return y, fault
	}
	return y, nil
}

// turn goes on to the page after the one that y came of.
func (w *walk) turn(y yield) *syncFault {
	answer := y.answer
	switch {
	case y.refused.Excess > 0:
		return &syncFault{lies: true, cause: "sends more envelopes than a page may have"}
	case answer.End != transport.QueryDone:
		return &syncFault{end: answer.End, cause: answer.Reason}
	case y.short:
		w.limit = max(1, w.limit/2)
		if w.short++; w.short > maxShortPages {
			w.short = 0
			return &syncFault{end: transport.QueryCancelled, cause: "there is no room for a page"}
		}
		return nil // this page again
	}
	w.short = 0
	w.limit = min(2*w.limit, syncPage)
	if len(answer.Cursor) == 0 {
		w.over = true
		return nil
	}
	if w.empty++; y.came > 0 {
		w.empty = 0
	}
	sum := cursorHash(answer.Cursor)
	_, again := w.seen[sum]
	switch {
	case len(answer.Cursor) > transport.MaxCursor:
		return &syncFault{lies: true, cause: fmt.Sprintf("sends a cursor of %d bytes", len(answer.Cursor))}
	case again:
		return &syncFault{lies: true, cause: "repeats a cursor"}
	case w.empty >= maxEmptyPages:
		return &syncFault{lies: true, cause: "sends empty pages without an end"}
	case len(w.seen) >= maxSyncPages:
		return &syncFault{lies: true, cause: "sends pages without an end"}
	}
	w.seen[sum] = struct{}{}
	w.cursor = answer.Cursor
	return nil
}

func cursorHash(b []byte) [8]byte {
	h := sha256.Sum256(b)
	return [8]byte(h[:8])
}

// countPage counts what became of a page.
func (a *Archive) countPage(y yield, fault *syncFault) {
	a.count(func(c *Counts) {
		s := &c.Sync
		s.Envelopes += uint64(y.came)
		s.Added += uint64(y.added)
		s.Duplicates += uint64(y.duplicates)
		s.Refused.add(y.refused)
		switch {
		case fault == nil:
			s.Pages++
		case fault.lies:
			s.Failures.Lies++
		case fault.end == transport.QueryNobody:
			s.Failures.Nobody++
		case fault.end == transport.QueryGone:
			s.Failures.Gone++
		case fault.end == transport.QueryTimeout:
			s.Failures.Timeout++
		case fault.end == transport.QueryRefused:
			s.Failures.Refused++
		default:
			s.Failures.Interrupted++
		}
	})
}

// oldest is from when what is kept may be; zero if everything is.
func (a *Archive) oldest(now time.Time) time.Time {
	if a.cfg.Retention == 0 {
		return time.Time{}
	}
	return now.Add(-a.cfg.Retention)
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// isLie reports whether a server has sent what makes no sense.
func isLie(err error) bool {
	var f *syncFault
	return errors.As(err, &f) && f.lies
}
