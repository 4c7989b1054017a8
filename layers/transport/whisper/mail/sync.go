package mail

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

// Packets 124 have no id, so that those of an answer are told from those of the
// next only by their order. At one server one sync runs at a time; and one that
// has ended early, by a Cancel, a timeout or too many envelopes, keeps the next
// waiting until its answer has ended too, or has been silent for so long that
// none is to be expected. Other queries, whose answers have ids, do not wait.
//
// A server that answers after a longer silence can end the next sync in the place
// of its own answer, with a cursor that leads elsewhere. It cannot bring what was
// not asked for then: every envelope is judged by the sync that runs.
const (
	// quarantine is how long the rest of an answer may be silent. A Strata server
	// never is for longer than its request may wait (half a minute) and its archive
	// may take for a page (a minute), the deployed ones not for longer than a packet
	// may take them to write (a minute).
	quarantine = 2 * time.Minute

	// maxQuarantine is how long a sync waits for the end of another in any case. A
	// server that drips for longer does not get rid of the former one.
	maxQuarantine = 2 * quarantine
)

// next returns the place in the queue of the query to begin with, or -1 if all
// that wait are syncs and the answer to an earlier one has not ended.
func (s *server) next(now time.Time) int {
	late := now.Before(s.link.late)
	return slices.IndexFunc(s.queue, func(q *query) bool { return !q.Sync || !late })
}

// detain bounds the time that the queue waits, all of which are syncs.
func (s *server) detain(now time.Time) {
	for _, q := range s.queue {
		if q.due.IsZero() {
			q.due = now.Add(maxQuarantine)
		}
	}
}

// takeSyncResponse passes on what was asked for of an archive, and ends the query
// with the answer.
func (p *Post) takeSyncResponse(now time.Time, l *link, m SyncResponse, o *Out) {
	q := p.current(l.peer.Peer)
	if q == nil || !q.Sync {
		p.takeLate(now, l, m, o)
		return
	}
	p.hear(now, q, len(m.Envelopes))
	var wanted []transport.Envelope
	for _, e := range m.Envelopes {
		if fault := p.judge(now, q, e); fault != nil {
			*fault++
			continue
		}
		q.seen[e.Hash] = true
		wanted = append(wanted, e)
	}
	p.pass(q, wanted, o)
	q.over = m.Final || m.Error != ""
	switch {
	case m.Error != "":
		p.finish(now, q, transport.QueryRefused, nil, syncReason(m.Error), o)
	case m.Final && len(m.Cursor) != 0 && len(m.Cursor) != cursorSize:
		p.finish(now, q, transport.QueryRefused, nil, fmt.Sprintf("the server has a cursor of %d bytes, want %d", len(m.Cursor), cursorSize), o)
	case m.Final:
		p.finish(now, q, transport.QueryDone, q.advanced(m.Cursor), "", o)
	case q.budget < 0:
		p.finish(now, q, transport.QueryRefused, nil, errTooMuch, o)
	}
}

// takeLate takes what nobody asked for or nobody waits for any more.
func (p *Post) takeLate(now time.Time, l *link, m SyncResponse, o *Out) {
	p.stats.Unasked++
	switch {
	case l.late.IsZero():
	case m.Final || m.Error != "":
		l.late = time.Time{}
		if s := p.server(l.peer.Peer); s != nil {
			p.run(now, s, o)
		}
	default:
		l.late = now.Add(quarantine)
	}
}

// judge returns the count that an envelope adds to because it is refused, or nil.
// The deployed servers archive whatever another one sends them. Here it has to
// be what was asked for, and what the relay would have taken in when it was
// young.
func (p *Post) judge(now time.Time, q *query, e transport.Envelope) *uint64 {
	switch {
	case q.accidental(e.Topic):
		return &p.stats.Accidental
	case q.outside(e.Sent):
		return &p.stats.Outside
	case q.seen[e.Hash]:
		return &p.stats.Repeated
	case e.Sent.After(now.Add(p.settings.Skew)):
		return &p.stats.Future
	case e.TTL <= 0 || e.TTL > p.settings.MaxTTL:
		return &p.stats.BadTTL
	case len(e.Raw) > p.settings.MaxMessage:
		return &p.stats.Huge
	case e.PoW < p.settings.MinPoW:
		return &p.stats.LowPoW
	}
	return nil
}

// syncReason returns the text of a failed sync as it can be shown. That there
// were too many requests it says in the words of packet 125.
func syncReason(text string) string {
	if strings.Contains(strings.ToLower(text), "limit exceeded") {
		return errLimit.Error()
	}
	return clean(text)
}

// putSync makes packet 123 of a query.
func (q *query) putSync(limit uint32) overlay.Outgoing {
	return SyncRequest{Lower: q.from, Upper: q.to, Bloom: q.bloom, Limit: limit, Cursor: q.Cursor}.Encode()
}
