package actors

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stratanode/strata/layers"
)

// Outcome is how a step ended.
type Outcome string

// The outcomes of a step.
const (
	Done    Outcome = "done"
	Refused Outcome = "refused" // the input was bad
	Broke   Outcome = "broke"   // the layer was
)

// Step is one step of one layer, as the trace keeps it.
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

	ids [][]byte
}

// Tracer keeps the latest steps of all layers in a ring, so that one can ask
// what became of a message, and where. A nil Tracer traces nothing. It is safe
// for concurrent use.
type Tracer struct {
	mu   sync.Mutex
	ring []*Step
	next int
}

// NewTracer returns a tracer that remembers n steps, or nil if n is 0.
func NewTracer(n int) *Tracer {
	if n == 0 {
		return nil
	}
	return &Tracer{ring: make([]*Step, 0, n)}
}

// begin opens the record of a step; finish closes it.
func (t *Tracer) begin(layer string, at time.Time, span Span, input any) *Step {
	if t == nil {
		return nil
	}
	s := &Step{At: at, Layer: layer, Span: span, Input: traceName(input), Outcome: Done}
	s.identify(input)
	return s
}

func (s *Step) identify(m any) {
	if id := identityOf(m); len(id) > 0 {
		s.ids = append(s.ids, id)
	}
}

// finish closes the record of a step that was carried out.
func finish[E, BC any](t *Tracer, s *Step, out layers.Output[E, BC]) {
	s.Took = now().Sub(s.At)
	s.Saved = len(out.Save)
	for _, c := range out.Down {
		s.Emitted = append(s.Emitted, traceName(c))
		s.identify(c)
	}
	for _, e := range out.Up {
		s.Emitted = append(s.Emitted, traceName(e))
		s.identify(e)
	}
	t.keep(s)
}

func (t *Tracer) refused(layer string, span Span, input any, err error) {
	if t == nil {
		return
	}
	s := t.begin(layer, now(), span, input)
	s.Outcome, s.Reason = Refused, err.Error()
	t.keep(s)
}

func (t *Tracer) broke(layer string, input, reason any) {
	if t == nil {
		return
	}
	s := t.begin(layer, now(), 0, input)
	s.Outcome, s.Reason = Broke, fmt.Sprint(reason)
	t.keep(s)
}

func (t *Tracer) keep(s *Step) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.ring) < cap(t.ring) {
		t.ring = append(t.ring, s)
		return
	}
	t.ring[t.next] = s
	t.next = (t.next + 1) % len(t.ring)
}

// Find returns what is remembered of the message with the given identity, in
// the order of time: the steps that took or emitted it, and all that have the
// same cause as one of those. Bundles are found by any of their parts.
func (t *Tracer) Find(id []byte) []Step {
	if t == nil || len(id) == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	related := map[Span]bool{}
	for _, s := range t.ring {
		if s.Span != 0 && slices.ContainsFunc(s.ids, func(i []byte) bool { return bytes.Contains(i, id) }) {
			related[s.Span] = true
		}
	}
	var found []Step
	for _, s := range t.ring {
		if related[s.Span] {
			c := *s
			for _, i := range s.ids {
				c.Identity = append(c.Identity, hex.EncodeToString(i[:min(len(i), 32)]))
			}
			found = append(found, c)
		}
	}
	slices.SortStableFunc(found, func(a, b Step) int { return a.At.Compare(b.At) })
	return found
}

// traceName is typeName for the messages of the trace, which has no time for
// fmt.
func traceName(m any) string {
	if _, ok := m.(wake); ok || m == nil {
		return "wake"
	}
	return typeOf(m)
}
