package plugin

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/layers"
	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/transport"
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
	return &Resident{
		name: name, cfg: c, open: open, log: log.With("transport", name),
		flight: actors.NewCredits(int64(c.InFlight)),
		seen:   newHashes(rememberedHashes, hashAge),
		own:    newHashes(rememberedHashes, hashAge),
		past:   records{byRef: map[layers.Ref]*entry{}},
		stats:  stats{values: map[string]float64{}},
	}
}

// Edge returns the next life of the transport. The one before must be closed.
func (r *Resident) Edge(up Up) actors.Edge[slot.Command] {
	ctx, cancel := context.WithCancel(context.Background())
	e := &Edge{
		home: r, cfg: r.cfg, up: up, log: r.log,
		ctx: ctx, cancel: cancel,
		idle:   make(chan struct{}),
		gone:   make(chan struct{}),
		topics: topics{fresh: make(chan struct{}, 1)},
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

// Description is what an operator is told of a transport.
type Description struct {
	Name        string              `json:"name"`                // in the configuration file
	Transport   string              `json:"transport,omitempty"` // what it calls itself
	Version     string              `json:"version,omitempty"`
	Kind        string              `json:"kind"` // "compiled in" or "process"
	PID         int                 `json:"pid,omitempty"`
	Confinement string              `json:"confinement,omitempty"`
	Protocol    int                 `json:"protocol,omitempty"` // version spoken with the process
	Open        bool                `json:"open"`
	Since       time.Time           `json:"since,omitzero"` // it is open
	StartMS     int64               `json:"start_ms,omitempty"`
	Lives       int                 `json:"lives"` // times it was opened
	LastError   string              `json:"last_error,omitempty"`
	LastErrorAt time.Time           `json:"last_error_at,omitzero"`
	Misbehaves  bool                `json:"misbehaves,omitempty"` // delivers mostly what nobody asked for
	Peers       int                 `json:"peers"`
	Addresses   []string            `json:"addresses,omitempty"` // where others reach it, as it says
	Claims      Claims              `json:"claims,omitzero"`
	Abilities   transport.Abilities `json:"abilities,omitzero"`
	Limits      Limits              `json:"limits,omitzero"`
	Counts      Counts              `json:"counts"`
}

// Claims are what the transport says of itself, in words. Nobody has checked
// them.
type Claims struct {
	Sender   string `json:"sender_anonymity"`
	Receiver string `json:"receiver_anonymity"`
	Ordering string `json:"ordering"`
	Storage  string `json:"storage"`
	Receipts bool   `json:"receipts"`
}

// Limits are those of the transport, within the node's own.
type Limits struct {
	MaxData int           `json:"max_data_bytes"`
	MaxTTL  time.Duration `json:"max_ttl_ns"`
	Latency time.Duration `json:"latency_ns"`
}

// Describe says how the transport is.
func (r *Resident) Describe() Description {
	r.mu.Lock()
	life := r.life
	d := Description{
		Name: r.name, Kind: "compiled in", Lives: r.lives,
		Open: !r.since.IsZero(), Since: r.since, StartMS: r.took.Milliseconds(),
		LastError: r.last, LastErrorAt: r.when,
		Misbehaves: r.misbehaves.Load(),
	}
	r.mu.Unlock()
	d.Counts = r.count.read()
	if r.cfg.Process || len(r.cfg.Command) > 0 {
		d.Kind = "process"
	}
	if life != nil {
		life.describe(&d)
	}
	return d
}

// describe adds what only the life itself knows.
func (e *Edge) describe(d *Description) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running == nil || e.over {
		d.Open = false
		return
	}
	if d.PID = e.running.PID(); d.PID != 0 {
		d.Kind = "process"
	}
	d.Confinement = clean(e.running.Confinement())
	if p, ok := e.running.(interface{ Version() int }); ok {
		d.Protocol = p.Version()
	}
	i := e.info
	d.Transport, d.Version, d.Abilities = i.Name, i.Version, i.Abilities
	d.Peers, d.Addresses = e.peers.told, i.Addresses
	d.Limits = Limits{i.MaxData, i.MaxTTL, i.Latency}
	d.Claims = Claims{anonymity(i.Sender), anonymity(i.Receiver), ordering(i.Ordering), storage(i.Storage), i.Receipts}
	d.Counts.Unanswered = len(e.box.byRef)
	d.Counts.UnsentBytes = e.box.unsent
}

func anonymity(a transport.Anonymity) string {
	switch a {
	case transport.AnonymityAmong:
		return "hidden among the peers of a node"
	case transport.AnonymityNetwork:
		return "hidden among all nodes from a local observer"
	case transport.AnonymityGlobal:
		return "hidden even from an observer of all links"
	}
	return "none"
}

func ordering(o transport.Ordering) string {
	if o == transport.OrderingSender {
		return "as a sender sent them"
	}
	return "none"
}

func storage(s transport.Storage) string {
	switch s {
	case transport.StorageTTL:
		return "until the time to live is over"
	case transport.StorageLong:
		return "longer than the time to live"
	}
	return "none"
}
