package actors

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"
)

// Outcome is how a step ended.
type Outcome string

// The outcomes of a step.
const (
	Done    Outcome = "done"
	Refused Outcome = "refused" // the input was bad
	Broke   Outcome = "broke"   // the layer was
)

// Step is one step of one layer, as the trace tells it.
type Step struct {
	At       time.Time     `json:"at"`
	Layer    string        `json:"layer"`
	Span     Span          `json:"span"` // steps with one span have one cause
	Input    string        `json:"input"`
	Outcome  Outcome       `json:"outcome"`
	Reason   string        `json:"reason,omitempty"`
	Took     time.Duration `json:"took_ns"` // from the input to the emission, so with the commit
	Saved    int           `json:"saved"`   // records
	Emitted  []string      `json:"emitted,omitempty"`
	Identity []string      `json:"identity,omitempty"` // of the input and of what was emitted, in hex
}

// record is a Step as it is kept: the places of the ring are used again, so that
// tracing allocates nothing of its own.
type record struct {
	at      time.Time
	took    time.Duration
	span    Span
	outcome Outcome
	reason  string
	saved   int
	input   reflect.Type
	emitted []reflect.Type
	ids     [][]byte
}

// Tracer keeps the latest steps of every layer, so that one can ask what became
// of a message, and where. A nil Tracer traces nothing. It is safe for
// concurrent use.
type Tracer struct {
	steps int
	mu    sync.Mutex
	rings []*ring
}

// NewTracer returns a tracer that remembers n steps of each layer, or nil if n
// is 0.
func NewTracer(n int) *Tracer {
	if n == 0 {
		return nil
	}
	return &Tracer{steps: n}
}

// ring keeps the steps of one layer. It has a lock of its own, so that layers do
// not wait for each other. A nil ring keeps nothing.
type ring struct {
	layer   string
	mu      sync.Mutex
	records []record
	next    int // the place of the oldest step, and of the next
}

// ring returns the ring of a layer, made at the first use.
func (t *Tracer) ring(layer string) *ring {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, g := range t.rings {
		if g.layer == layer {
			return g
		}
	}
	g := &ring{layer: layer, records: make([]record, t.steps)}
	t.rings = append(t.rings, g)
	return g
}

// take returns the next place of the ring, filled with what every step has. The
// ring must be locked.
func (g *ring) take(at time.Time, span Span, input any) *record {
	r := &g.records[g.next]
	g.next = (g.next + 1) % len(g.records)
	*r = record{
		at: at, span: span, input: reflect.TypeOf(input), outcome: Done,
		emitted: r.emitted[:0], ids: r.ids[:0],
	}
	r.identify(input)
	return r
}

func (r *record) identify(m any) {
	if id := identityOf(m); len(id) > 0 {
		r.ids = append(r.ids, id)
	}
}

func (r *record) emit(m any) {
	r.emitted = append(r.emitted, reflect.TypeOf(m))
	r.identify(m)
}

// trace records a step that was carried out.
func trace[E, BC any](g *ring, p *performed[E, BC]) {
	if g == nil {
		return
	}
	took := now().Sub(p.at)
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.take(p.at, p.span, p.input)
	r.took, r.saved = took, len(p.out.Save)
	for _, c := range p.out.Down {
		r.emit(c)
	}
	for _, e := range p.out.Up {
		r.emit(e)
	}
}

func (g *ring) refused(span Span, input any, err error) { g.failed(span, input, Refused, err) }

func (g *ring) broke(input, reason any) { g.failed(0, input, Broke, reason) }

func (g *ring) failed(span Span, input any, o Outcome, reason any) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.take(now(), span, input)
	r.outcome, r.reason = o, fmt.Sprint(reason)
}

// Find returns what is remembered of the message with the given identity, in
// the order of time: the steps that took or emitted it, and all that have the
// same cause as one of those. Bundles are found by any of their parts.
func (t *Tracer) Find(id []byte) []Step {
	if t == nil || len(id) == 0 {
		return nil
	}
	t.mu.Lock()
	rings := slices.Clone(t.rings)
	t.mu.Unlock()
	related := map[Span]bool{}
	for _, g := range rings {
		g.each(func(r *record) {
			if r.span != 0 && slices.ContainsFunc(r.ids, func(i []byte) bool { return bytes.Contains(i, id) }) {
				related[r.span] = true
			}
		})
	}
	var found []Step
	for _, g := range rings {
		g.each(func(r *record) {
			if related[r.span] {
				found = append(found, r.step(g.layer))
			}
		})
	}
	slices.SortStableFunc(found, func(a, b Step) int { return a.At.Compare(b.At) })
	return found
}

func (g *ring) each(f func(*record)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.records {
		f(&g.records[i])
	}
}

// step tells r.
func (r *record) step(layer string) Step {
	s := Step{
		At: r.at, Layer: layer, Span: r.span, Input: nameOf(r.input),
		Outcome: r.outcome, Reason: r.reason, Took: r.took, Saved: r.saved,
	}
	for _, e := range r.emitted {
		s.Emitted = append(s.Emitted, nameOf(e))
	}
	for _, id := range r.ids {
		s.Identity = append(s.Identity, hex.EncodeToString(id[:min(len(id), 32)]))
	}
	return s
}

// nameOf is the name of a message type. An input of no type is a wake-up.
func nameOf(t reflect.Type) string {
	if t == nil {
		return "wake"
	}
	return t.String()
}
