package archive

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Counts are the counters of an archive since the node started.
type Counts struct {
	Admitted   uint64 `json:"admitted"`   // envelopes that were taken in
	Kept       uint64 `json:"kept"`       // became durable and were new, those of other mail servers too
	Duplicates uint64 `json:"duplicates"` // were there already
	Dropped    uint64 `json:"dropped"`    // had no room in the queue; the transport reports them again
	Groups     uint64 `json:"groups"`     // transactions
	Pruned     uint64 `json:"pruned"`     // envelopes that were removed
	Faults     uint64 `json:"faults"`     // failures of the database
	Faulty     uint64 `json:"faulty"`     // rows that could not be read

	Asks    uint64   `json:"asks"`
	Pages   uint64   `json:"pages"`
	Served  uint64   `json:"served"`  // envelopes in them
	Scanned uint64   `json:"scanned"` // rows and index places looked at
	Refused Refusals `json:"refused"`

	Sync SyncCounts `json:"sync"`
}

// SyncCounts count what was taken over from other mail servers.
type SyncCounts struct {
	Pages      uint64       `json:"pages"`      // that were had
	Envelopes  uint64       `json:"envelopes"`  // that came
	Added      uint64       `json:"added"`      // of them are durable and were new
	Duplicates uint64       `json:"duplicates"` // were there already
	Refused    SyncRefusals `json:"refused"`
	Failures   SyncFailures `json:"failures"`
}

// SyncFailures are the pages that were not had, by reason.
type SyncFailures struct {
	Nobody      uint64 `json:"nobody"`      // the server cannot be reached
	Gone        uint64 `json:"gone"`        // the link to it ended
	Timeout     uint64 `json:"timeout"`     // it fell silent
	Refused     uint64 `json:"refused"`     // by it
	Lies        uint64 `json:"lies"`        // what came makes no sense
	Interrupted uint64 `json:"interrupted"` // by this node
}

func (f SyncFailures) sum() uint64 {
	return f.Nobody + f.Gone + f.Timeout + f.Refused + f.Lies + f.Interrupted
}

// SourceState is how far the archive has what another mail server has. What it
// counts is since the node started.
type SourceState struct {
	Server    string    `json:"server"`          // its enode URL
	Until     time.Time `json:"until,omitzero"`  // up to when everything that is wanted is here; zero: not known yet
	Tried     time.Time `json:"tried,omitzero"`  // when it was last asked
	Next      time.Time `json:"next,omitzero"`   // when it is asked again; zero: is being asked, or not again
	Running   bool      `json:"running"`         // is being asked
	Fault     string    `json:"fault,omitempty"` // why the last time did not come to its end
	Envelopes uint64    `json:"envelopes"`       // that came
	Added     uint64    `json:"added"`           // of them were new
	Refused   uint64    `json:"refused"`
}

func newSourceStates(cfg Config) []SourceState {
	states := make([]SourceState, len(cfg.Sync))
	for i, server := range cfg.Sync {
		states[i].Server = server
	}
	return states
}

// Refusals are the requests that got no full answer, by reason.
type Refusals struct {
	Rate        uint64 `json:"rate"`        // the peer or its addresses have asked for too much
	Busy        uint64 `json:"busy"`        // too many at the same time
	Invalid     uint64 `json:"invalid"`     // not to be answered
	Unavailable uint64 `json:"unavailable"` // the database does not work
	Untaken     uint64 `json:"untaken"`     // a page was not taken
}

// Report describes an archive without asking the database.
type Report struct {
	Database    string   `json:"database"`        // sqlite or postgresql
	Open        bool     `json:"open"`            // the database is there
	Fault       string   `json:"fault,omitempty"` // why nothing is stored
	QueuedBytes int64    `json:"queued_bytes"`    // not yet durable
	Requests    int      `json:"requests"`        // under way
	Counts      Counts   `json:"counts"`
	Contents    Contents `json:"contents"` // some seconds old

	Sources []SourceState `json:"sources,omitempty"` // mail servers that are followed
}

// Stats are the numbers of an archive: what it holds now, and what it has done.
type Stats struct {
	Contents
	Counts
	Sources []SourceState `json:"sources,omitempty"` // mail servers that are followed
}

// Describe says how the archive is doing.
func (a *Archive) Describe() Report {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := Report{Database: "sqlite", Fault: a.fault, Counts: a.counts, Contents: a.last, Sources: slices.Clone(a.sources)}
	if a.cfg.Database != "" {
		r.Database = "postgresql"
	}
	if l := a.life; l != nil {
		r.Open, r.QueuedBytes, r.Requests = l.store != nil, l.queue.size()+l.pages.size(), l.desk.count()
	}
	return r
}

// Stats asks the database what it holds.
func (a *Archive) Stats(ctx context.Context) (Stats, error) {
	var s Stats
	err := a.with(ctx, func(ctx context.Context, store Store) (err error) {
		s.Contents, err = store.Contents(ctx)
		return err
	})
	r := a.Describe()
	s.Counts, s.Sources = r.Counts, r.Sources
	return s, err
}

// String describes the archive in a line.
func (r Report) String() string {
	c := r.Counts
	text := fmt.Sprintf("%s: %d envelopes, %d admitted, %d kept, %d asks, %d pages, %d refused", r.Database, r.Contents.Envelopes,
		c.Admitted, c.Kept, c.Asks, c.Pages, c.Refused.Rate+c.Refused.Busy+c.Refused.Invalid+c.Refused.Unavailable+c.Refused.Untaken)
	if k := c.Sync; len(r.Sources) > 0 {
		text += fmt.Sprintf(", %d of other servers, %d of them new, %d failures", k.Envelopes, k.Added, k.Failures.sum())
	}
	if r.Fault != "" {
		text += "; nothing is stored: " + r.Fault
	}
	return text
}

func (a *Archive) count(f func(*Counts)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(&a.counts)
}
