package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/time/rate"

	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/transport"
)

const (
	// askLimit is how long the archive may take for an answer.
	askLimit = 30 * time.Second

	// asksRate is how many questions of the transport's peers are put to the
	// archive per second, of all peers together; the archive bounds what each of
	// them may ask. asksBurst come without a pause.
	asksRate  = 100
	asksBurst = 200

	// answerBytes is how much of an answer is gathered: what fits into a frame. It
	// is less than an answer may have envelopes for, so that what 16 answers take
	// in memory is bounded.
	answerBytes = transport.MaxEnvelope

	// maxShorter is how often a question is put again because the answer was too
	// long. The second answer fits, unless the archive changed in between.
	maxShorter = 3
)

// asks are the questions of the transport's peers that the archive has not
// answered.
type asks struct {
	open    map[uint64]*ask
	calls   int  // of Edge.archive, under way
	serving bool // Serve was called
	pace    *rate.Limiter
}

// ask is an Asked until its last Page.
type ask struct {
	limit     int
	envelopes []transport.Envelope
	size      int // bytes of envelopes
	seen      int // envelopes the archive gave, also those that cannot be carried
	cursor    []byte
	failure   string
	long      bool // more came than fits
	done      chan struct{}
}

// offerHistory lets the transport's peers ask for history, if it can. mu is held.
func (e *Edge) offerHistory() {
	server, ok := e.running.(transport.Server)
	if !ok || !e.info.Abilities.Serve || e.asks.serving {
		return
	}
	e.asks.serving = true
	e.workers.Go(func() {
		var text string
		err := guarded("Serve", func() error {
			err := server.Serve(e.ctx, e.archive)
			if err != nil {
				text = words(err)
			}
			return err
		})
		if e.ctx.Err() != nil {
			return
		}
		if p := (*panicked)(nil); errors.As(err, &p) {
			e.fail(p)
			return
		}
		e.log.Info("the transport serves no history any more", "err", text)
	})
}

// archive is the transport.Archive of the transport. It is called by goroutines
// of the transport.
func (e *Edge) archive(ctx context.Context, a transport.Ask) (transport.Page, error) {
	from, to, err := bounds(a)
	if err != nil || to.Before(from) || !a.Filter.All && len(a.Filter.Topics) == 0 {
		return transport.Page{}, err
	}
	if err := e.admitCall(); err != nil {
		return transport.Page{}, err
	}
	defer e.leaveCall()
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)()
	if e.asks.pace.Wait(ctx) != nil {
		return transport.Page{}, e.givenUp(ctx)
	}
	asked := slot.Asked{
		Peer: e.home.name + ":" + clean(a.Peer), Address: a.Address, From: from, To: to, Limit: a.Limit, Cursor: slices.Clone(a.Cursor),
	}
	if !a.Filter.All {
		for _, t := range a.Filter.Topics {
			asked.Topics = append(asked.Topics, slot.Topic(t))
		}
	}
	for range maxShorter {
		x, err := e.consult(ctx, asked)
		if err != nil {
			return transport.Page{}, err
		}
		if !x.long {
			return x.page()
		}
		asked.Limit = x.seen
	}
	return transport.Page{}, transport.ErrBusy
}

// bounds checks a question and returns its times, both included.
func bounds(a transport.Ask) (from, to time.Time, err error) {
	switch {
	case a.Limit < 1 || a.Limit > transport.MaxBatch:
		err = transport.Invalid("limit", "%d is not 1 to %d", a.Limit, transport.MaxBatch)
	case len(a.Cursor) > transport.MaxText:
		err = transport.Invalid("cursor", "longer than %d bytes", transport.MaxText)
	case len(a.Filter.Topics) > transport.MaxTopics:
		err = transport.Invalid("topics", "%d of them, at most %d are allowed", len(a.Filter.Topics), transport.MaxTopics)
	}
	// What was sent before To was sent in the second before it at the latest.
	return floor(a.From.Add(time.Second - 1)), time.Unix(max(a.To.Add(time.Second-1).Unix()-1, -1), 0).UTC(), err
}

// admitCall counts a call of archive, if there may be one more.
func (e *Edge) admitCall() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.over:
		return transport.ErrClosed
	case e.asks.calls >= transport.MaxAsks:
		e.home.count.asksBusy.Add(1)
		return transport.ErrBusy
	}
	e.asks.calls++
	return nil
}

func (e *Edge) leaveCall() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asks.calls--
}

// givenUp says why an answer is not waited for.
func (e *Edge) givenUp(ctx context.Context) error {
	switch {
	case e.ctx.Err() != nil:
		return transport.ErrClosed
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	}
	e.home.count.asksBusy.Add(1)
	return transport.ErrBusy
}

// consult puts one question to the archive and waits for the answer.
func (e *Edge) consult(ctx context.Context, asked slot.Asked) (*ask, error) {
	x := &ask{limit: asked.Limit, done: make(chan struct{})}
	e.mu.Lock()
	if e.over {
		e.mu.Unlock()
		return nil, transport.ErrClosed
	}
	asked.Ask = e.home.askIDs.next(1)
	e.asks.open[asked.Ask] = x
	e.home.count.asked.Add(1)
	e.up.Send(asked) // needs no credit: MaxAsks bounds them
	e.mu.Unlock()
	select {
	case <-x.done:
		return x, nil
	case <-ctx.Done():
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.asks.open[asked.Ask] != nil && !e.over {
		e.abandon(asked.Ask)
	}
	return nil, e.givenUp(ctx)
}

// abandon says that no more pages are wanted. mu is held.
func (e *Edge) abandon(id uint64) {
	delete(e.asks.open, id)
	e.up.Send(slot.Abandoned{Ask: id})
}

// abandonAsks is abandon of all. mu is held.
func (e *Edge) abandonAsks() {
	for id := range e.asks.open {
		e.abandon(id)
	}
}

// page takes a part of an answer. mu is held.
func (e *Edge) page(c slot.Page) {
	x := e.asks.open[c.Ask]
	if x == nil {
		return // it was abandoned
	}
	for i := range c.Envelopes {
		if x.seen == x.limit {
			break
		}
		if x.long = !x.add(&c.Envelopes[i], &e.info); x.long {
			e.abandon(c.Ask)
			close(x.done)
			return
		}
	}
	if !c.Last {
		e.up.Send(slot.Taken{Ask: c.Ask})
		return
	}
	x.cursor, x.failure = c.Cursor, c.Failure
	delete(e.asks.open, c.Ask)
	close(x.done)
}

// add takes an envelope of the archive, which may have come over another
// transport. It returns false if the answer is full.
func (x *ask) add(in *slot.Envelope, info *transport.Info) bool {
	size := len(in.Data) + costOfEnvelope
	fits := len(in.Data) > 0 && len(in.Data) <= info.MaxData
	if fits && len(x.envelopes) > 0 && x.size+size > answerBytes {
		return false
	}
	x.seen++
	if !fits {
		return true
	}
	x.size += size
	x.envelopes = append(x.envelopes, transport.Envelope{
		Topic: transport.Topic(in.Topic), Data: in.Data, Sent: floor(in.Sent),
		TTL: min(max(in.TTL.Truncate(time.Second), time.Second), info.MaxTTL),
	})
	return true
}

// page returns a whole answer.
func (x *ask) page() (transport.Page, error) {
	switch {
	case x.failure != "":
		return transport.Page{}, &transport.Error{Code: transport.CodeUnavailable, Reason: clean(x.failure)}
	case len(x.cursor) > transport.MaxText:
		return transport.Page{}, &transport.Error{Code: transport.CodeUnavailable, Reason: fmt.Sprintf("the cursor of the archive has %d bytes", len(x.cursor))}
	}
	slices.SortStableFunc(x.envelopes, func(a, b transport.Envelope) int { return cmp.Compare(a.Sent.Unix(), b.Sent.Unix()) })
	p := transport.Page{Envelopes: x.envelopes}
	if len(x.cursor) > 0 {
		p.Cursor = x.cursor
	}
	return p, nil
}
