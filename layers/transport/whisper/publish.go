package whisper

import (
	"fmt"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/internal/rlpwrite"
)

const (
	// mineEffort is how many nonces one step tries: a few milliseconds.
	mineEffort = 1 << 15

	// maxPublications bounds the publications that are remembered, until their
	// envelopes expire.
	maxPublications = 1 << 16

	// envelopeOverhead is what a packet with one envelope is longer than the data
	// in it, in bytes, at the most.
	envelopeOverhead = 64
)

// publication is a Publish of the layer above, from its arrival until its
// envelope expires.
type publication struct {
	ref      layers.Ref
	hash     transport.Hash
	answered bool // Relayed was reported
	work     *work
}

// work is an envelope that has no nonce yet.
type work struct {
	fields []byte // RLP of the items before the nonce
	expiry uint32
	miner  *miner
	zeros  int
	giveUp time.Time
}

func (n *Node) maxData() int { return n.gate.maxMessage - envelopeOverhead }

// publish makes an envelope and begins to look for its nonce.
func (n *Node) publish(now time.Time, c transport.Publish, out *output) {
	if pub := n.refs[c.Ref]; pub != nil {
		if pub.answered {
			out.Up = append(out.Up, transport.Relayed{Ref: pub.ref, Hash: pub.hash})
		}
		return
	}
	pub := &publication{ref: c.Ref}
	if len(n.refs) >= maxPublications {
		n.refuse(pub, out, "%d publications have not expired yet", maxPublications)
		return
	}
	if c.Raw != nil {
		n.publishWhole(now, pub, c.Raw, out)
		return
	}
	if len(c.Data) > n.maxData() {
		n.refuse(pub, out, "data of %d bytes is longer than %d", len(c.Data), n.maxData())
		return
	}
	n.refs[c.Ref] = pub
	pub.work = n.newWork(now, c)
	if !n.mine(now, pub, out) {
		n.mining = append(n.mining, pub)
	}
}

func (n *Node) newWork(now time.Time, c transport.Publish) *work {
	ttl := n.ttl(c.TTL)
	expiry := uint32(now.Unix()) + ttl
	fields := appendFields(make([]byte, 0, len(c.Data)+envelopeOverhead), expiry, ttl, c.Topic, c.Data)
	short := rlpwrite.List(nil, fields)
	return &work{
		fields: fields,
		expiry: expiry,
		miner:  newMiner(short, fourWay),
		zeros:  zerosFor(n.cfg.PoW, len(short), ttl),
		giveUp: now.Add(n.cfg.PoWTime),
	}
}

// ttl clamps a time to live, in whole seconds.
func (n *Node) ttl(d time.Duration) uint32 {
	if d == 0 {
		d = n.cfg.TTL
	}
	d = max(statusTTL, min(d, n.cfg.MaxTTL))
	return uint32((d + time.Second - 1) / time.Second)
}

// mine looks for the nonce of one publication for the length of a step. It
// reports whether that has come to an end, well or badly.
func (n *Node) mine(now time.Time, pub *publication, out *output) bool {
	w := pub.work
	nonce, found := w.miner.search(w.zeros, mineEffort)
	switch {
	case found:
		n.offer(now, pub, sealFields(w.fields, nonce), out)
	case !now.Before(w.giveUp):
		n.refuse(pub, out, "no proof of work of %v found within pow_time, %v", n.cfg.PoW, n.cfg.PoWTime)
	case int64(w.expiry) < now.Unix():
		n.refuse(pub, out, "expired before a proof of work of %v was found", n.cfg.PoW)
	default:
		return false
	}
	pub.work = nil
	return true
}

// mineNext goes on with the publication whose turn it is.
func (n *Node) mineNext(now time.Time, out *output) {
	if len(n.mining) == 0 {
		return
	}
	pub := n.mining[0]
	n.mining = append(n.mining[:0], n.mining[1:]...)
	if !n.mine(now, pub, out) {
		n.mining = append(n.mining, pub)
	}
}

// publishWhole takes an envelope that somebody else has made for this node. It is
// admitted by the rules for those of peers, except that its topic need be of
// nobody's interest here. What is refused is so in the words of go-ethereum.
func (n *Node) publishWhole(now time.Time, pub *publication, raw []byte, out *output) {
	e, err := DecodeEnvelope(raw)
	if err != nil {
		n.refuseAs(pub, err.Error(), out)
		return
	}
	early, v := n.gate.first(now.Unix(), &e)
	pow := e.PoW(early)
	if v == admitted && n.gate.low(now, pow) {
		v = lowPoW
	}
	if v != admitted {
		n.journal.reject(v, e.Hash, nil)
		reason := v.String()
		if v == late {
			reason = "failed to add envelope"
		}
		n.refuseAs(pub, reason, out)
		return
	}
	n.refs[pub.ref] = pub
	n.takeOwn(now, pub, &e, pow, out)
}

// offer puts an envelope that this node has made into the pool.
func (n *Node) offer(now time.Time, pub *publication, raw []byte, out *output) {
	e, err := DecodeEnvelope(raw)
	if err != nil {
		panic(fmt.Sprintf("whisper: own envelope: %v", err))
	}
	pow := e.PoW(0)
	if pow < n.cfg.PoW {
		panic(fmt.Sprintf("whisper: own envelope has a proof of work of %v, want %v", pow, n.cfg.PoW))
	}
	n.takeOwn(now, pub, &e, pow, out)
}

// takeOwn puts an own envelope into the pool, from where peers get it.
func (n *Node) takeOwn(now time.Time, pub *publication, e *Envelope, pow float64, out *output) {
	pub.hash = e.Hash
	x := n.pool.find(e)
	taken := x != nil && (!x.own() || n.own[e.Hash][0].answered)
	if x == nil {
		var ok bool
		x, ok = n.pool.add(e, pow, now, true)
		n.evicted()
		if !ok {
			n.journal.reject(poolFull, e.Hash, nil)
			n.refuse(pub, out, "%s", poolFull)
			return
		}
		n.journal.admit(deedPublished, x, nil)
		if n.watch.on {
			out.Up = append(out.Up, transport.Admitted{Mark: n.watch.mark(x), Envelopes: []transport.Envelope{n.pool.envelope(x)}})
		}
	}
	if !n.pool.claim(x) {
		n.refuse(pub, out, "%s", poolFull)
		return
	}
	n.own[e.Hash] = append(n.own[e.Hash], pub)
	out.Up = append(out.Up, transport.Accepted{Ref: pub.ref, Hash: pub.hash})
	if taken { // the very same envelope is on its way already
		n.returned(x, out)
	}
}

// refuse is the final answer to a publication that is not carried.
func (n *Node) refuse(pub *publication, out *output, format string, args ...any) {
	n.refuseAs(pub, "whisper: "+fmt.Sprintf(format, args...), out)
}

func (n *Node) refuseAs(pub *publication, reason string, out *output) {
	delete(n.refs, pub.ref)
	out.Up = append(out.Up, transport.Refused{Ref: pub.ref, Reason: reason})
}

// returned notes that a peer has taken x or has it already: the final answer if
// x is an own envelope.
func (n *Node) returned(x *entry, out *output) {
	if !x.own() {
		return
	}
	for _, pub := range n.own[x.hash] {
		if !pub.answered {
			pub.answered = true
			out.Up = append(out.Up, transport.Relayed{Ref: pub.ref, Hash: pub.hash})
		}
	}
}

// unanswered reports whether somebody waits for news of the own envelope x.
func (n *Node) unanswered(x *entry) bool {
	pubs := n.own[x.hash]
	return len(pubs) > 0 && !pubs[len(pubs)-1].answered
}

// expire removes what is over from the pool, and answers for own envelopes that
// nobody has taken.
func (n *Node) expire(now time.Time, out *output) {
	unix := uint32(now.Unix())
	for x := n.pool.expired(unix); x != nil; x = n.pool.expired(unix) {
		n.journal.fate(deedEnded, x.hash, nil)
		for _, pub := range n.own[x.hash] {
			delete(n.refs, pub.ref)
			if !pub.answered {
				out.Up = append(out.Up, transport.Expired{Ref: pub.ref})
			}
		}
		delete(n.own, x.hash)
	}
}

// evicted notes what had to make room.
func (n *Node) evicted() {
	for _, x := range n.pool.out {
		n.journal.fate(deedEvicted, x.hash, nil)
	}
	clear(n.pool.out)
	n.pool.out = n.pool.out[:0]
}
