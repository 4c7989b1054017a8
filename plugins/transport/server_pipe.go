package transport

import (
	"context"
	"math"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

const (
	// maxWindow is the most envelopes that one side lets the other send ahead.
	// 1024 of 1 KiB keep a process boundary busy.
	maxWindow = 1024

	// minWindow keeps a transport of huge envelopes from waiting for each.
	minWindow = 16

	// windowBytes bounds what a window may hold in the worst case, in bytes.
	windowBytes = 32 << 20

	// maxAnswers is how many results or receipts stand in one frame, and beyond
	// how many the plugin calls Receive no more until they are sent.
	maxAnswers = 1024
)

// window returns how many envelopes of at most maxData bytes may be under way.
func window(maxData int) int {
	return min(max(windowBytes/max(maxData, 1), minWindow), maxWindow)
}

// pipe is the plugin's side of the Pipe. One goroutine reads frames, one calls
// Publish, one calls Receive and one writes.
type pipe struct {
	version   int
	transport Transport
	info      Info
	window    int
	batches   chan []Envelope // for Publish; has room for all that was granted
	written   chan struct{}   // wakes Receive: a frame was sent, or credits came
	wake      chan struct{}   // wakes the writer

	mu       sync.Mutex
	out      []Envelope // reported, to be sent as credits allow
	results  []*transportpb.Result
	receipts []*transportpb.Receipt
	peers    *int
	credits  int // how many envelopes the host still takes
	held     int // how many envelopes the host may still publish
	grant    int // how many it is to be told that it may
}

func newPipe(s *server, t Transport, info Info) *pipe {
	w := window(info.MaxData)
	return &pipe{
		version:   s.version,
		transport: t,
		info:      info,
		window:    w,
		batches:   make(chan []Envelope, w),
		written:   make(chan struct{}, 1),
		wake:      make(chan struct{}, 1),
		grant:     w,
	}
}

// run returns when the Pipe has ended: an *Error if the transport is broken,
// anything else for the host's end of it. A call of the transport that does not
// return is left behind.
func (p *pipe) run(stream transportpb.Transport_PipeServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	done := make(chan error, 4)
	go func() { done <- p.read(stream) }()
	go func() { done <- p.write(ctx, stream) }()
	go func() { done <- p.publish(ctx) }()
	go func() { done <- p.receive(ctx) }()
	return <-done
}

func (p *pipe) read(stream transportpb.Transport_PipeServer) error {
	for {
		frame, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := p.take(frame); err != nil {
			return err
		}
	}
}

// take acts on a frame of the host. The host is trusted, but may be buggy.
func (p *pipe) take(frame *transportpb.HostFrame) error {
	switch f := frame.Frame.(type) {
	case *transportpb.HostFrame_Publish:
		return p.takeBatch(f.Publish.GetEnvelopes())
	case *transportpb.HostFrame_Credit:
		p.mu.Lock()
		p.credits = min(p.credits+int(f.Credit.GetEnvelopes()), math.MaxInt32)
		p.mu.Unlock()
		nudge(p.wake)
		nudge(p.written)
		return nil
	}
	return status.Error(codes.InvalidArgument, "transport: a frame of the host has no known field")
}

func (p *pipe) takeBatch(ws []*transportpb.Envelope) error {
	if len(ws) < 1 || len(ws) > MaxBatch {
		return status.Errorf(codes.InvalidArgument, "transport: the host published %d envelopes at once", len(ws))
	}
	batch := make([]Envelope, 0, len(ws))
	var refused []*transportpb.Result
	for _, w := range ws {
		if err := p.check(w); err != nil {
			refused = append(refused, &transportpb.Result{Id: w.GetId(), Error: toError(err)})
			continue
		}
		batch = append(batch, fromEnvelope(w, p.version))
	}
	p.mu.Lock()
	p.held -= len(ws)
	overdrawn := p.held < 0
	p.mu.Unlock()
	if overdrawn {
		return status.Error(codes.InvalidArgument, "transport: the host published more than it had credits for")
	}
	if len(refused) > 0 {
		p.answer(refused, len(refused))
	}
	if len(batch) > 0 {
		p.batches <- batch // has room: every batch costs a credit at least
	}
	return nil
}

// check refuses what the contract promises that a transport never sees.
func (p *pipe) check(w *transportpb.Envelope) error {
	switch {
	case len(w.GetTopic()) != len(Topic{}):
		return Invalid("topic", "%d bytes long", len(w.GetTopic()))
	case len(w.Data) < 1:
		return Invalid("data", "empty")
	case len(w.Data) > p.info.MaxData:
		return ErrTooLarge
	case w.Ttl < 1 || w.Ttl > seconds(p.info.MaxTTL):
		return Invalid("ttl", "%d s is not 1 s to %v", w.Ttl, p.info.MaxTTL)
	case p.version >= Version2 && !p.info.offers(w.Privacy):
		return &Error{CodeUnsupported, "privacy", "not offered"}
	}
	return nil
}

// publish calls Publish, one batch after the other as they came.
func (p *pipe) publish(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case batch := <-p.batches:
			call, cancel := context.WithTimeout(ctx, CallTimeout)
			errs := p.transport.Publish(call, batch)
			cancel()
			results := make([]transportpb.Result, len(batch))
			answers := make([]*transportpb.Result, len(batch))
			for i := range batch {
				results[i].Id = batch[i].ID
				if i < len(errs) {
					results[i].Error = toError(errs[i])
				}
				answers[i] = &results[i]
			}
			p.answer(answers, len(batch))
		}
	}
}

// answer queues results and gives back the credits of n envelopes.
func (p *pipe) answer(results []*transportpb.Result, n int) {
	p.mu.Lock()
	p.results = append(p.results, results...)
	p.grant += n
	p.mu.Unlock()
	nudge(p.wake)
}

// receive calls Receive while the host takes more.
func (p *pipe) receive(ctx context.Context) error {
	for {
		p.mu.Lock()
		ready := p.credits > len(p.out) && len(p.receipts) < maxAnswers
		p.mu.Unlock()
		if !ready {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-p.written:
			}
			continue
		}
		r, err := p.transport.Receive(ctx)
		if err == nil {
			err = checkReport(r)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return &Error{Code: CodeInternal, Field: "Receive", Reason: err.Error()}
		}
		p.report(r)
	}
}

// checkReport refuses what cannot be sent; whether the rest is right is for the
// host to say.
func checkReport(r Report) error {
	if len(r.Envelopes) > MaxBatch {
		return Invalid("envelopes", "%d of them, at most %d are allowed", len(r.Envelopes), MaxBatch)
	}
	for i := range r.Envelopes {
		if n := len(r.Envelopes[i].Data); n > MaxEnvelope {
			return Invalid("data", "%d bytes long, at most %d are allowed", n, MaxEnvelope)
		}
	}
	return nil
}

func (p *pipe) report(r Report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out = append(p.out, r.Envelopes...)
	if r.Peers != nil {
		p.peers = r.Peers
	}
	if p.version >= Version2 {
		for _, c := range r.Receipts {
			p.receipts = append(p.receipts, &transportpb.Receipt{
				Id: c.ID, Outcome: uint32(c.Outcome), Reason: Clean(c.Reason, MaxText),
			})
		}
	}
	nudge(p.wake)
}

// nudge wakes who waits for ch, now or the next time.
func nudge(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
