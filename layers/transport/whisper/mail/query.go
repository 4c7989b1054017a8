package mail

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

const (
	// maxQueries bounds the queries at one server, the running one among them.
	maxQueries = 64

	// pageLimit is what a query without a limit asks for. It is what the deployed
	// clients ask for: their servers gather a whole page, and scan until they have
	// it, before the first envelope goes out, so that a long one looks like silence.
	// A Strata server sends what it finds and is asked for the longest page.
	pageLimit = 100

	// maxDelivered bounds the envelopes and packets that are taken for one query: a
	// page, and as much of an earlier answer that comes late.
	maxDelivered = 2 * transport.MaxPage

	// stretch is for how many timeouts a query may last whose server is never
	// silent for one.
	stretch = 60

	// lastSecond is the latest end that servers are asked for, in unix seconds: the
	// deployed ones add one to it, and find nothing before the second 0.
	lastSecond = math.MaxUint32 - 1
)

// query is a Query that is not answered yet.
type query struct {
	transport.Query
	from, to uint32
	topics   map[transport.Topic]bool
	bloom    bloom
	named    bool // the caller has named the server
	server   *server
	over     bool // the answer to a sync has ended

	forms    []form // still to be tried; the first is being tried
	attempts []attempt
	end, due time.Time // when it ends in any case, and if nothing comes
	heard    bool      // something came
	count    int       // envelopes that were passed on
	budget   int       // of envelopes and packets that may still come
	seen     map[transport.Hash]bool
}

// attempt is a request that was sent for a query.
type attempt struct {
	id   transport.Hash
	form form
}

func (q *query) running() bool { return len(q.attempts) > 0 }

// Query asks a server for a page. A Query that is unanswered already changes
// nothing.
func (p *Post) Query(now time.Time, c transport.Query) Out {
	var o Out
	if p.query(c.Ref) != nil {
		return o
	}
	q, err := newQuery(now, c)
	if err != nil {
		q.answer(transport.QueryRefused, nil, err.Error(), &o)
		return o
	}
	if !q.named {
		p.place(now, q, p.best(), &o)
		return p.settled(o)
	}
	s, err := p.find(c.Server)
	if err != nil {
		q.answer(transport.QueryNobody, nil, err.Error(), &o)
		return o
	}
	p.place(now, q, s, &o)
	return p.settled(o)
}

// newQuery checks a query. It returns one with an error too, to be answered.
func newQuery(now time.Time, c transport.Query) (*query, error) {
	q := &query{Query: c, named: c.Server != "", from: seconds(c.From), to: seconds(c.To)}
	if c.To.IsZero() {
		q.to = seconds(now)
	}
	q.to = min(q.to, lastSecond)
	switch {
	case c.Sync && !q.named:
		return q, errors.New("mail: server: a sync needs one")
	case c.Limit < 0 || c.Limit > transport.MaxPage:
		return q, fmt.Errorf("mail: limit: %d is not within 0 and %d", c.Limit, transport.MaxPage)
	case len(c.Cursor) != 0 && len(c.Cursor) != cursorSize:
		return q, fmt.Errorf("mail: cursor: %d bytes, want %d", len(c.Cursor), cursorSize)
	case q.from > q.to || c.From.Unix() > math.MaxUint32:
		return q, fmt.Errorf("mail: from: %v is after to", c.From.UTC())
	}
	q.bloom = bloomOf(c.Topics)
	q.topics = make(map[transport.Topic]bool, len(c.Topics))
	for _, t := range c.Topics {
		q.topics[t] = true
	}
	q.seen = map[transport.Hash]bool{}
	q.budget = maxDelivered
	return q, nil
}

// place puts a query into the queue of a server; nil is nobody.
func (p *Post) place(now time.Time, q *query, s *server, o *Out) {
	switch {
	case s == nil:
		q.answer(transport.QueryNobody, nil, "no mail server is linked", o)
		return
	case s.link == nil && s.url == "":
		q.answer(transport.QueryNobody, nil, "the server is not linked", o)
		return
	}
	q.server = s
	if len(s.queue) >= maxQueries {
		q.answer(transport.QueryRefused, nil, fmt.Sprintf("%d queries wait for this server already", maxQueries), o)
		return
	}
	s.queue = append(s.queue, q)
	if s.link != nil {
		p.run(now, s, o)
		return
	}
	q.due = now.Add(p.cfg.Timeout)
	if !s.kept {
		s.kept = true
		p.keepLink(s, o)
	}
}

// query returns the unanswered query with this Ref, or nil.
func (p *Post) query(ref layers.Ref) *query {
	for _, s := range p.servers {
		for _, q := range s.queue {
			if q.Ref == ref {
				return q
			}
		}
	}
	return nil
}

// Cancel ends a query early.
func (p *Post) Cancel(now time.Time, c transport.Cancel) Out {
	var o Out
	if q := p.query(c.Ref); q != nil {
		p.finish(now, q, transport.QueryCancelled, nil, "cancelled", &o)
	}
	return p.settled(o)
}

// finish ends a query, and begins with the next at its server.
func (p *Post) finish(now time.Time, q *query, end transport.QueryEnd, cursor []byte, reason string, o *Out) {
	s := q.server
	i := slices.Index(s.queue, q)
	s.queue = slices.Delete(s.queue, i, i+1)
	switch {
	case q.Sync: // says nothing about how a server answers clients
		if q.running() && !q.over {
			s.link.late = now.Add(quarantine)
		}
	case end == transport.QueryDone:
		p.turn++
		s.won = p.turn
		p.changed = true
	case end == transport.QueryTimeout:
		p.turn++
		s.lost = p.turn
	}
	q.answer(end, cursor, reason, o)
	p.run(now, s, o)
}

func (q *query) answer(end transport.QueryEnd, cursor []byte, reason string, o *Out) {
	e := transport.Queried{Ref: q.Ref, Count: q.count, Cursor: cursor, End: end, Reason: reason}
	if q.server != nil {
		e.Server = q.server.name()
	}
	o.Up = append(o.Up, e)
}

// run begins with the first query at a server that may begin, unless one runs.
func (p *Post) run(now time.Time, s *server, o *Out) {
	if s.link == nil || len(s.queue) == 0 || s.queue[0].running() {
		return
	}
	i := s.next(now)
	if i < 0 {
		s.detain(now)
		return
	}
	q := s.queue[i]
	s.queue = slices.Insert(slices.Delete(s.queue, i, i+1), 0, q)
	q.forms = p.forms(s)
	if q.Sync {
		q.forms = []form{{layout: layoutSync}}
		s.link.late = time.Time{}
	}
	q.end = now.Add(stretch * p.cfg.Timeout)
	p.attempt(now, q, o)
}

// attempt sends the request in the first of the remaining forms that can be made.
func (p *Post) attempt(now time.Time, q *query, o *Out) {
	for ; len(q.forms) > 0; q.forms = q.forms[1:] {
		packet, id, err := p.put(now, q, q.forms[0])
		if err != nil {
			continue // the plain form is always left
		}
		q.attempts = append(q.attempts, attempt{id, q.forms[0]})
		q.due = now.Add(p.cfg.Timeout)
		o.Packets = append(o.Packets, Addressed{Peer: q.server.id, Packet: packet})
		return
	}
}

// put makes the request of a query. Its id will be in the answer.
func (p *Post) put(now time.Time, q *query, f form) (packet overlay.Outgoing, id transport.Hash, err error) {
	strata := isStrata(q.server.link.peer.Name)
	r := request{layout: f.layout, from: q.from, to: q.to, bloom: q.bloom, limit: uint32(q.Limit), cursor: q.Cursor, batch: true}
	switch {
	case r.limit == 0 && strata:
		r.limit = transport.MaxPage
	case r.limit == 0:
		r.limit = pageLimit
	}
	switch f.layout {
	case layoutSync:
		return q.putSync(r.limit), id, nil
	case layoutPlain:
		id = p.draw()
		plain := PlainRequest{ID: id, From: r.from, To: r.to, Limit: r.limit, Cursor: r.cursor, Bloom: r.bloom}
		return plain.Encode(), id, nil
	}
	if strata && len(q.Topics) <= maxTopics {
		r.topics = q.Topics
	}
	var key layers.PublicKey
	if f.toKey {
		key = q.server.key
	}
	data, err := p.sealer.Seal(key, r.encode())
	if err != nil {
		return packet, id, err
	}
	raw, id, err := p.settings.Make(now, transport.Topic{}, data)
	return overlay.Outgoing{Code: CodeRequest, Payload: raw}, id, err
}
