package actors

import (
	"fmt"

	"github.com/stratanode/strata/layers"
)

// guard ends a step that panicked.
func (l *Layer[C, E, BC, BE]) guard(input any, credit *Credit) {
	if reason := recover(); reason != nil {
		l.breakDown(reason, input, nil, credit)
	}
}

// guardBundle is guard for an input that may be a bundle.
func (l *Layer[C, E, BC, BE]) guardBundle(m *stamped[BE]) {
	if reason := recover(); reason != nil {
		l.breakDown(reason, m.m, l.parts(m), m.credit)
	}
}

// breakDown ends the life of this instance: the layer is broken. What earlier
// steps have done is kept, the input that broke it is quarantined, and the
// kernel makes the layer afresh. If parts is not nil the input is a bundle, and
// its parts are tried one by one instead.
func (l *Layer[C, E, BC, BE]) breakDown(reason, input any, parts func(), credit *Credit) {
	b := &broken{reason: reason, storage: isStorage(reason)}
	switch {
	case b.storage:
		// The input is not to blame. Its sender offers it again after Ready.
	case parts != nil:
		b.split = true
		parts()
	case input != nil:
		l.quarantine.add(input, reason)
	}
	l.place.trace.broke(input, reason)
	credit.Return()
	l.commit()
	l.close()
	l.place.carried = l.stall.held
	panic(b)
}

// parts returns what sends the parts of a bundle to the layer one by one, or nil
// if m is no bundle of several.
func (l *Layer[C, E, BC, BE]) parts(m *stamped[BE]) func() {
	bundle, ok := any(m.m).(layers.Bundle[BE])
	if !ok {
		return nil
	}
	all := bundle.Parts()
	if len(all) < 2 {
		return nil
	}
	return func() {
		for _, part := range all {
			m.credit.share(1)
			l.place.queue.Add(1)
			l.stack.kernel.System().Root.Send(l.self, &stamped[BE]{part, m.span, m.credit})
		}
	}
}

// broken is the value a Layer panics with.
type broken struct {
	reason  any
	storage bool // the store failed, not the layer
	split   bool // a bundle, now to be tried in parts
}

// Error implements error.
func (b *broken) Error() string { return fmt.Sprint(b.reason) }

// Forgiven implements kernel.Forgiven.
func (b *broken) Forgiven() bool { return b.split }
