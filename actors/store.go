package actors

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/stratanode/strata/layers"
)

// Store is where layers keep their records. kernel/store is one; actortest has
// one in memory.
type Store interface {
	// Namespace returns the records of one layer.
	Namespace(name string) Records
}

// Records are the durable records of one layer. They are used by one goroutine.
type Records interface {
	// Commit makes records durable, all or none, before it returns.
	Commit([]layers.Record) error

	// Get returns the value of key and whether there is one.
	Get(key string) ([]byte, bool, error)

	// Scan walks from <= key < to, downwards if reverse is set; an empty to means
	// no upper bound. An error ends the walk.
	Scan(from, to string, reverse bool) iter.Seq2[layers.Record, error]
}

// errStorage marks a failure of the store, as opposed to one of the layer.
var errStorage = errors.New("storage")

// saved is the view a protocol has of its records: the durable ones, and over
// them those of finished steps that wait for their commit.
type saved struct {
	records Records
	pending []layers.Record
}

// Get implements layers.Saved.
func (s *saved) Get(key string) ([]byte, bool) {
	for _, r := range slices.Backward(s.pending) {
		if r.Key == key {
			return r.Value, r.Value != nil
		}
	}
	v, ok, err := s.records.Get(key)
	if err != nil {
		panic(fmt.Errorf("%w: get: %w", errStorage, err))
	}
	return v, ok
}

// Scan implements layers.Saved. It merges the durable records with the pending
// ones, of which the latest for a key holds.
func (s *saved) Scan(from, to string, reverse bool) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		over := s.pendingIn(from, to, reverse)
		before := func(a, b string) bool { return cmp.Less(a, b) != reverse && a != b }
		for r, err := range s.records.Scan(from, to, reverse) {
			if err != nil {
				panic(fmt.Errorf("%w: scan: %w", errStorage, err))
			}
			for len(over) > 0 && before(over[0].Key, r.Key) {
				if over[0].Value != nil && !yield(over[0].Key, over[0].Value) {
					return
				}
				over = over[1:]
			}
			if len(over) > 0 && over[0].Key == r.Key {
				r, over = over[0], over[1:]
			}
			if r.Value != nil && !yield(r.Key, r.Value) {
				return
			}
		}
		for _, r := range over {
			if r.Value != nil && !yield(r.Key, r.Value) {
				return
			}
		}
	}
}

// pendingIn returns the last pending record of each key in the range, in order.
func (s *saved) pendingIn(from, to string, reverse bool) []layers.Record {
	var in []layers.Record
	seen := map[string]bool{}
	for _, r := range slices.Backward(s.pending) {
		if r.Key >= from && (to == "" || r.Key < to) && !seen[r.Key] {
			seen[r.Key] = true
			in = append(in, r)
		}
	}
	slices.SortFunc(in, func(a, b layers.Record) int { return strings.Compare(a.Key, b.Key) })
	if reverse {
		slices.Reverse(in)
	}
	return in
}
