package mvds

import (
	"container/list"
	"iter"
)

// ordered is a map that remembers the order in which its values came, and how
// many bytes they take.
type ordered[K comparable, V interface{ size() int }] struct {
	elements map[K]*list.Element // of pair
	order    list.List
	bytes    int
}

type pair[K comparable, V any] struct {
	key   K
	value V
}

func newOrdered[K comparable, V interface{ size() int }]() *ordered[K, V] {
	return &ordered[K, V]{elements: map[K]*list.Element{}}
}

func (o *ordered[K, V]) len() int { return len(o.elements) }

func (o *ordered[K, V]) get(k K) (v V, ok bool) {
	e, ok := o.elements[k]
	if ok {
		v = e.Value.(pair[K, V]).value
	}
	return v, ok
}

// add appends v. The key must be new.
func (o *ordered[K, V]) add(k K, v V) {
	o.elements[k] = o.order.PushBack(pair[K, V]{k, v})
	o.bytes += v.size()
}

func (o *ordered[K, V]) remove(k K) {
	if e, ok := o.elements[k]; ok {
		o.bytes -= o.order.Remove(e).(pair[K, V]).value.size()
		delete(o.elements, k)
	}
}

// oldest returns the first value, or the zero value if there is none.
func (o *ordered[K, V]) oldest() (v V) {
	if e := o.order.Front(); e != nil {
		v = e.Value.(pair[K, V]).value
	}
	return v
}

// all walks the values, the oldest first.
func (o *ordered[K, V]) all() iter.Seq[V] {
	return func(yield func(V) bool) {
		for e := o.order.Front(); e != nil; e = e.Next() {
			if !yield(e.Value.(pair[K, V]).value) {
				return
			}
		}
	}
}
