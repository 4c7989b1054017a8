package plugin

import (
	"context"
	"fmt"
	"time"

	"github.com/stratanode/strata/layers"
	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/transport"
)

const (
	queryLimit = 30 * time.Second // the contract's

	// maxQueries are under way at a time; as many pages may be in memory.
	maxQueries = 4

	// maxWaiting bounds the queries that wait for their turn.
	maxWaiting = 256
)

// queries are those that are not answered.
type queries struct {
	byRef   map[layers.Ref]*query
	waiting []*query // in the order they came; some are answered
	running int
}

// query is a Query from its arrival until its Queried.
type query struct {
	slot.Query
	ask    transport.Query
	topics set
	ctx    context.Context // ends with the life, and with the answer
	cancel context.CancelFunc
	count  int  // envelopes handed up
	over   bool // it is answered
}

// query takes a command. mu is held.
func (e *Edge) query(c slot.Query) {
	if e.queries.byRef[c.Ref] != nil {
		return
	}
	if end, reason := e.unaskable(c); reason != "" {
		e.up.Send(slot.Queried{Ref: c.Ref, End: end, Reason: e.home.name + ": " + reason})
		return
	}
	q := &query{Query: c, topics: set{all: len(c.Topics) == 0, topics: make(map[transport.Topic]struct{}, len(c.Topics))}}
	q.ask = transport.Query{From: floor(c.From), To: floor(c.To).Add(time.Second), Limit: c.Limit, Cursor: c.Cursor}
	if c.To.IsZero() {
		q.ask.To = floor(time.Now().Add(skew)).Add(time.Second)
	}
	if c.Limit <= 0 || c.Limit > transport.MaxBatch {
		q.ask.Limit = transport.MaxBatch
	}
	for _, t := range c.Topics {
		q.topics.topics[transport.Topic(t)] = struct{}{}
	}
	q.ask.Filter.All = q.topics.all || len(q.topics.topics) > transport.MaxTopics // the rest is dropped here
	if !q.ask.Filter.All {
		for t := range q.topics.topics {
			q.ask.Filter.Topics = append(q.ask.Filter.Topics, t)
		}
	}
	q.ctx, q.cancel = context.WithCancel(e.ctx)
	e.queries.byRef[c.Ref] = q
	e.queries.waiting = append(e.queries.waiting, q)
	e.nextQuery()
}

// unaskable returns why a query is not put to the transport. mu is held.
func (e *Edge) unaskable(c slot.Query) (slot.QueryEnd, string) {
	switch {
	case !e.canQuery():
		return slot.QueryNobody, "the transport cannot ask for history"
	case c.Server != "" && c.Server != e.home.name:
		return slot.QueryNobody, fmt.Sprintf("there is no archive %q", clean(c.Server))
	case len(c.Cursor) > transport.MaxText:
		return slot.QueryRefused, fmt.Sprintf("a cursor of %d bytes is longer than %d", len(c.Cursor), transport.MaxText)
	case !c.To.IsZero() && c.To.Before(c.From):
		return slot.QueryRefused, "it begins after it ends"
	case len(e.queries.byRef) >= maxQueries+maxWaiting:
		return slot.QueryRefused, fmt.Sprintf("%d queries are unanswered already", len(e.queries.byRef))
	}
	return 0, ""
}

// canQuery reports whether the transport can be asked for history.
func (e *Edge) canQuery() bool {
	_, ok := e.running.(transport.Querier)
	return ok && e.info.Abilities.Query
}

// floor returns the second that t is in, from 1970 on.
func floor(t time.Time) time.Time { return time.Unix(max(t.Unix(), 0), 0).UTC() }

// nextQuery lets those run that may. mu is held.
func (e *Edge) nextQuery() {
	s := &e.queries
	for s.running < maxQueries && len(s.waiting) > 0 {
		q := s.waiting[0]
		s.waiting[0], s.waiting = nil, s.waiting[1:]
		if !q.over {
			s.running++
			e.workers.Go(func() { e.runQuery(q) })
		}
	}
}

// runQuery puts a query to the transport and hands up what comes.
func (e *Edge) runQuery(q *query) {
	end := e.fetch(q)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queries.running--
	if e.over {
		return // it was answered with all others
	}
	e.queried(q, end)
	e.nextQuery()
}

func (e *Edge) fetch(q *query) slot.Queried {
	var (
		page transport.Page
		bad  *transport.Error
	)
	err := e.call("Query", queryLimit, func(ctx context.Context) (err error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(q.ctx, cancel)()
		page, err = e.running.(transport.Querier).Query(ctx, q.ask)
		if bad = typedError(err); bad != nil && bad.Code == untyped {
			bad.Code = transport.CodeInternal
		}
		if bad == nil && len(page.Cursor) > transport.MaxText {
			bad = &transport.Error{Reason: fmt.Sprintf("a cursor of %d bytes", len(page.Cursor))}
		}
		return nil
	})
	switch {
	case err != nil || q.ctx.Err() != nil:
		return slot.Queried{} // it is answered
	case bad != nil && isBroken(e.running):
		e.fail(fmt.Errorf("Query: %w", bad))
		return slot.Queried{}
	case bad != nil:
		return slot.Queried{Server: e.home.name, End: endOf(bad), Reason: e.home.name + ": " + bad.Error()}
	}
	e.handHistory(q, page.Envelopes)
	return slot.Queried{Server: e.home.name, Cursor: page.Cursor}
}

// endOf says what an error of the transport means for a query.
func endOf(bad *transport.Error) slot.QueryEnd {
	switch bad.Code {
	case transport.CodeUnavailable:
		return slot.QueryNobody
	case transport.CodeClosed:
		return slot.QueryGone
	}
	return slot.QueryRefused
}

// handHistory checks what came and hands it up, in bundles, as there is room and
// as long as the query is wanted.
func (e *Edge) handHistory(q *query, all []transport.Envelope) {
	now := time.Now()
	if beyond := len(all) - q.ask.Limit; beyond > 0 {
		e.home.count.drops[dropBeyond].Add(uint64(beyond))
		all = all[:q.ask.Limit]
	}
	most := min(int64(bundleBytes), int64(e.cfg.InFlight)/2)
	var bundle []slot.Envelope
	var weight int64
	for i := range all {
		in := &all[i]
		why := e.form(now, in)
		if why == drops && (!q.topics.has(in.Topic) || in.Sent.Before(q.ask.From) || !in.Sent.Before(q.ask.To)) {
			why = dropUnasked
		}
		if why != drops {
			e.home.count.drops[why].Add(1)
			continue
		}
		w := int64(len(in.Data) + costOfEnvelope)
		if len(bundle) > 0 && weight+w > most {
			e.history(q, bundle, weight)
			bundle, weight = nil, 0
		}
		topic := slot.Topic(in.Topic)
		bundle = append(bundle, slot.Envelope{
			Hash: hashOf(topic, in.Data), Topic: topic, Data: in.Data, Sent: in.Sent.UTC(), TTL: in.TTL,
		})
		weight += w
	}
	e.history(q, bundle, weight)
}

// history hands up one bundle when there is room for it.
func (e *Edge) history(q *query, bundle []slot.Envelope, weight int64) {
	if len(bundle) == 0 {
		return
	}
	credit, err := e.home.flight.Take(q.ctx, weight)
	if err != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if q.over || e.over {
		credit.Return()
		return
	}
	q.count += len(bundle)
	e.home.count.fetched.Add(uint64(len(bundle)))
	e.up.SendCredited(slot.History{Ref: q.Ref, Server: e.home.name, Envelopes: bundle}, credit)
}

// cancelQuery answers a query early. mu is held.
func (e *Edge) cancelQuery(ref layers.Ref) {
	if q := e.queries.byRef[ref]; q != nil {
		e.queried(q, slot.Queried{End: slot.QueryCancelled, Reason: "cancelled"})
	}
}

// queried answers a query unless it is answered. mu is held.
func (e *Edge) queried(q *query, end slot.Queried) {
	if q.over {
		return
	}
	q.over = true
	q.cancel()
	delete(e.queries.byRef, q.Ref)
	end.Ref, end.Count = q.Ref, q.count
	e.home.count.queried[min(end.End, slot.QueryCancelled)].Add(1)
	e.up.Send(end)
}

// abandonQueries answers all queries because the transport broke. mu is held.
func (e *Edge) abandonQueries() {
	for _, q := range e.queries.byRef {
		e.queried(q, slot.Queried{Server: e.home.name, End: slot.QueryGone, Reason: e.home.name + ": the transport broke"})
	}
}
