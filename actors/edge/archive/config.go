package archive

import (
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Bounds of the configuration.
const (
	maxBatch      = 1 << 16 // envelopes; a transaction of so many takes about a second
	minQueueBytes = 1 << 20 // one envelope of the longest must fit
	maxQueueBytes = 1 << 31
	maxConcurrent = 64      // connections of a database
	maxWaiting    = 1 << 14 // asks, about 50 KB each at most
	maxRowRate    = 1 << 30 // rows a second; beyond it the bound would bound nothing
	minBurst      = 2000    // rows: a page of the longest must be affordable

	leastSyncEvery  = time.Minute // more often is what peers are for
	leastSyncWindow = time.Minute
	maxSyncOverlap  = 12 * time.Hour // with syncStep, less than a day is asked for at once
)

// Config is the section of the archive.
type Config struct {
	Database  string        `yaml:"database" secret:"true" comment:"Where envelopes are kept: empty for a SQLite file in the data folder, or the URL of a PostgreSQL database, postgres://user:password@host/name, which many servers may share."`
	Retention time.Duration `yaml:"retention" comment:"How long envelopes are kept after they were sent; 0 is for ever."`
	MaxBytes  int64         `yaml:"max_bytes" comment:"How many bytes of envelopes are kept, with what each takes beside; the oldest go first. 0 is without limit."`

	Batch      int   `yaml:"batch" comment:"Envelopes that are made durable together, at most."`
	QueueBytes int64 `yaml:"queue_bytes" comment:"Bytes of envelopes that are admitted and not yet durable. Above it new ones are left to the transport, which reports them again later."`

	RowsPerSecond int           `yaml:"rows_per_second" comment:"What queries may cost a peer, and all of an address range (/24 or /64) together, on average: rows and index places looked at a second."`
	BurstRows     int           `yaml:"burst_rows" comment:"What they may cost at once after a rest. A query ends early at this many rows, with a cursor to go on from."`
	Concurrent    int           `yaml:"concurrent" comment:"Queries that the database answers at the same time."`
	Waiting       int           `yaml:"waiting" comment:"Requests under way, of all peers; of one peer up to an eighth of them. More are refused."`
	MaxWindow     time.Duration `yaml:"max_window" comment:"The longest time that one request may be about; 0 is without limit, the rows are limited anyway."`

	Sync        []string      `yaml:"sync" comment:"Mail servers from which this one takes over what it does not have, as enode URLs: at the start, when a link comes back and then now and again. In a shared PostgreSQL what one server took over the others need not."`
	SyncEvery   time.Duration `yaml:"sync_every" comment:"How long after a sync the next one follows; 0 is only at the start."`
	SyncWindow  time.Duration `yaml:"sync_window" comment:"How far back a server is asked the first time. Later it is asked for everything since the time before, as far back as envelopes are kept."`
	SyncOverlap time.Duration `yaml:"sync_overlap" comment:"How much of what was asked for already is asked for again, for envelopes that reached the other server late."`
}

// DefaultConfig returns the configuration of an empty section.
func DefaultConfig() Config {
	return Config{
		Retention: 30 * 24 * time.Hour, MaxBytes: 10 << 30,
		Batch: 8192, QueueBytes: 64 << 20,
		// A client that was away for a day reads some thousands of rows; the rest
		// is for bloom filters that match much.
		RowsPerSecond: 20_000, BurstRows: 400_000, Concurrent: 2, Waiting: 256,
		SyncEvery: time.Hour, SyncWindow: 24 * time.Hour, SyncOverlap: 10 * time.Minute,
	}
}

// Validate reports every fault of c, not only the first.
func (c Config) Validate() error {
	var errs []error
	within := func(key string, value, low, high int64) {
		if value < low || value > high {
			errs = append(errs, fmt.Errorf("%s: %d is not within %d and %d", key, value, low, high))
		}
	}
	if c.Database != "" {
		// The error of Parse would quote the password.
		u, err := url.Parse(c.Database)
		if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
			errs = append(errs, errors.New("database: is no URL that begins with postgres://"))
		}
	}
	if c.Retention < 0 || c.Retention > 0 && c.Retention < time.Minute {
		errs = append(errs, fmt.Errorf("retention: %v is neither 0 nor at least 1m", c.Retention))
	}
	if c.MaxBytes < 0 || c.MaxBytes > 0 && c.MaxBytes < minQueueBytes {
		errs = append(errs, fmt.Errorf("max_bytes: %d is neither 0 nor at least %d", c.MaxBytes, minQueueBytes))
	}
	if c.MaxWindow < 0 || c.MaxWindow > 0 && c.MaxWindow < time.Minute {
		errs = append(errs, fmt.Errorf("max_window: %v is neither 0 nor at least 1m", c.MaxWindow))
	}
	within("batch", int64(c.Batch), 1, maxBatch)
	within("queue_bytes", c.QueueBytes, minQueueBytes, maxQueueBytes)
	within("rows_per_second", int64(c.RowsPerSecond), 1, maxRowRate)
	within("burst_rows", int64(c.BurstRows), minBurst, maxRowRate)
	within("concurrent", int64(c.Concurrent), 1, maxConcurrent)
	within("waiting", int64(c.Waiting), 1, maxWaiting)
	return errors.Join(append(errs, c.validateSync()...)...)
}
