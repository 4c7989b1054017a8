package store

import (
	"fmt"
	"iter"

	"github.com/ncruces/go-sqlite3"
)

// Entry is a record that was found.
type Entry struct {
	Key   string
	Value []byte
}

// Bounds of what is read at a time by Scan.
const (
	pageEntries = 256     // records
	pageBytes   = 1 << 20 // bytes; one record may be more
)

// Get returns the value of key and whether there is one. The value is the
// caller's. An error that is ErrRolledBack says that a secret record was
// changed under the store; any other means a broken disk, or ErrClosed.
func (n *Namespace) Get(key string) ([]byte, bool, error) {
	s := n.store
	s.mu.Lock()
	defer s.mu.Unlock()
	value, found, err := s.get(n.name, key)
	if err != nil {
		return nil, false, fmt.Errorf("store: get from %s: %w", n.name, err)
	}
	return value, found, nil
}

func (s *Store) get(ns, key string) ([]byte, bool, error) {
	if s.db == nil {
		return nil, false, ErrClosed
	}
	q := s.db.get
	defer q.Reset()
	if err := bindName(q, ns, key); err != nil {
		return nil, false, fault(err)
	}
	if !q.Step() {
		return nil, false, fault(q.Err())
	}
	value, err := s.value(ns, key, q, 0)
	return value, err == nil, err
}

// Scan walks the records with from <= key < to in order of their keys,
// downwards if reverse is set. An empty to means no upper bound. An error ends
// the walk.
//
// The store is not held between two records: the loop may commit and read, also
// to the same namespace. It sees each record that is there all along once, and
// of what is written meanwhile all, some or nothing.
func (n *Namespace) Scan(from, to string, reverse bool) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		from, to := from, to
		page := make([]Entry, 0, 16)
		for more := true; more; {
			var err error
			page, more, err = n.store.page(page[:0], n.name, from, to, reverse)
			if err != nil {
				yield(Entry{}, fmt.Errorf("store: scan of %s: %w", n.name, err))
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
			}
			if !more {
				return
			}
			last := page[len(page)-1].Key
			if reverse {
				// Nothing is below the empty key, and an empty bound
				// would mean none.
				to, more = last, last != ""
			} else {
				from = last + "\x00"
			}
		}
	}
}

// page appends one page of records to entries and says whether there may be
// more.
func (s *Store) page(entries []Entry, ns, from, to string, reverse bool) ([]Entry, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return nil, false, ErrClosed
	}
	q := s.db.scan[index(reverse)][index(to != "")]
	defer q.Reset()
	if err := bindName(q, ns, from); err != nil {
		return nil, false, fault(err)
	}
	if err := q.BindInt64(3, pageEntries); err != nil {
		return nil, false, fault(err)
	}
	if to != "" {
		if err := q.BindBlob(4, []byte(to)); err != nil {
			return nil, false, fault(err)
		}
	}
	for size := 0; q.Step(); {
		key := string(q.ColumnRawBlob(0))
		value, err := s.value(ns, key, q, 1)
		if err != nil {
			return nil, false, err
		}
		entries = append(entries, Entry{key, value})
		if size += len(key) + len(value); size >= pageBytes {
			return entries, true, nil
		}
	}
	return entries, len(entries) == pageEntries, fault(q.Err())
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

// value returns a copy of the value in column and, if the counter in the column
// after it says so, opens it.
func (s *Store) value(ns, key string, q *sqlite3.Stmt, column int) ([]byte, error) {
	raw, counter := q.ColumnRawBlob(column), uint64(q.ColumnInt64(column+1))
	if counter == 0 { // NULL: not secret
		return append(make([]byte, 0, len(raw)), raw...), nil
	}
	return s.seal.open(ns, key, counter, raw)
}

// bindName binds the first two parameters, the primary key.
func bindName(q *sqlite3.Stmt, ns, key string) error {
	if err := q.BindText(1, ns); err != nil {
		return err
	}
	return q.BindBlob(2, []byte(key))
}
