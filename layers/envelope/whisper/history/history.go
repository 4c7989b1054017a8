// Package history fetches what was sent while a node was away. It knows the
// topics that are listened to and until when each of them was fetched, asks the
// servers that the transport names page by page, and says how far it has come.
//
// # What is promised
//
// Every envelope of a wanted topic that a correct server holds, and that was sent
// within the window, is brought at least once. Whoever opens them sees to it that
// none is opened twice (Recent).
//
// # Crashes
//
// A mark, until when a topic was fetched, is saved half a minute after the last
// envelope before it was handed up (settle). The layers above save what they
// made of an envelope in their own time and nobody tells this layer; had the mark
// been saved at once, a crash in between would lose the envelope for good. After
// such a crash envelopes are therefore fetched again, and those above are used to
// that. Long absences are fetched a day at a time, the oldest first, so that a
// crash costs a day of progress at most. Marks are not moved by what comes live:
// the next fetch begins at the old mark, and covers what a crash took away of
// that too.
package history

import (
	"io"
	"slices"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/transport"
)

// Output is what a step of the driver asks of the layer it is part of.
type Output = layers.Output[envelope.Event, transport.Command]

const (
	settle      = 30 * time.Second // see the package comment; mailboxes above are empty in less
	settleSlot  = 5 * time.Second  // marks that ripen within it are saved together
	gather      = time.Second      // how long more new topics are waited for
	gatherMost  = 10 * time.Second // from the first of them
	reconnected = 2 * time.Second  // until links are up again after a loss of contact
	apart       = time.Minute      // between catch-ups that losses of contact ask for
	firstWait   = 30 * time.Second // after all servers have failed
	longestWait = 10 * time.Minute // likewise, doubled again and again
	newcomer    = 5 * time.Second  // a new server is asked so long after the others were
)

// Driver is the driver of one node's history. It is a part of a layer and as
// pure: its methods are called one at a time.
type Driver struct {
	cfg    Config
	refs   refs
	marks  *marks
	ripe   []ripening                 // in the order of their times
	wanted map[transport.Topic]uint64 // and by which Listen since when
	stale  map[transport.Topic]bool   // of them, those to be fetched
	listen uint64                     // how many there were

	ready   bool // the transport has said so
	alone   bool // without peers, at the last count
	servers []string
	sure    bool           // servers were named since the last Ready
	faults  map[string]int // of servers, see dismiss and finish

	clock   time.Time // of the last step
	run     *run
	started time.Time // the last run
	first   time.Time // of the new topics that are waiting
	startAt time.Time // when they have waited enough
	staleAt time.Time // when everything wanted is to be fetched
	retryAt time.Time // when servers that failed are asked again
	wait    time.Duration

	partly   bool // the last run has left something
	progress envelope.Progress
	shown    bool // a Progress was emitted
}

// New returns a driver that goes on from what was saved; nil is nothing. Refs of
// queries are made from random, which is read at the first of them.
func New(cfg Config, random io.Reader, saved layers.Saved) *Driver {
	return &Driver{
		cfg: cfg, refs: refs{random: random}, marks: loadMarks(saved),
		wanted: map[transport.Topic]uint64{}, stale: map[transport.Topic]bool{}, faults: map[string]int{},
	}
}

// Listen sets the topics that are wanted, sorted. In renewed are those of them
// that were wanted before but can be read in a new way: what was fetched of them
// may hold more than it did, so they are fetched anew as far back as a topic that
// was never asked for.
func (d *Driver) Listen(now time.Time, topics, renewed []transport.Topic) Output {
	if !d.cfg.Enabled {
		return Output{}
	}
	d.listen++
	if len(topics) > maxTopics {
		topics = topics[:maxTopics]
	}
	before := d.wanted
	d.wanted = make(map[transport.Topic]uint64, len(topics))
	// The moments until the first query must not make a window of a day longer: it
	// would take two queries.
	first := now.Add(d.cfg.Overlap - d.cfg.FirstWindow + gatherMost).Unix()
	fresh, marked := false, false
	for _, t := range topics {
		since, known := before[t]
		if again := known && contains(renewed, t); !known || again {
			since, fresh = d.listen, true
			d.stale[t] = true
			// The window of a new topic begins at the first wish, and is saved: there
			// may be nobody to ask for longer than the window is.
			marked = d.marks.begin(t, first, now.Unix(), again) || marked
		}
		d.wanted[t] = since
	}
	for t := range d.stale {
		if _, ok := d.wanted[t]; !ok {
			delete(d.stale, t)
		}
	}
	if fresh {
		d.gather(now)
	}
	var out Output
	if marked {
		out.Save = d.marks.records()
	}
	return d.drive(now, out)
}

func contains(sorted []transport.Topic, t transport.Topic) bool {
	_, found := slices.BinarySearchFunc(sorted, t, compareTopics)
	return found
}

// gather waits a moment for more new topics: they often come a few at a time,
// and one query is as cheap for many as for one.
func (d *Driver) gather(now time.Time) {
	if d.first.IsZero() {
		d.first = now
	}
	d.startAt = earliest(now.Add(gather), d.first.Add(gatherMost))
}

// Ready is called when the transport has said so. Queries are repeated: it may be
// another transport. If it is the same they are the same commands. Whom it can
// ask it says in the next Archives, if it can at all.
func (d *Driver) Ready(now time.Time) Output {
	if !d.cfg.Enabled {
		return Output{}
	}
	var out Output
	d.sure = false
	if d.run != nil {
		for _, l := range d.run.legs {
			if l.asked {
				d.repeat(now, l, &out)
			}
		}
	}
	if d.ready {
		d.lost(now)
	}
	d.ready = true
	return d.drive(now, out)
}

// Peers is called with the number of linked peers.
func (d *Driver) Peers(now time.Time, count int) Output {
	if !d.cfg.Enabled {
		return Output{}
	}
	if d.alone && count > 0 {
		d.lost(now)
	}
	d.alone = count == 0
	return d.drive(now, Output{})
}

// lost sees to it that everything is fetched that was sent while there was no
// contact.
func (d *Driver) lost(now time.Time) {
	if d.started.IsZero() {
		return // nothing was fetched yet, so everything is stale anyway
	}
	at := latest(now.Add(reconnected), d.started.Add(apart))
	d.staleAt = earliest(d.staleAt, at)
}

// Wake is called when time has passed.
func (d *Driver) Wake(now time.Time) Output {
	if !d.cfg.Enabled {
		return Output{}
	}
	return d.drive(now, Output{})
}

// Progress returns the state that was reported last, and whether there was any.
func (d *Driver) Progress() (envelope.Progress, bool) { return d.progress, d.shown }
