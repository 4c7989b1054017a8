package actors

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"reflect"
	"slices"
	"sync"
	"time"
)

const (
	// detailPerStep is how many bytes a step may have in the mean for its
	// identities and what it emitted. Most have two identities of 32 bytes; those
	// with the hashes of a large packet take the place of several.
	detailPerStep = 256

	// minDetail is the least that all of the steps of a layer have together, in
	// bytes.
	minDetail = 64 << 10

	// maxIdentities bounds the identities of one step, in bytes: strangers say how
	// much there is in a packet. What is beyond it cannot be found.
	maxIdentities = 32 << 10

	// maxEmitted bounds what is told of one step to have been emitted, in bytes:
	// one or two for each message.
	maxEmitted = 8 << 10
)

// record is a Step as it is kept, without what has no fixed length.
type record struct {
	at      int64 // unix nanoseconds
	took    time.Duration
	span    Span
	from    uint64 // where its detail is, counted in all bytes ever
	size    uint32 // of its detail, which is never empty
	saved   int32
	input   uint16 // the number of its type
	outcome uint8  // its place in outcomes
}

// The places in outcomes.
const (
	done = iota
	refused
	broke
)

var outcomes = [...]Outcome{done: Done, refused: Refused, broke: Broke}

// ring keeps the steps of one layer: as many as there are places, and of those
// as many as the bytes suffice for. It has a lock of its own, so that layers do
// not wait for each other. Once it is full it allocates nothing, and there is
// nothing in it that the collector would follow. A nil ring keeps nothing.
type ring struct {
	layer   string
	mu      sync.Mutex
	records []record
	next    int // the place of the oldest step, and of the next
	types   []reflect.Type
	detail  []byte // the latest bytes of all, from the beginning again at limit
	limit   int
	written uint64

	// The step that is being noted.
	draft    record
	emitted  []byte // numbers of types
	ids      []byte // each after its length
	latest   []byte // the last of them
	combined []byte
}

func newRing(layer string, steps int) *ring {
	return &ring{
		layer: layer, records: make([]record, steps), limit: max(minDetail, steps*detailPerStep),
		types: []reflect.Type{nil},
	}
}

// begin begins to note a step. The ring must be locked, until end.
func (g *ring) begin(at time.Time, span Span, input any) {
	g.draft = record{at: at.UnixNano(), span: span, input: g.number(input)}
	g.emitted, g.ids, g.latest = g.emitted[:0], g.ids[:0], nil
	g.identify(input)
}

// number returns the number of the type of m. There are no more than a layer has
// kinds of messages.
func (g *ring) number(m any) uint16 {
	t := reflect.TypeOf(m)
	i := slices.Index(g.types, t)
	if i < 0 {
		i = len(g.types)
		g.types = append(g.types, t)
	}
	return uint16(i)
}

// identify notes the identity of m. A layer often hands on what it got, with the
// same one.
func (g *ring) identify(m any) {
	id := identityOf(m)
	id = id[:min(len(id), maxIdentities-min(len(g.ids), maxIdentities))]
	if len(id) == 0 || bytes.Equal(id, g.latest) {
		return
	}
	g.ids = append(binary.AppendUvarint(g.ids, uint64(len(id))), id...)
	g.latest = id
}

func (g *ring) emit(m any) {
	if len(g.emitted) < maxEmitted {
		g.emitted = binary.AppendUvarint(g.emitted, uint64(g.number(m)))
	}
	g.identify(m)
}

// end puts the step in the place of the oldest one.
func (g *ring) end(outcome uint8, took time.Duration, saved int, reason string) {
	b := binary.AppendUvarint(g.combined[:0], uint64(len(g.emitted)))
	b = append(b, g.emitted...)
	b = binary.AppendUvarint(b, uint64(len(reason)))
	b = append(b, reason...)
	b = append(b, g.ids...)
	g.latest, g.combined = nil, b
	r := &g.draft
	r.outcome, r.took, r.saved = outcome, took, int32(saved)
	r.from, r.size = g.written, uint32(len(b))
	g.write(b)
	g.records[g.next] = *r
	g.next = (g.next + 1) % len(g.records)
}

func (g *ring) write(b []byte) {
	g.written += uint64(len(b))
	if n := min(len(b), g.limit-len(g.detail)); n > 0 {
		g.detail = append(g.detail, b[:n]...)
		b = b[n:]
	}
	for len(b) > 0 {
		at := (g.written - uint64(len(b))) % uint64(g.limit)
		b = b[copy(g.detail[at:], b):]
	}
}

// read returns the detail of r, or nil if others have taken its place.
func (g *ring) read(r *record) []byte {
	if r.size == 0 || g.written-r.from > uint64(g.limit) {
		return nil
	}
	at := int(r.from % uint64(g.limit))
	n := min(int(r.size), len(g.detail)-at)
	return append(slices.Clone(g.detail[at:at+n]), g.detail[:int(r.size)-n]...)
}

// each calls f for all steps that are remembered.
func (g *ring) each(f func(r *record, d detail)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.records {
		r := &g.records[i]
		if b := g.read(r); b != nil {
			f(r, detail{b})
		}
	}
}

// detail is what was written of a step.
type detail struct{ rest []byte }

func (d *detail) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	d.rest = d.rest[n:]
	return v
}

func (d *detail) bytes() []byte {
	n := d.uvarint()
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

// has reports whether an identity of the step is or contains id.
func (d detail) has(id []byte) bool {
	d.bytes()
	for d.bytes(); len(d.rest) > 0; {
		if bytes.Contains(d.bytes(), id) {
			return true
		}
	}
	return false
}

// step tells r. The ring must be locked.
func (g *ring) step(r *record, d detail) Step {
	s := Step{
		At: time.Unix(0, r.at), Layer: g.layer, Span: r.span, Input: nameOf(g.types[r.input]),
		Outcome: outcomes[r.outcome], Took: r.took, Saved: int(r.saved),
	}
	for emitted := (detail{d.bytes()}); len(emitted.rest) > 0; {
		s.Emitted = append(s.Emitted, nameOf(g.types[emitted.uvarint()]))
	}
	for s.Reason = string(d.bytes()); len(d.rest) > 0; {
		id := d.bytes()
		s.Identity = append(s.Identity, hex.EncodeToString(id[:min(len(id), 32)]))
	}
	return s
}
