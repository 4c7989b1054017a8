package mail

import (
	"fmt"
	"slices"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// wakeQueries ends or repeats what has waited long enough.
func (p *Post) wakeQueries(now time.Time, o *Out) {
	for _, s := range slices.Clone(p.servers) {
		p.run(now, s, o)
		for _, q := range slices.Clone(s.queue) {
			switch {
			case q.due.IsZero() || now.Before(q.due):
			case !q.running() && s.link != nil && !now.Before(s.link.late):
				q.due = time.Time{} // it waits for its turn only
			case !q.running() && s.link != nil:
				p.finish(now, q, transport.QueryTimeout, nil, fmt.Sprintf("the answer to an earlier sync has not ended within %v", maxQuarantine), o)
			case !q.running():
				p.finish(now, q, transport.QueryNobody, nil, fmt.Sprintf("no link to the server within %v", p.cfg.Timeout), o)
			case !q.heard && s.works == nil && len(q.forms) > 1:
				q.forms = q.forms[1:]
				p.attempt(now, q, o)
			case !now.Before(q.end):
				p.finish(now, q, transport.QueryTimeout, nil, fmt.Sprintf("no end within %v", stretch*p.cfg.Timeout), o)
			default:
				p.finish(now, q, transport.QueryTimeout, nil, fmt.Sprintf("silent for %v", p.cfg.Timeout), o)
			}
		}
	}
}

// nextTimeout returns when wakeQueries has something to do; zero: never.
func (p *Post) nextTimeout() (next time.Time) {
	for _, s := range p.servers {
		for _, q := range s.queue {
			next = earlier(q.due, next)
		}
		if s.link != nil && len(s.queue) > 0 && !s.queue[0].running() {
			next = earlier(s.link.late, next)
		}
	}
	return next
}

// earlier returns the earlier of two times; a zero one does not count.
func earlier(a, b time.Time) time.Time {
	if b.IsZero() || !a.IsZero() && a.Before(b) {
		return a
	}
	return b
}
