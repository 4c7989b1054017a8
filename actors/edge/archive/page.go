package archive

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
)

// Bounds of pages that other mail servers send.
const (
	// syncBytes bounds what all of them hold that is not durable yet, as
	// QueueBytes does for what is admitted. A page that does not fit is asked
	// for again, shorter.
	syncBytes = 32 << 20

	// maxSynced is the longest envelope that is taken over, in bytes: the limit
	// of the deployed nodes on packets. The transport may have a lower one.
	maxSynced = 10 << 20

	// syncTolerance is how far outside the time that was asked for an envelope
	// may have been sent: for a server that counts in other units.
	syncTolerance = time.Minute

	// syncSilence is how long nothing may come. The transport knows better when
	// a server is silent; this is for a transport that is.
	syncSilence = 10 * time.Minute

	// syncPageTime is how long a page may take that does not end.
	syncPageTime = time.Hour
)

// SyncRefusals are the envelopes of other mail servers that were not taken over,
// by reason.
type SyncRefusals struct {
	Raw    uint64 `json:"raw"`    // not in the transport's own form
	Length uint64 `json:"length"` // longer than any transport carries
	Window uint64 `json:"window"` // sent at a time that was not asked for
	Old    uint64 `json:"old"`    // older than what is kept
	Excess uint64 `json:"excess"` // more than were asked for
}

func (r SyncRefusals) sum() uint64 { return r.Raw + r.Length + r.Window + r.Old + r.Excess }

func (r *SyncRefusals) add(o SyncRefusals) {
	r.Raw += o.Raw
	r.Length += o.Length
	r.Window += o.Window
	r.Old += o.Old
	r.Excess += o.Excess
}

// page is one page that another mail server is asked for. pages guards what
// changes.
type page struct {
	query   transport.Query
	stir    chan struct{} // holds one when something has come
	settled chan struct{} // closed when it is over and all of it is durable

	yield
	before  int // of what came, until it was last asked for
	storing int // parcels
	over    bool
}

// yield is what came of a page.
type yield struct {
	came, added, duplicates int
	refused                 SyncRefusals
	short                   bool // a part was left out because there was no room
	answer                  transport.Queried
}

// pages are those that are asked for now.
type pages struct {
	mu    sync.Mutex
	asked map[layers.Ref]*page
	bytes int64 // of all parcels, until they are durable
	turns map[string]*turn
	up    chan struct{} // holds one when the transport is ready, or ready again
}

func newPages() *pages {
	return &pages{asked: map[layers.Ref]*page{}, turns: map[string]*turn{}, up: make(chan struct{}, 1)}
}

// turn lets one after the other ask a server: in Whisper the answers to two
// requests of this kind cannot be told apart.
type turn struct {
	free  chan struct{} // holds one
	users int
}

// turn waits until nobody else asks a server. done must be called if there is no
// error.
func (s *pages) turn(ctx context.Context, source string) (done func(), err error) {
	s.mu.Lock()
	t := s.turns[source]
	if t == nil {
		t = &turn{free: make(chan struct{}, 1)}
		t.free <- struct{}{}
		s.turns[source] = t
	}
	t.users++
	s.mu.Unlock()
	leave := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(s.turns, source)
		}
	}
	select {
	case <-t.free:
		return func() { t.free <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// repeat asks again for what is not answered, as after a restart of the
// transport.
func (s *pages) repeat(send func(transport.Command)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.asked {
		p.before = p.came // a transport that has forgotten the query brings all of it again
		send(p.query)
	}
	signal(s.up)
}

// take takes envelopes of a page over, with the credit. It reports whether they
// are of one. oldest is from when what is kept may be.
func (s *pages) take(e transport.History, c *actors.Credit, q *queue, oldest time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.asked[e.Ref]
	if p == nil {
		return false
	}
	if len(e.Envelopes) > 0 {
		signal(p.stir)
	}
	wanted := p.wanted(e.Envelopes, oldest)
	size := weight(wanted)
	if s.bytes > 0 && s.bytes+size > syncBytes {
		p.short, wanted = true, nil
	}
	part := parcel{Admitted: transport.Admitted{Envelopes: wanted}, at: time.Now(), bytes: size, credit: c, page: p}
	if len(wanted) == 0 || !q.putPage(part) {
		c.Return()
		return true
	}
	s.bytes += size
	p.storing++
	return true
}

// wanted counts envelopes and returns those to take over.
func (p *page) wanted(list []transport.Envelope, oldest time.Time) (wanted []transport.Envelope) {
	from, to := p.query.From.Add(-syncTolerance), p.query.To.Add(syncTolerance)
	for _, e := range list {
		p.came++
		switch {
		case p.came-p.before > p.query.Limit:
			p.refused.Excess++
		case len(e.Raw) == 0:
			p.refused.Raw++
		case len(e.Raw) > maxSynced || len(e.Data) > maxSynced:
			p.refused.Length++
		case e.Sent.Before(from) || e.Sent.After(to):
			p.refused.Window++
		case e.Sent.Before(oldest):
			p.refused.Old++
		default:
			wanted = append(wanted, e)
		}
	}
	return wanted
}

// answered ends a page.
func (s *pages) answered(e transport.Queried) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.asked[e.Ref]; p != nil {
		s.end(p, e)
	}
}

// end ends a page, unless it has ended. What comes of it after that is not taken.
func (s *pages) end(p *page, e transport.Queried) {
	if p.over {
		return
	}
	p.over, p.answer = true, e
	delete(s.asked, p.query.Ref)
	if p.storing == 0 {
		close(p.settled)
	}
}

// stored notes that parcels of a page are durable, added envelopes of which are
// new.
func (s *pages) stored(p *page, group []parcel, added int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, part := range group {
		s.bytes -= part.bytes
		p.storing--
		p.duplicates += len(part.Envelopes)
	}
	p.added += added
	p.duplicates -= added
	if p.storing == 0 && p.over {
		close(p.settled)
	}
}

// got returns what has come of a page so far.
func (s *pages) got(p *page) yield {
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.yield
}

// size is how many bytes are not durable yet.
func (s *pages) size() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
}

// look returns whether more has come than was asked for, and whether something is
// still to be stored.
func (s *pages) look(p *page) (excess, storing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.refused.Excess > 0, p.storing > 0
}

// cancel ends a page that is not answered as it should be.
func (s *pages) cancel(p *page, send func(transport.Command), end transport.QueryEnd, reason string) {
	s.mu.Lock()
	s.end(p, transport.Queried{Ref: p.query.Ref, End: end, Reason: reason})
	s.mu.Unlock()
	send(transport.Cancel{Ref: p.query.Ref})
}

// fetch asks for a page and returns what came of it when it is over and all of it
// is durable, or what has come so far when ctx ends.
func (s *pages) fetch(ctx context.Context, q transport.Query, send func(transport.Command)) (yield, error) {
	rand.Read(q.Ref[:])
	p := &page{query: q, stir: make(chan struct{}, 1), settled: make(chan struct{})}
	s.mu.Lock()
	s.asked[q.Ref] = p
	s.mu.Unlock()
	send(q)
	end, quiet := time.NewTimer(syncPageTime), time.NewTimer(syncSilence)
	defer end.Stop()
	defer quiet.Stop()
	for {
		select {
		case <-p.settled:
			return s.got(p), nil
		case <-p.stir:
			quiet.Reset(syncSilence)
			if excess, _ := s.look(p); excess {
				s.cancel(p, send, transport.QueryDone, "")
			}
		case <-quiet.C:
			if _, storing := s.look(p); storing {
				quiet.Reset(syncSilence) // it is not the server that is slow
				continue
			}
			s.cancel(p, send, transport.QueryTimeout, fmt.Sprintf("nothing has come for %v", syncSilence))
		case <-end.C:
			s.cancel(p, send, transport.QueryTimeout, fmt.Sprintf("no end within %v", syncPageTime))
		case <-ctx.Done():
			s.cancel(p, send, transport.QueryCancelled, "cancelled")
			return s.got(p), ctx.Err()
		}
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
