package actors

import (
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

// Tracer keeps the latest steps of every layer, bounded in their number and in
// bytes, so that one can ask what became
// of a message, and where. A nil Tracer traces nothing. It is safe for
// concurrent use.
type Tracer struct {
	steps int
	mu    sync.Mutex
	rings []*ring
}

// NewTracer returns a tracer that remembers up to n steps of each layer, fewer if
// they carry much, in about 300 bytes each; or nil if n is 0.
func NewTracer(n int) *Tracer {
	if n == 0 {
		return nil
	}
	return &Tracer{steps: n}
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
	g := newRing(layer, t.steps)
	t.rings = append(t.rings, g)
	return g
}

// trace records a step that was carried out.
func trace[E, BC any](g *ring, p *performed[E, BC]) {
	if g == nil {
		return
	}
	took := now().Sub(p.at)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.begin(p.at, p.span, p.input)
	for _, c := range p.out.Down {
		g.emit(c)
	}
	for _, e := range p.out.Up {
		g.emit(e)
	}
	g.end(done, took, len(p.out.Save), "")
}

func (g *ring) refused(span Span, input any, err error) { g.failed(span, input, refused, err) }

func (g *ring) broke(input, reason any) { g.failed(0, input, broke, reason) }

func (g *ring) failed(span Span, input any, outcome uint8, reason any) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	text := fmt.Sprint(reason)
	g.begin(now(), span, input)
	g.end(outcome, 0, 0, text[:min(len(text), maxReason)])
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
		g.each(func(r *record, d detail) {
			if r.span != 0 && d.has(id) {
				related[r.span] = true
			}
		})
	}
	var found []Step
	for _, g := range rings {
		g.each(func(r *record, d detail) {
			if related[r.span] {
				found = append(found, g.step(r, d))
			}
		})
	}
	slices.SortStableFunc(found, func(a, b Step) int { return a.At.Compare(b.At) })
	return found
}

// nameOf is the name of a message type. An input of no type is a wake-up.
func nameOf(t reflect.Type) string {
	if t == nil {
		return "wake"
	}
	return t.String()
}
