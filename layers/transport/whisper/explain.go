package whisper

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

// maxFacts bounds what is remembered of envelopes: as many facts about what
// became of them, and as many about their ways between peers, of which there
// are more. A fact takes 72 bytes.
const maxFacts = 8192

type deed uint8

const (
	deedPublished deed = iota
	deedCame
	deedRepeated
	deedRejected
	deedForwarded
	deedConfirmed
	deedReported
	deedFetched
	deedEnded
	deedEvicted
)

func (d deed) public() transport.Deed {
	return [...]transport.Deed{
		transport.Published, transport.Came, transport.Repeated, transport.Rejected, transport.Forwarded,
		transport.Confirmed, transport.Reported, transport.Fetched, transport.Ended, transport.Evicted,
	}[d]
}

// fact is one thing that happened to an envelope.
type fact struct {
	hash   transport.Hash
	at     int64           // unix nanoseconds
	who    *overlay.PeerID // nil: nobody
	pow    float64         // of what was pooled
	expiry uint32          // of what was pooled
	topic  transport.Topic // of what was pooled
	deed   deed
	why    verdict // of what was refused
}

// page is how many facts are given memory at once.
const page = 256

// ring holds the latest facts.
type ring struct {
	pages [maxFacts / page]*[page]fact
	next  uint // the number of facts ever
}

// place returns where the next fact goes.
func (r *ring) place() *fact {
	i := r.next % maxFacts
	r.next++
	p := &r.pages[i/page]
	if *p == nil {
		*p = new([page]fact)
	}
	return &(*p)[i%page]
}

// of appends the facts about an envelope, the oldest first.
func (r *ring) of(h transport.Hash, list []fact) []fact {
	for i := r.next - min(r.next, maxFacts); i < r.next; i++ {
		if f := &r.pages[i%maxFacts/page][i%page]; f.hash == h {
			list = append(list, *f)
		}
	}
	return list
}

// journal is what the node remembers of envelopes, for those who ask why one
// did not arrive.
type journal struct {
	now   int64 // unix nanoseconds, of this step
	fates ring
	moves ring
}

func (j *journal) fate(d deed, h transport.Hash, who *overlay.PeerID) {
	*j.fates.place() = fact{hash: h, at: j.now, who: who, deed: d}
}

func (j *journal) move(d deed, h transport.Hash, who *overlay.PeerID) {
	*j.moves.place() = fact{hash: h, at: j.now, who: who, deed: d}
}

func (j *journal) reject(v verdict, h transport.Hash, who *overlay.PeerID) {
	*j.fates.place() = fact{hash: h, at: j.now, who: who, deed: deedRejected, why: v}
}

// admit notes that an envelope was pooled, and before that came or was made.
func (j *journal) admit(d deed, x *entry, who *overlay.PeerID) {
	*j.fates.place() = fact{
		hash: x.hash, at: j.now, who: who, deed: d, pow: x.pow, expiry: x.expiry, topic: x.topic,
	}
}

// explain answers Explain with what is remembered of an envelope.
func (n *Node) explain(c transport.Explain, out *output) {
	var (
		facts []transport.Fact
		met   = map[string]bool{}
	)
	add := func(at time.Time, d transport.Deed, who *overlay.PeerID, detail string) {
		f := transport.Fact{At: at, Deed: d, Detail: detail}
		if who != nil {
			f.Peer = who.String()
			met[f.Peer] = true
		}
		facts = append(facts, f)
	}
	pooled := false
	for _, f := range n.journal.moves.of(c.Hash, n.journal.fates.of(c.Hash, nil)) {
		at := time.Unix(0, f.at).UTC()
		switch f.deed {
		case deedRejected:
			add(at, transport.Rejected, f.who, f.why.String())
		case deedCame, deedPublished:
			add(at, f.deed.public(), f.who, "")
			add(at, transport.Pooled, nil, describe(f.pow, f.topic, f.expiry))
			pooled = true
		default:
			add(at, f.deed.public(), f.who, "")
		}
	}
	if x := n.pool.byHash[c.Hash]; x != nil {
		at := time.Unix(int64(x.came), 0).UTC()
		if !pooled { // longer ago than the facts go back
			add(at, transport.Pooled, nil, describe(x.pow, x.topic, x.expiry))
			if x.marks&markReported != 0 {
				add(at, transport.Reported, nil, "")
			}
		}
		for _, p := range n.slots {
			if p != nil && x.known.has(p.slot) && !met[p.id.String()] {
				add(at, transport.Forwarded, p.who, "to the peer or from it; it is not remembered when")
			}
		}
		if n.watch.keeps && x.seq < n.watch.kept {
			add(n.watch.at.UTC(), transport.Archived, nil, "then or earlier")
		}
	}
	slices.SortStableFunc(facts, func(a, b transport.Fact) int { return a.At.Compare(b.At) })
	out.Up = append(out.Up, transport.Explained{Ref: c.Ref, Hash: c.Hash, Facts: facts})
}

func describe(pow float64, topic transport.Topic, expiry uint32) string {
	return fmt.Sprintf("proof of work %s, topic %s, expires %s",
		strconv.FormatFloat(pow, 'g', 4, 64), topic, time.Unix(int64(expiry), 0).UTC().Format(time.RFC3339))
}
