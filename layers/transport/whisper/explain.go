package whisper

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

// maxFacts bounds what is remembered of envelopes: as many facts about what
// became of them, and as many about their ways between peers, of which there
// are more. They take 72 and 32 bytes each.
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

// move is a fact about the way of an envelope. There is one for every copy of
// it that comes or goes, so that it has to be small: eight bytes of the hash
// will do.
type move struct {
	hash uint64
	at   int64
	who  *overlay.PeerID
	deed deed
}

func brief(h *transport.Hash) uint64 { return binary.LittleEndian.Uint64(h[:8]) }

// page is how many facts are given memory at once.
const page = 256

// ring holds the latest facts.
type ring[F any] struct {
	pages [maxFacts / page]*[page]F
	next  uint // the number of facts ever
}

// place returns where the next fact goes.
func (r *ring[F]) place() *F {
	i := r.next % maxFacts
	r.next++
	p := &r.pages[i/page]
	if *p == nil {
		*p = new([page]F)
	}
	return &(*p)[i%page]
}

// all yields the facts, the oldest first.
func (r *ring[F]) all(yield func(*F) bool) {
	for i := r.next - min(r.next, maxFacts); i < r.next; i++ {
		if !yield(&r.pages[i%maxFacts/page][i%page]) {
			return
		}
	}
}

// journal is what the node remembers of envelopes, for those who ask why one
// did not arrive.
type journal struct {
	now   int64 // unix nanoseconds, of this step
	fates ring[fact]
	moves ring[move]
}

func (j *journal) fate(d deed, h transport.Hash, who *overlay.PeerID) {
	*j.fates.place() = fact{hash: h, at: j.now, who: who, deed: d}
}

func (j *journal) move(d deed, h *transport.Hash, who *overlay.PeerID) {
	m := j.moves.place()
	m.hash, m.at, m.who, m.deed = brief(h), j.now, who, d
}

// of returns what is remembered of an envelope, in the order of time.
func (j *journal) of(h transport.Hash) (list []fact) {
	for f := range j.fates.all {
		if f.hash == h {
			list = append(list, *f)
		}
	}
	for m := range j.moves.all {
		if m.hash == brief(&h) {
			list = append(list, fact{hash: h, at: m.at, who: m.who, deed: m.deed})
		}
	}
	slices.SortStableFunc(list, func(a, b fact) int { return cmp.Compare(a.at, b.at) })
	return list
}

func (j *journal) reject(v verdict, h transport.Hash, who *overlay.PeerID) {
	*j.fates.place() = fact{hash: h, at: j.now, who: who, deed: deedRejected, why: v}
}

// admit notes that an envelope was pooled, and before that came or was made.
func (j *journal) admit(d deed, x *entry, who *overlay.PeerID) {
	f := j.fates.place()
	f.hash, f.at, f.who, f.deed = x.hash, j.now, who, d
	f.pow, f.expiry, f.topic = x.pow, x.expiry, x.topic
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
	for _, f := range n.journal.of(c.Hash) {
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
