package plugin

import (
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

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

	// Wire counts what was dropped at the process boundary because it was out
	// of form; nil for a transport that is compiled in.
	Wire *transport.Counts `json:"wire_dropped,omitempty"`
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
	if r.cfg.Process || len(r.cfg.Command) > 0 || r.cfg.Attach != "" {
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
	if d.PID = e.running.PID(); apart(e.running) {
		d.Kind = "process"
	}
	d.Confinement = clean(e.running.Confinement())
	if p, ok := e.running.(interface{ Version() int }); ok {
		d.Protocol = p.Version()
	}
	if p, ok := e.running.(interface{ Counts() transport.Counts }); ok {
		c := p.Counts()
		d.Wire = &c
	}
	i := e.info
	d.Transport, d.Version, d.Abilities = i.Name, i.Version, i.Abilities
	d.Peers, d.Addresses = e.peers.told, i.Addresses
	d.Limits = Limits{i.MaxData, i.MaxTTL, i.Latency}
	d.Claims = Claims{anonymity(i.Sender), anonymity(i.Receiver), ordering(i.Ordering), storage(i.Storage), i.Receipts}
	d.Counts.Unanswered = len(e.box.byRef)
	d.Counts.UnsentBytes = e.box.unsent
	d.Counts.Kept = e.kept
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
