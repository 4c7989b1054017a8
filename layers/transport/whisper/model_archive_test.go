package whisper

import (
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

// archive keeps what a relay admits, now and then.
type archive struct {
	heard []transport.Admitted // not read yet
	mark  uint64               // of the last that was read
	last  uint64               // of the last that was ever reported
	kept  map[transport.Hash]bool
	held  map[transport.Hash]bool // read by this life and not kept yet
}

// checkKept fails if a node confirms what its archive has not kept.
func (w *world) checkKept(from, to int, o overlay.Outgoing) {
	a := w.nodes[from].archive
	if o.Code != codeAcknowledged || a == nil {
		return
	}
	p, err := decodeAcknowledged(o.Payload)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, h := range w.links[[2]int{to, from}].batches[p.Batch] {
		if !a.kept[h] {
			w.t.Fatalf("%d confirms %s to %d, and it is not kept", from, h, to)
		}
	}
}

// read lets the archive of a node read some of what it has heard.
func (a *archive) read(events int) {
	for _, e := range a.heard[:min(events, len(a.heard))] {
		for _, envelope := range e.Envelopes {
			a.held[envelope.Hash] = true
		}
		a.mark = e.Mark
	}
	a.heard = a.heard[min(events, len(a.heard)):]
}

// keep lets the archive of a node make durable what it has read, and say so.
func (w *world) keep(i int) {
	a := w.nodes[i].archive
	for h := range a.held {
		a.kept[h] = true
	}
	clear(a.held)
	w.command(i, transport.Kept{Mark: a.mark})
}

// crash restarts the archive of a node: what it has read and not kept is gone,
// what it has not read waits for its new life.
func (w *world) crash(i int) {
	clear(w.nodes[i].archive.held)
	w.command(i, transport.Watch{Keeps: true})
}
