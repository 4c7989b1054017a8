package actors

import (
	"iter"

	"github.com/stratanode/strata/kernel/store"
	"github.com/stratanode/strata/layers"
)

// Durable returns the records of a kernel store as layers see them.
func Durable(s *store.Store) Store { return durable{s} }

type durable struct{ *store.Store }

// Namespace implements Store.
func (d durable) Namespace(name string) Records { return durableRecords{d.Store.Namespace(name)} }

type durableRecords struct{ *store.Namespace }

// Commit implements Records.
func (d durableRecords) Commit(records []layers.Record) error {
	converted := make([]store.Record, len(records))
	for i, r := range records {
		converted[i] = store.Record(r)
	}
	return d.Namespace.Commit(converted)
}

// Scan implements Records.
func (d durableRecords) Scan(from, to string, reverse bool) iter.Seq2[layers.Record, error] {
	return func(yield func(layers.Record, error) bool) {
		for e, err := range d.Namespace.Scan(from, to, reverse) {
			if !yield(layers.Record{Key: e.Key, Value: e.Value}, err) {
				return
			}
		}
	}
}
