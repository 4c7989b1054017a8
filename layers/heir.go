package layers

import "time"

// Heir is a Protocol that can go on with what another one of its kind had begun
// when it was replaced: with what that still held for others, say. Succeed is one
// step, after the first Wake and before any other; before gets no input any more
// and is forgotten, so that the heir may take over its memory. One of another
// kind leaves the heir as it is.
type Heir[C, E, BC, BE any] interface {
	Succeed(now time.Time, before Protocol[C, E, BC, BE]) Output[E, BC]
}
