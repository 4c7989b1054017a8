package archive

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strings"
	"time"

	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
)

// Store keeps envelopes by when they were sent. There are two of them, one over
// SQLite and one over PostgreSQL, which behave alike. Its methods may be called
// by several goroutines at once.
type Store interface {
	// Insert makes rows durable, all or none, and returns how many were new.
	Insert(ctx context.Context, rows []Row) (added int, err error)

	// Search finds the keys of envelopes, the newest first.
	Search(ctx context.Context, s Search) (Found, error)

	// Fetch returns the rows of the first keys in their order: as many as have no
	// more than some bytes of content together, but at least one. What is not
	// there any more is left out. used is how many keys that were.
	Fetch(ctx context.Context, keys []Key, bytes int) (rows []Row, used int, err error)

	// Prune removes up to limit of the oldest rows that are from before a time,
	// as one short transaction.
	Prune(ctx context.Context, before uint32, limit int) (removed int, err error)

	// Contents sums up what is stored.
	Contents(ctx context.Context) (Contents, error)

	// Verify reads everything and reports how far it is, now and then.
	Verify(ctx context.Context, report func(done, total int)) (Verified, error)

	// Find looks for an envelope whose time is not known. It reads keys from the
	// newest to the oldest until it has it: it is for people, not for peers.
	Find(ctx context.Context, hash transport.Hash) (sent time.Time, found bool, err error)

	// Until returns up to when, in unix seconds, everything of another mail server
	// is here, or has = false if it was never asked.
	Until(ctx context.Context, source string) (until uint32, has bool, err error)

	// SetUntil notes that, durably. It does not move back, unless what was noted
	// lies after now.
	SetUntil(ctx context.Context, source string, until, now uint32) error

	// Load reads what a bloom filter is answered from. Until then Search works,
	// but reads more.
	Load(ctx context.Context) error

	Close() error
}

// OpenStore opens the store of a configuration without a node; dir is the data
// folder. A SQLite archive may be in use by a node at the same time.
func OpenStore(ctx context.Context, cfg Config, dir string) (Store, error) {
	if cfg.Database == "" {
		s, err := openSQLite(ctx, dir, cfg.Concurrent+1)
		if err != nil {
			return nil, fmt.Errorf("archive: SQLite: %w", err)
		}
		return s, nil
	}
	s, err := openPostgres(ctx, cfg.Database, cfg.Concurrent+1)
	if err != nil {
		return nil, fmt.Errorf("archive: PostgreSQL: %w", withoutPassword(err, cfg.Database))
	}
	return s, nil
}

// withoutPassword makes sure that the password of a database is not in an error.
func withoutPassword(err error, database string) error {
	if err == nil {
		return nil
	}
	if database == "" {
		return err
	}
	text := strings.ReplaceAll(err.Error(), database, "postgres://…")
	if u, bad := url.Parse(database); bad == nil {
		if password, has := u.User.Password(); has && password != "" {
			text = strings.ReplaceAll(text, password, "…")
		}
	}
	if text == err.Error() {
		return err
	}
	return errors.New(text)
}

// Key is the place of an envelope in the archive: when it was sent, in unix
// seconds, big endian, and its hash. It is the cursor of a page too.
type Key [4 + 32]byte

func keyOf(sent uint32, hash transport.Hash) (k Key) {
	binary.BigEndian.PutUint32(k[:], sent)
	copy(k[4:], hash[:])
	return k
}

// Sent is when the envelope was sent, in unix seconds.
func (k Key) Sent() uint32 { return binary.BigEndian.Uint32(k[:]) }

// Hash is that of the envelope.
func (k Key) Hash() transport.Hash { return transport.Hash(k[4:]) }

// Less reports whether k is older than o.
func (k Key) Less(o Key) bool { return string(k[:]) < string(o[:]) }

// lastKey is above all others.
var lastKey = func() (k Key) {
	for i := range k {
		k[i] = 0xff
	}
	return k
}()

// spanBits is how long a span is, as a power of two in seconds: four and a half
// hours. The index by topic is divided into spans, so that only the part of the
// newest one is written to, however much is stored; a topic costs a look into
// every span it is asked of.
const spanBits = 14

func spanOf(sent uint32) int64 { return int64(sent >> spanBits) }

func (k Key) span() int64 { return spanOf(k.Sent()) }

// spanBelow is the newest span that has keys below k.
func (k Key) spanBelow() int64 {
	if k == spanStart(k.span()) {
		return k.span() - 1
	}
	return k.span()
}

// spanStart is below all keys of a span.
func spanStart(span int64) Key { return keyOf(uint32(span<<spanBits), transport.Hash{}) }

// Search is what to look for. All conditions hold together.
type Search struct {
	From, To uint32            // when sent, in unix seconds, both included
	Before   *Key              // only older ones; nil: all
	Topics   []transport.Topic // empty: all
	Bloom    *whisper.Bloom    // nil: all
	Limit    int               // keys, at least 1
	Budget   int               // rows and index places to look at, about; at least 1
}

// Found is what a Search found.
type Found struct {
	Keys    []Key
	Next    *Key // where to go on as Search.Before; nil: there is nothing more
	Scanned int  // rows and index places that were looked at
}

// bounds returns from where to below where the keys may be.
func (s *Search) bounds() (low, high Key) {
	low, high = keyOf(s.From, transport.Hash{}), lastKey
	if s.To < math.MaxUint32 {
		high = keyOf(s.To+1, transport.Hash{})
	}
	if s.Before != nil && s.Before.Less(high) {
		high = *s.Before
	}
	return low, high
}

// finish makes Found of up to Limit+1 keys that are in order.
func (s *Search) finish(keys []Key, scanned int) Found {
	f := Found{Keys: keys, Scanned: scanned}
	if len(keys) > s.Limit {
		f.Keys = keys[:s.Limit:s.Limit]
		next := f.Keys[s.Limit-1]
		f.Next = &next
	}
	return f
}

// Contents is what a store holds.
type Contents struct {
	Envelopes int       `json:"envelopes"`
	Bytes     int64     `json:"bytes"`  // of the envelopes, with what each takes beside
	Topics    int       `json:"topics"` // distinct ones; -1: too many to count
	Oldest    time.Time `json:"oldest"` // when sent; zero if there are none
	Newest    time.Time `json:"newest"`
	FileBytes int64     `json:"file_bytes"` // of the database, as the system sees it
}

// Verified is what Verify found.
type Verified struct {
	Envelopes int      `json:"envelopes"`
	Faulty    int      `json:"faulty"`           // rows that do not agree with themselves
	Faults    []string `json:"faults,omitempty"` // the first of all faults, also of the database
}

// Clean reports whether nothing is wrong.
func (v Verified) Clean() bool { return v.Faulty == 0 && len(v.Faults) == 0 }

// maxFaults is how many faults are told.
const maxFaults = 20

func (v *Verified) fault(format string, a ...any) {
	if len(v.Faults) < maxFaults {
		v.Faults = append(v.Faults, fmt.Sprintf(format, a...))
	}
}

func (v *Verified) row(k Key, err error) {
	v.Envelopes++
	if err != nil {
		v.Faulty++
		v.fault("envelope %v of %d: %v", k.Hash(), k.Sent(), err)
	}
}

// pruneBatch is how many rows are removed in one transaction: so few that
// archiving hardly waits.
const pruneBatch = 500

// Prune removes everything from before a time.
func Prune(ctx context.Context, s Store, before time.Time) (removed int, err error) {
	for {
		n, err := s.Prune(ctx, seconds(before), pruneBatch)
		if removed += n; err != nil || n < pruneBatch {
			return removed, err
		}
	}
}

func moment(sent uint32) time.Time { return time.Unix(int64(sent), 0).UTC() }
