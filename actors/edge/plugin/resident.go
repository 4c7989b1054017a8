package plugin

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/layers"
	slot "github.com/stratanode/strata/layers/transport"
)

// Resident is what outlives one life of a transport: what it is, what it broke
// on, and what was counted. It is safe for concurrent use.
type Resident struct {
	name string
	cfg  Config
	open Opener
	log  *slog.Logger

	flight     *actors.Credits // bytes inside the node, of all lives
	seen, own  *hashes
	past       records
	count      counters
	stats      stats
	misbehaves atomic.Bool // the transport, or its network; see conduct
	marks      numbers     // of Admitted
	askIDs     numbers     // of Asked
	left       left        // of lives that were closed; the lives follow each other

	mu    sync.Mutex // guards what follows; taken after Edge.mu
	life  *Edge      // the latest
	lives int        // that opened
	since time.Time  // when the latest opened; zero: it is not open
	took  time.Duration
	last  string // error
	when  time.Time
}

// NewResident returns a resident of the transport slot. The name is the one in
// the configuration file. c must be valid, or Open reports why it is not.
func NewResident(name string, c Config, open Opener, log *slog.Logger) *Resident {
	r := &Resident{
		name: name, cfg: c, open: open, log: log.With("transport", name),
		flight: actors.NewCredits(int64(c.InFlight)),
		seen:   newHashes(rememberedHashes, hashAge),
		own:    newHashes(rememberedHashes, hashAge),
		past:   records{byRef: map[layers.Ref]*entry{}},
		stats:  stats{values: map[string]float64{}},
	}
	r.marks.begin(time.Now())
	r.askIDs.begin(time.Now())
	return r
}

// left is what a life did not answer before it was closed.
type left struct {
	queries []layers.Ref
	asks    []uint64
}

// Edge returns the next life of the transport. The one before must be closed.
func (r *Resident) Edge(up Up) actors.Edge[slot.Command] {
	ctx, cancel := context.WithCancel(context.Background())
	e := &Edge{
		home: r, cfg: r.cfg, up: up, log: r.log,
		ctx: ctx, cancel: cancel,
		idle:    make(chan struct{}),
		gone:    make(chan struct{}),
		topics:  topics{fresh: make(chan struct{}, 1)},
		queries: queries{byRef: map[layers.Ref]*query{}},
		asks:    asks{open: map[uint64]*ask{}, pace: rate.NewLimiter(asksRate, asksBurst)},
	}
	close(e.idle) // until there are workers
	e.box = newOutbox(&e.mu, e.due)
	e.peers = newPeers(e.tellPeers)
	r.mu.Lock()
	r.life = e
	r.mu.Unlock()
	return e
}

func (r *Resident) opened(begun time.Time) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lives++
	r.since, r.took = now, now.Sub(begun)
}

func (r *Resident) broke(err error) {
	r.count.breaks.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last, r.when, r.since = err.Error(), time.Now(), time.Time{}
}
