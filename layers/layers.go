// Package layers says what a protocol layer is: a pure state machine with
// three entrances and one kind of output. Read it first.
//
// A layer has no goroutine, lock, clock, socket, file, log or random source of
// its own. Time is an argument, randomness an io.Reader given to its New,
// durability a field of its Output (DESIGN §2).
package layers

import (
	"encoding/hex"
	"iter"
	"time"
)

// Protocol is one layer of the stack.
//
// It accepts commands C from the layer above and reports events E to it; it
// sends commands BC to the layer below and hears events BE from it.
//
// Each method is one step. A step that returns an error has refused its input
// and left the protocol unchanged: its Output is ignored. A step that panics
// has found the protocol itself broken, and the kernel starts it afresh from
// what it last saved.
//
// Steps are called one at a time, never concurrently. Once emitted, everything
// reachable from a message is read-only for both sides.
type Protocol[C, E, BC, BE any] interface {
	FromAbove(now time.Time, c C) (Output[E, BC], error)
	FromBelow(now time.Time, e BE) (Output[E, BC], error)

	// Wake is called once, first, after New, and then at or after the time the
	// last Output asked for. An early or repeated call must be harmless. The
	// first Wake opens the layer: it emits what a neighbour must hear after a
	// start (Attach to the layer below, Ready to the one above).
	Wake(now time.Time) Output[E, BC]
}

// Output is what one step asks of the world, in the order it is carried out.
type Output[E, BC any] struct {
	Save []Record  // made durable before anything is sent
	Down []BC      // commands to the layer below
	Up   []E       // events for the layer above
	Wake time.Time // when to be woken; zero leaves the alarm as it is
}

// Add appends what p asks for to o. The earlier of two wake times holds.
func (o *Output[E, BC]) Add(p Output[E, BC]) {
	o.Save = append(o.Save, p.Save...)
	o.Down = append(o.Down, p.Down...)
	o.Up = append(o.Up, p.Up...)
	o.WakeAt(p.Wake)
}

// WakeAt asks for a wake-up at t unless an earlier one is asked for already.
// The zero time asks for nothing.
func (o *Output[E, BC]) WakeAt(t time.Time) {
	if !t.IsZero() && (o.Wake.IsZero() || t.Before(o.Wake)) {
		o.Wake = t
	}
}

// Record is one durable fact of a layer. Keys are ordered bytewise and belong
// to the layer alone. A nil Value deletes the record.
type Record struct {
	Key    string
	Value  []byte
	Secret bool // sealed again at rest, and guarded against being rolled back
}

// Saved is what a layer made durable in earlier steps, also in those of an
// earlier life. It is given to New. Reading is no side effect: a record changes
// only by the layer's own Output. A store that cannot be read panics, which
// ends the step and restarts the layer.
type Saved interface {
	// Get returns the value of key and whether there is one. The caller may
	// keep the value but must not change it.
	Get(key string) ([]byte, bool)

	// Scan walks the records with from <= key < to in order of their keys,
	// downwards if reverse is set. An empty to means no upper bound.
	Scan(from, to string, reverse bool) iter.Seq2[string, []byte]
}

// Prefix returns the bounds for Saved.Scan of all keys that begin with p.
func Prefix(p string) (from, to string) {
	b := []byte(p)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] != 0xff {
			b[i]++
			return p, string(b[:i+1])
		}
	}
	return p, ""
}

// Ref names a command. The sender of the command chooses it, unique among its
// commands, and it comes back in every event about that command. A command
// repeated with a Ref that is still unanswered is the same command and changes
// nothing, so a layer may offer again what it is not sure of.
type Ref [32]byte

// String returns the first 8 bytes in hex: enough to follow a message.
func (r Ref) String() string { return hex.EncodeToString(r[:8]) }

// Identified is implemented by a message whose identity is less than its whole
// value, for example because it carries a time of arrival. Quarantine (DESIGN
// §4) compares Identity instead of the message, and the trace finds the message
// by it.
type Identified interface{ Identity() []byte }

// Bundle is implemented by a message that carries several independent inputs.
// When a step breaks on a bundle, its parts are tried one by one, so that only
// the guilty part is quarantined.
type Bundle[M any] interface{ Parts() []M }
