package devp2p

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	gethlog "github.com/ethereum/go-ethereum/log"
)

// Stats are the counters of an edge since it was opened, and what it holds now.
type Stats struct {
	Links         int               // now, greeted or not
	InFlightBytes int64             // now, in the layers
	BytesIn       uint64            // payloads, uncompressed
	BytesOut      uint64            // likewise
	PacketsIn     uint64            // greetings included
	PacketsOut    uint64            // likewise
	Ignored       uint64            // packets that the codec made nothing of
	TurnedAway    uint64            // connections closed unread: outside net_restrict, or too frequent
	Handshakes    uint64            // inbound connections that came to no link: garbage, no common protocol, full
	Full          uint64            // peers turned away because of max_peers
	Dials         uint64            // attempts to connect to a node that is kept
	DialsFailed   uint64            // those that came to no peer
	Slowed        uint64            // packets that waited because their peer was beyond its rates
	SlowedFor     time.Duration     // how long they waited, all together
	SlowedLinks   int               // links now whose peer has been beyond its rates
	Ended         map[string]uint64 // links that ended, by cause
	Dropped       map[string]uint64 // links ended by Drop, by its Reason
}

// maxReasons bounds the different reasons of Drop that are counted apart,
// because each may become a time series.
const maxReasons = 64

// otherReasons is where further reasons are counted.
const otherReasons = "other"

type counters struct {
	bytesIn, bytesOut, packetsIn, packetsOut atomic.Uint64
	ignored, turnedAway, handshakes, full    atomic.Uint64
	dials, dialsFailed, slowed               atomic.Uint64
	slowedFor                                atomic.Int64 // nanoseconds
	ended                                    [causes]atomic.Uint64

	mu      sync.Mutex
	dropped map[string]uint64
}

// asked counts a Drop.
func (c *counters) asked(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dropped == nil {
		c.dropped = map[string]uint64{}
	}
	if _, known := c.dropped[reason]; !known && len(c.dropped) >= maxReasons {
		reason = otherReasons
	}
	c.dropped[reason]++
}

// Stats returns the counters. It is safe for concurrent use.
func (e *Edge) Stats() Stats {
	c := &e.count
	s := Stats{
		InFlightBytes: e.flight.used.Load(),
		BytesIn:       c.bytesIn.Load(),
		BytesOut:      c.bytesOut.Load(),
		PacketsIn:     c.packetsIn.Load(),
		PacketsOut:    c.packetsOut.Load(),
		Ignored:       c.ignored.Load(),
		TurnedAway:    c.turnedAway.Load(),
		Handshakes:    c.handshakes.Load(),
		Full:          c.full.Load(),
		Dials:         c.dials.Load(),
		DialsFailed:   c.dialsFailed.Load(),
		Slowed:        c.slowed.Load(),
		SlowedFor:     time.Duration(c.slowedFor.Load()),
		Ended:         map[string]uint64{},
	}
	for i := none + 1; i < causes; i++ {
		s.Ended[i.String()] = c.ended[i].Load()
	}
	c.mu.Lock()
	s.Dropped = maps.Clone(c.dropped)
	c.mu.Unlock()
	e.mu.Lock()
	s.Links = len(e.links)
	for _, l := range e.links {
		if l.slowed.Load() > 0 {
			s.SlowedLinks++
		}
	}
	e.mu.Unlock()
	return s
}

// gethLogger lets go-ethereum log to log, but nothing above debug: what it calls
// information or a warning is caused by peers or of no use to an operator.
func gethLogger(log *slog.Logger) gethlog.Logger { return gethlog.NewLogger(muffled{log.Handler()}) }

type muffled struct{ slog.Handler }

// Enabled implements slog.Handler.
func (m muffled) Enabled(ctx context.Context, l slog.Level) bool {
	return m.Handler.Enabled(ctx, min(l, slog.LevelDebug))
}

// Handle implements slog.Handler.
func (m muffled) Handle(ctx context.Context, r slog.Record) error {
	r.Level = min(r.Level, slog.LevelDebug)
	return m.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (m muffled) WithAttrs(a []slog.Attr) slog.Handler { return muffled{m.Handler.WithAttrs(a)} }

// WithGroup implements slog.Handler.
func (m muffled) WithGroup(name string) slog.Handler { return muffled{m.Handler.WithGroup(name)} }
