package transport

import (
	"context"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

// Serve implements the RPC. It returns when the transport does.
func (s *server) Serve(stream transportpb.Transport_ServeServer) error {
	if err := s.since2("Serve"); err != nil {
		return err
	}
	t, err := ability[Server](s)
	if err != nil {
		return status.Error(codes.FailedPrecondition, Clean(err.Error(), MaxText))
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	select { // a call that the host has ended may take a moment to return
	case s.serving <- struct{}{}:
		defer func() { <-s.serving }()
	case <-ctx.Done():
		return ctx.Err()
	}
	q := &questions{stream: stream, version: s.version, gone: ctx.Done(), open: make(map[uint64]chan *transportpb.QueryReply)}
	go func() {
		defer cancel()
		q.read() // ends with the stream
	}()
	if err := t.Serve(ctx, q.ask); err != nil && ctx.Err() == nil {
		return status.Error(codes.Aborted, Clean(err.Error(), MaxText))
	}
	return nil
}

// questions is one Serve: what is asked of the host's archive.
type questions struct {
	stream  transportpb.Transport_ServeServer
	version int
	gone    <-chan struct{} // nothing will be answered any more
	sending sync.Mutex

	mu   sync.Mutex
	last uint64                                  // id
	open map[uint64]chan *transportpb.QueryReply // not answered; those that were cancelled too
}

// read takes answers until the stream ends.
func (q *questions) read() {
	for {
		w, err := q.stream.Recv()
		if err != nil {
			return
		}
		q.mu.Lock()
		answer := q.open[w.Id]
		delete(q.open, w.Id)
		q.mu.Unlock()
		if answer != nil {
			answer <- w.GetPage() // has room
		}
	}
}

// ask is the Archive of the transport.
func (q *questions) ask(ctx context.Context, a Ask) (Page, error) {
	if err := a.check(); err != nil {
		return Page{}, err
	}
	if err := ctx.Err(); err != nil {
		return Page{}, err
	}
	id, answer := q.place()
	if answer == nil {
		return Page{}, ErrBusy
	}
	q.send(&transportpb.Ask{Id: id, Query: toQuery(a.Query), Peer: Clean(a.Peer, MaxText), Address: toAddress(a.Address)})
	select {
	case w := <-answer:
		return q.page(w)
	case <-q.gone:
		return Page{}, ErrClosed
	case <-ctx.Done():
		q.send(&transportpb.Ask{Id: id, Cancel: true})
		return Page{}, ctx.Err()
	}
}

// place returns where the next answer will come, nil if MaxAsks are open.
func (q *questions) place() (uint64, chan *transportpb.QueryReply) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.open) >= MaxAsks {
		return 0, nil
	}
	q.last++
	answer := make(chan *transportpb.QueryReply, 1)
	q.open[q.last] = answer
	return q.last, answer
}

// send leaves an error to read, which ends with the stream.
func (q *questions) send(w *transportpb.Ask) {
	q.sending.Lock()
	defer q.sending.Unlock()
	_ = q.stream.Send(w)
}

// page returns what the host answered. The host is trusted, but may be buggy.
func (q *questions) page(w *transportpb.QueryReply) (Page, error) {
	if e := w.GetError(); e != nil {
		known := &Error{Code: CodeInternal, Field: Clean(e.Field, MaxText), Reason: Clean(e.Reason, MaxText)}
		if e.Code < uint32(len(codeNames)) {
			known.Code = Code(e.Code)
		}
		return Page{}, known
	}
	var page Page
	for _, e := range w.GetEnvelopes() {
		if len(e.GetTopic()) == len(Topic{}) {
			page.Envelopes = append(page.Envelopes, fromEnvelope(e, q.version))
		}
	}
	if len(w.GetCursor()) > 0 {
		page.Cursor = w.GetCursor()
	}
	return page, nil
}
