package mail

import (
	"bytes"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

const (
	// tolerance is by how much envelopes may be outside of the time asked for.
	tolerance = time.Minute

	// maxReason is how much of a peer's words is passed on, in characters.
	maxReason = 200
)

// current returns the query that a peer is answering, or nil.
func (p *Post) current(peer overlay.PeerID) *query {
	s := p.server(peer)
	if s == nil || s.link == nil || len(s.queue) == 0 || !s.queue[0].running() {
		return nil
	}
	return s.queue[0]
}

// takeDelivery passes on envelopes that were asked for, and of a trusted peer all
// others too.
func (p *Post) takeDelivery(now time.Time, l *link, m Delivery, o *Out) {
	q := p.current(l.peer.Peer)
	if q == nil || q.Sync {
		p.takeUnasked(l, m.Envelopes, o)
		return
	}
	p.hear(now, q, len(m.Envelopes))
	var wanted, others []transport.Envelope
	for _, e := range m.Envelopes {
		switch {
		case q.accidental(e.Topic):
			p.stats.Accidental++
			others = append(others, e)
		case q.outside(e.Sent):
			p.stats.Outside++
			others = append(others, e)
		case q.seen[e.Hash]:
			p.stats.Repeated++
		default:
			q.seen[e.Hash] = true
			wanted = append(wanted, e)
		}
	}
	p.pass(q, wanted, o)
	if l.trusted && len(others) > 0 {
		p.takeUnasked(l, others, o)
	}
	if q.budget < 0 {
		p.finish(now, q, transport.QueryRefused, nil, errTooMuch, o)
	}
}

// errTooMuch is why a server is given up that sends without end.
const errTooMuch = "the server sends more than it was asked for"

// hear notes a packet of so many envelopes that answers a query.
func (p *Post) hear(now time.Time, q *query, envelopes int) {
	q.heard = true
	q.due = earlier(now.Add(p.cfg.Timeout), q.end)
	q.budget -= max(1, envelopes)
}

// pass passes on the envelopes that a query has brought.
func (p *Post) pass(q *query, envelopes []transport.Envelope, o *Out) {
	if len(envelopes) == 0 {
		return
	}
	q.count += len(envelopes)
	p.stats.Fetched += uint64(len(envelopes))
	o.Up = append(o.Up, transport.History{Ref: q.Ref, Server: q.server.name(), Envelopes: envelopes})
}

// accidental says whether a topic is in the bloom only and was not asked for.
func (q *query) accidental(t transport.Topic) bool { return len(q.topics) > 0 && !q.topics[t] }

func (p *Post) takeUnasked(l *link, envelopes []transport.Envelope, o *Out) {
	switch {
	case !l.trusted:
		p.stats.Unasked++
	case len(envelopes) > 0:
		name := l.peer.Peer.String()
		if s := p.server(l.peer.Peer); s != nil {
			name = s.name()
		}
		o.Up = append(o.Up, transport.History{Server: name, Envelopes: envelopes})
	}
}

// outside says whether a time is farther from what was asked for than clocks and
// rounding explain.
func (q *query) outside(sent time.Time) bool {
	return sent.Before(time.Unix(int64(q.from), 0).Add(-tolerance)) ||
		sent.After(time.Unix(int64(q.to), 0).Add(tolerance))
}

// takeComplete ends the query that it belongs to, or tries it in another form.
func (p *Post) takeComplete(now time.Time, l *link, m Complete, o *Out) {
	q := p.current(l.peer.Peer)
	i := -1
	if q != nil && !q.Sync {
		i = slices.IndexFunc(q.attempts, func(a attempt) bool { return a.id == m.Request })
	}
	switch {
	case i < 0:
		p.stats.Unasked++
	case !m.Failed:
		q.server.works = &q.attempts[i].form
		p.finish(now, q, transport.QueryDone, q.advanced(m.Cursor), "", o)
	case i < len(q.attempts)-1:
		// The server has read an earlier form only now. The next one is out.
	default:
		p.refused(now, q, m.Reason, o)
	}
}

// advanced returns the cursor of the next page. With that of this page it would
// be asked for the same one for ever.
func (q *query) advanced(cursor []byte) []byte {
	if bytes.Equal(cursor, q.Cursor) {
		return nil
	}
	return cursor
}

// refused tries another form if the server seems not to have understood.
func (p *Post) refused(now time.Time, q *query, reason string, o *Out) {
	if next := promising(q.forms, reason); len(next) > 0 && q.count == 0 {
		q.forms = next
		p.attempt(now, q, o)
		return
	}
	p.finish(now, q, transport.QueryRefused, nil, clean(reason), o)
}

// promising returns the forms, but for the first, that may be understood after
// an error answer, or none if the request was understood.
func promising(forms []form, reason string) []form {
	tried, rest := forms[0], slices.Clone(forms[1:])
	says := func(texts ...string) bool {
		return slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(strings.ToLower(reason), s) })
	}
	switch {
	case says("pow() is too low", "pow is too low", "wrong signature"):
		return slices.DeleteFunc(rest, func(f form) bool { return f.layout != layoutPlain })
	case says("failed to decrypt", "decryption"):
		return slices.DeleteFunc(rest, func(f form) bool { return f.layout != layoutPlain && f.toKey == tried.toKey })
	case says("from > to", "lower > upper", "undersized", "failed to decode", "rlp:", "query range too big"):
		return rest
	}
	return nil
}

// clean returns what a peer says in a form that can be shown.
func clean(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > maxReason {
			b.WriteString("…")
			break
		}
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}
