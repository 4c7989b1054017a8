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
// are more. They take 40 and 8 bytes each, and every packet takes 32.
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

// fact is one thing that happened to an envelope. Eight bytes of its hash will
// do: two that share them take 2^32 hashes to make, and mislead nobody else.
type fact struct {
	hash   uint64
	at     int64           // unix nanoseconds
	who    *overlay.PeerID // nil: nobody
	pow    float32         // of what was pooled
	expiry uint32          // of what was pooled
	topic  transport.Topic // of what was pooled
	deed   deed
	why    verdict // of what was refused
}

// way is how a packet of envelopes came or went. There is a fact for every copy
// of an envelope that does, so that all but its hash is kept once.
type way struct {
	at   int64
	who  *overlay.PeerID
	from uint // the number of the first hash
	deed deed
}

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

// first is the number of the oldest fact there is.
func (r *ring[F]) first() uint { return r.next - min(r.next, maxFacts) }

func (r *ring[F]) at(i uint) *F { return &r.pages[i%maxFacts/page][i%page] }

// journal is what the node remembers of envelopes, for those who ask why one
// did not arrive.
type journal struct {
	now    int64 // unix nanoseconds, of this step
	fates  ring[fact]
	ways   ring[way]
	latest way
	hashes ring[uint64] // of the envelopes on the ways
}

func (j *journal) fate(d deed, h transport.Hash, who *overlay.PeerID) {
	*j.fates.place() = fact{hash: brief(&h), at: j.now, who: who, deed: d}
}

func (j *journal) reject(v verdict, h transport.Hash, who *overlay.PeerID) {
	*j.fates.place() = fact{hash: brief(&h), at: j.now, who: who, deed: deedRejected, why: v}
}

// admit notes that an envelope was pooled, and before that came or was made.
func (j *journal) admit(d deed, x *entry, who *overlay.PeerID) {
	*j.fates.place() = fact{
		hash: brief(&x.hash), at: j.now, who: who, deed: d,
		pow: float32(x.pow), expiry: x.expiry, topic: x.topic,
	}
}

// move notes that a copy of an envelope came or went.
func (j *journal) move(d deed, h *transport.Hash, who *overlay.PeerID) {
	if l := &j.latest; l.at != j.now || l.who != who || l.deed != d {
		*l = way{at: j.now, who: who, from: j.hashes.next, deed: d}
		*j.ways.place() = *l
	}
	*j.hashes.place() = brief(h)
}

// of returns what is remembered of an envelope, in the order of time.
func (j *journal) of(h transport.Hash) (list []fact) {
	b := brief(&h)
	for i := j.fates.first(); i < j.fates.next; i++ {
		if f := j.fates.at(i); f.hash == b {
			list = append(list, *f)
		}
	}
	// Every way has a hash, so that the ways of the latest hashes are there.
	w := j.ways.first()
	for i := j.hashes.first(); i < j.hashes.next; i++ {
		for w+1 < j.ways.next && j.ways.at(w+1).from <= i {
			w++
		}
		if *j.hashes.at(i) == b {
			way := j.ways.at(w)
			list = append(list, fact{hash: b, at: way.at, who: way.who, deed: way.deed})
		}
	}
	slices.SortStableFunc(list, func(a, b fact) int { return cmp.Compare(a.at, b.at) })
	return list
}

// brief is what is remembered of a hash.
func brief(h *transport.Hash) uint64 { return binary.LittleEndian.Uint64(h[:8]) }

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
			add(at, transport.Pooled, nil, describe(float64(f.pow), f.topic, f.expiry))
			pooled = true
		default:
			add(at, f.deed.public(), f.who, "")
		}
	}
	if x := n.pool.byHash(c.Hash); x != nil {
		at := time.Unix(x.came(), 0).UTC()
		if !pooled { // longer ago than the facts go back
			add(at, transport.Pooled, nil, describe(x.pow, x.topic, x.expiry))
			if x.life&markReported != 0 {
				add(at, transport.Reported, nil, "")
			}
		}
		for _, p := range n.slots {
			if p != nil && p.who != nil && n.pool.known.has(x, p.slot) && !met[p.id.String()] {
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
