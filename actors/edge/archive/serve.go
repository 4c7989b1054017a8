package archive

import (
	"context"
	"fmt"
	"time"

	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
)

// Bounds of one Page, so that neither side holds much.
const (
	pageEnvelopes = 200
	pageBytes     = 256 << 10
)

const (
	// searchTimeout is how long one search may take. The rows it may read take a
	// second; more means that the database is in trouble.
	searchTimeout = 20 * time.Second

	// takenTimeout is how long a page may remain untaken. The transport knows
	// better when a peer is gone; this is for a transport that is.
	takenTimeout = 5 * time.Minute
)

// What a peer is told.
const (
	failureRate        = "rate limit exceeded"
	failureUnavailable = "archive is not available"
	failureTimeout     = "timed out"
)

// ask begins a request, or refuses it.
func (a *Archive) ask(l *life, on side, e transport.Asked) {
	a.count(func(c *Counts) { c.Asks++ })
	id := askID{on, e.Ask}
	if err := a.check(e); err != nil {
		a.refuse(id, func(r *Refusals) { r.Invalid++ }, err.Error())
		return
	}
	a.mu.Lock()
	down := l.store == nil && a.fault != "" // while it is only being opened, requests wait
	a.mu.Unlock()
	switch {
	case down:
		a.refuse(id, func(r *Refusals) { r.Unavailable++ }, failureUnavailable)
	case !a.limits.allow(time.Now(), e.Peer, e.Address):
		a.refuse(id, func(r *Refusals) { r.Rate++ }, failureRate)
	case !l.desk.open(l.ctx, id, e):
		a.refuse(id, func(r *Refusals) { r.Busy++ }, failureRate)
	}
}

// check refuses what cannot be answered.
func (a *Archive) check(e transport.Asked) error {
	switch {
	case e.From.After(e.To):
		return fmt.Errorf("query range is invalid: from %d is after to %d", e.From.Unix(), e.To.Unix())
	case a.cfg.MaxWindow > 0 && e.To.Sub(e.From) > a.cfg.MaxWindow:
		return fmt.Errorf("query range is longer than %v", a.cfg.MaxWindow)
	case e.Limit < 1 || e.Limit > transport.MaxPage:
		return fmt.Errorf("limit %d is not within 1 and %d", e.Limit, transport.MaxPage)
	case len(e.Cursor) != 0 && len(e.Cursor) != len(Key{}):
		return fmt.Errorf("cursor has %d bytes, not %d", len(e.Cursor), len(Key{}))
	}
	return nil
}

func (a *Archive) refuse(id askID, why func(*Refusals), text string) {
	a.count(func(c *Counts) { why(&c.Refused) })
	a.send[id.on](transport.Page{Ask: id.ask, Last: true, Failure: text})
}

// work is one of the goroutines that answer.
func (a *Archive) work(l *life, store Store) {
	for {
		select {
		case q := <-l.desk.jobs:
			if q.ctx.Err() == nil {
				a.answer(l, store, q)
			}
		case <-l.ctx.Done():
			return
		}
	}
}

// answer sends the next page of a request.
func (a *Archive) answer(l *life, s Store, q *ask) {
	page, last, err := a.page(s, q)
	switch {
	case q.ctx.Err() != nil:
		return // abandoned
	case err != nil:
		a.log.Debug("request was not answered", "err", withoutPassword(err, a.cfg.Database))
		if l.desk.close(q) {
			a.refuse(q.id, func(r *Refusals) { r.Unavailable++ }, failureUnavailable)
		}
		return
	case last:
		page.Last = true
		if q.next != nil {
			page.Cursor = q.next[:]
		}
		if !l.desk.close(q) {
			return
		}
	case !l.desk.pause(q, time.Now()):
		return
	}
	a.count(func(c *Counts) {
		c.Pages++
		c.Served += uint64(len(page.Envelopes))
	})
	a.send[q.id.on](page)
}

// page searches, if that has not been done, and fetches one page.
func (a *Archive) page(s Store, q *ask) (page transport.Page, last bool, err error) {
	ctx, cancel := context.WithTimeout(q.ctx, searchTimeout)
	defer cancel()
	page.Ask = q.id.ask
	if !q.searched {
		if err := a.search(ctx, s, q); err != nil {
			return page, false, err
		}
	}
	for len(q.keys) > 0 && len(page.Envelopes) == 0 {
		rows, used, err := s.Fetch(ctx, q.keys[:min(len(q.keys), pageEnvelopes)], pageBytes)
		if err != nil {
			return page, false, err
		}
		q.keys = q.keys[used:]
		for i := range rows {
			e, err := rows[i].envelope()
			if err != nil {
				a.count(func(c *Counts) { c.Faulty++ })
				continue // Verify tells which
			}
			page.Envelopes = append(page.Envelopes, e)
		}
	}
	return page, len(q.keys) == 0, nil
}

func (a *Archive) search(ctx context.Context, s Store, q *ask) error {
	e := &q.asked
	w := Search{From: seconds(e.From), To: seconds(e.To), Topics: e.Topics, Bloom: (*whisper.Bloom)(e.Bloom), Limit: e.Limit, Budget: a.cfg.BurstRows}
	if len(e.Cursor) > 0 {
		k := Key(e.Cursor)
		w.Before = &k
	}
	found, err := s.Search(ctx, w)
	// What is fetched is paid for at once: it is not known who takes it.
	a.limits.pay(time.Now(), e.Peer, e.Address, found.Scanned+2*len(found.Keys)+1)
	a.count(func(c *Counts) { c.Scanned += uint64(found.Scanned) })
	q.searched, q.keys, q.next = err == nil, found.Keys, found.Next
	return err
}

// expire ends the requests whose pages are not taken.
func (a *Archive) expire(l *life, now time.Time) {
	for _, q := range l.desk.stale(now.Add(-takenTimeout)) {
		if l.desk.close(q) {
			a.refuse(q.id, func(r *Refusals) { r.Untaken++ }, failureTimeout)
		}
	}
}
