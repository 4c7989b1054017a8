package transport

import (
	"context"
	"errors"
	"io"
	"sync"

	"golang.org/x/time/rate"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

const (
	// asksRate is how many Asks, and cancellations of them, are read per second;
	// the rest waits in the stream. asksBurst are read without a pause.
	asksRate  = 1000
	asksBurst = 2000
)

// Serve implements Server: it answers the plugin out of archive until ctx is
// done, the plugin has had enough, which is no error, or the Remote breaks. It
// returns ErrUnsupported if the plugin did not declare the ability.
//
// A plugin that asks without end has MaxAsks calls of archive under way, and what
// it asks beyond asksRate waits outside of the node.
func (r *Remote) Serve(ctx context.Context, archive Archive) error {
	if !r.Info().Abilities.Serve {
		return r.unsupported("Serve")
	}
	if err := r.usable(); err != nil {
		return err
	}
	d := &desk{remote: r, archive: archive, open: make(map[uint64]context.CancelFunc)}
	defer d.work.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(r.ctx, cancel)
	defer stop()
	stream, err := r.client.Serve(ctx, r.options...)
	if err == nil {
		d.stream = stream
		err = d.read(ctx)
	}
	breach := (*Breach)(nil)
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case errors.As(err, &breach):
		return r.fail(err)
	case ctx.Err() != nil && r.Err() == nil:
		return ctx.Err()
	}
	return r.failed(ctx, "Serve", err)
}

// desk is one Serve.
type desk struct {
	remote  *Remote
	archive Archive
	stream  transportpb.Transport_ServeClient
	work    sync.WaitGroup
	sending sync.Mutex

	mu   sync.Mutex
	open map[uint64]context.CancelFunc // by id: asked and not answered
}

// read takes what the plugin asks. A *Breach says that it broke a rule.
func (d *desk) read(ctx context.Context) error {
	pace := rate.NewLimiter(asksRate, asksBurst)
	for {
		w, err := d.stream.Recv()
		if err == nil {
			err = pace.Wait(ctx)
		}
		if err == nil {
			err = d.take(ctx, w)
		}
		if err != nil {
			return err
		}
	}
}

func (d *desk) take(ctx context.Context, w *transportpb.Ask) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	cancel, known := d.open[w.Id]
	if w.Cancel {
		if known { // else the answer has crossed it
			cancel()
		}
		return nil
	}
	q, err := fromQuery(w.Query)
	switch {
	case known:
		return breach(RuleAskLimit, "%d is asked already", w.Id)
	case len(d.open) >= MaxAsks:
		return breach(RuleAskLimit, "more than %d at once", MaxAsks)
	case err != nil:
		return breach(RuleAskLimit, "%v", err)
	}
	ask := Ask{Query: q, Peer: d.remote.clean(w.Peer, MaxText), Address: fromAddress(w.Address)}
	ctx, cancel = d.remote.asking(ctx)
	d.open[w.Id] = cancel
	d.work.Go(func() {
		defer cancel()
		d.answer(ctx, w.Id, ask)
	})
	return nil
}

// asking returns the context of one call of archive.
func (r *Remote) asking(ctx context.Context) (context.Context, context.CancelFunc) {
	if r.NoTimeouts {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, r.timeout(QueryTimeout))
}

func (d *desk) answer(ctx context.Context, id uint64, a Ask) {
	page, err := pageThatFits(a.Query, func(q Query) (Page, error) {
		a.Query = q
		return d.archive(ctx, a)
	})
	if err == nil && len(page.Cursor) > MaxText {
		err = &Error{Code: CodeInternal, Reason: "the cursor of the archive is too long"}
	}
	d.mu.Lock()
	delete(d.open, id) // first: the plugin may use the place at once
	d.mu.Unlock()
	d.sending.Lock()
	defer d.sending.Unlock()
	// That the stream has ended is for the reader to find out.
	_ = d.stream.Send(&transportpb.Answer{Id: id, Page: toPage(page, err, d.remote.version)})
}
