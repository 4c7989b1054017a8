package bridge

import (
	"crypto/sha256"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
)

// afterlife is for how long an envelope is remembered after its end: clocks may
// differ by 20 s, and other bridges may each have given a copy some seconds more
// to reach the least time to live of a transport. Whoever hears such a copy
// remembers it for longer still.
const afterlife = time.Minute

// identify returns what an envelope is the same by in all transports. It is
// also the Ref it is published under, so that a transport that has it already
// from an earlier life of the bridge does not take it for another.
func (c *Core) identify(e *transport.Envelope) layers.Ref {
	c.hash.Reset()
	c.hash.Write(e.Topic[:])
	c.hash.Write(e.Data)
	c.hash.Sum(c.sum[:0])
	return c.sum
}

// Ref and hash have the same length, so nothing is cut.
var _ [sha256.Size]byte = layers.Ref{}

// sides is a set of sides.
type sides uint8

func (s side) set() sides           { return 1 << s }
func (s sides) has(other side) bool { return s&other.set() != 0 }

// memory is a bounded set of identities and the sides they were heard on. The
// oldest are forgotten first; what is over is not in it any more.
type memory struct {
	limit int
	marks map[layers.Ref]mark
	order fifo[entry]
	next  uint64
}

type mark struct {
	until int64 // unix seconds
	seq   uint64
	on    sides
}

// entry is a place in the order of arrival.
type entry struct {
	id  layers.Ref
	seq uint64
}

func newMemory(limit int) memory { return memory{limit: limit, marks: map[layers.Ref]mark{}} }

// on returns the sides id was heard on. If there are any, it is remembered at
// least until the given time.
func (m *memory) on(now time.Time, id layers.Ref, until time.Time) sides {
	k, ok := m.marks[id]
	if !ok || k.until <= now.Unix() {
		return 0
	}
	if u := seconds(until); u > k.until {
		k.until = u
		m.marks[id] = k
	}
	return k.on
}

// add notes that id is on some sides.
func (m *memory) add(now time.Time, id layers.Ref, on sides, until time.Time) {
	k, ok := m.marks[id]
	if ok && k.until > now.Unix() {
		k.on |= on
		k.until = max(k.until, seconds(until))
		m.marks[id] = k
		return
	}
	for m.order.len() > 0 && (m.order.len() >= m.limit || m.over(now)) {
		if e := m.order.pop(); m.marks[e.id].seq == e.seq {
			delete(m.marks, e.id)
		}
	}
	m.next++
	m.marks[id] = mark{until: seconds(until), seq: m.next, on: on}
	m.order.push(entry{id, m.next})
}

// over reports whether the oldest entry may be forgotten.
func (m *memory) over(now time.Time) bool {
	e := m.order.front()
	k, ok := m.marks[e.id]
	return !ok || k.seq != e.seq || k.until <= now.Unix()
}

func seconds(t time.Time) int64 { return t.Unix() + 1 }
