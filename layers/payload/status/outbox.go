package status

import (
	"cmp"
	"container/heap"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
	"github.com/stratanode/strata/layers/payload"
)

// The pause before a public message is offered again doubles up to a limit, so
// that a refusal that comes at once does not spin.
const (
	firstRetry = 2 * time.Second
	lastRetry  = time.Minute
)

// pending is an own message that data sync has not answered: not with Queued if
// it is private, not finally if it is public. Its body stays in the store.
type pending struct {
	id     payload.MessageID
	chat   payload.ChatID
	person layers.PublicKey // zero: public
	said   time.Time
	seq    uint64 // order in which they were said

	attempts int // in this life
	inFlight bool
	due      time.Time // when it is offered again or given up; public only
	index    int       // in the heap of due times; -1: not in it
}

// pending is kept as fields: 1 chat, 2 said in ns, 3 seq, 4 body.

func (p *pending) record(body []byte) layers.Record {
	b := make([]byte, 0, len(body)+len(p.chat)+32)
	b = appendString(b, 1, string(p.chat))
	b = appendUint(b, 2, uint64(p.said.UnixNano()))
	b = appendUint(b, 3, p.seq)
	return layers.Record{Key: pendingKey(p.id), Value: appendBytes(b, 4, body)}
}

func decodePending(key string, b []byte) (*pending, error) {
	p, _, err := decodePendingBody(b)
	if err != nil {
		return nil, err
	}
	id, err := hex.DecodeString(strings.TrimPrefix(key, prefixPending))
	if err != nil || len(id) != len(p.id) {
		return nil, errors.New("bad id")
	}
	copy(p.id[:], id)
	return p, nil
}

func decodePendingBody(b []byte) (*pending, []byte, error) {
	var (
		chat string
		said uint64
		body []byte
		p    = &pending{index: -1}
	)
	err := eachField(b, func(f field) error {
		switch f.number {
		case 1:
			return f.setString(&chat)
		case 2:
			return f.setUint(&said)
		case 3:
			return f.setUint(&p.seq)
		case 4:
			return f.setBytes(&body)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	p.chat, p.person, err = parseChat(payload.ChatID(chat))
	p.said = time.Unix(0, int64(said)).UTC()
	return p, body, err
}

// offer hands p to data sync with the body from the store.
func (n *Node) offer(out *output, now time.Time, p *pending) {
	key := pendingKey(p.id)
	b, ok := n.saved.Get(key)
	if !ok {
		broken(key, errors.New("missing"))
	}
	_, body, err := decodePendingBody(b)
	if err != nil {
		broken(key, err)
	}
	n.offerBody(out, now, p, body)
}

// offerBody hands p to data sync, or gives it up if it is too old or too long.
func (n *Node) offerBody(out *output, now time.Time, p *pending, body []byte) {
	public := p.person.IsZero()
	deadline := p.said.Add(n.cfg.PublicRetryFor)
	switch {
	case n.tooLong(body):
		n.giveUp(out, p, fmt.Sprintf("the message has %d bytes, the layers below carry %d", len(body), n.info.MaxBody))
	case public && !p.inFlight && !now.Before(deadline):
		n.giveUp(out, p, fmt.Sprintf("not sent within %v (public_retry_for)", n.cfg.PublicRetryFor))
	case !n.ready:
		n.await(p, deadline)
	case public:
		n.outbox.undue(p)
		p.inFlight = true
		p.attempts++
		out.Down = append(out.Down, datasync.Broadcast{Ref: layers.Ref(p.id), Channel: datasync.Channel(p.chat), Body: body})
	default:
		p.inFlight = true
		p.attempts++
		out.Down = append(out.Down, datasync.Publish{Ref: layers.Ref(p.id), To: p.person, Body: body})
	}
}

// tooLong reports whether data sync is known to refuse body.
func (n *Node) tooLong(body []byte) bool {
	return n.ready && n.info.MaxBody > 0 && len(body) > n.info.MaxBody
}

// await makes the next Wake at or after due look at p. Private messages wait for
// data sync without limit.
func (n *Node) await(p *pending, due time.Time) {
	if p.person.IsZero() {
		p.inFlight = false
		n.outbox.dueAt(p, due)
	}
}

// retry offers the public messages that are due.
func (n *Node) retry(out *output, now time.Time) {
	var due []*pending
	for at := n.outbox.next(); !at.IsZero() && !now.Before(at); at = n.outbox.next() {
		due = append(due, n.outbox.due[0])
		n.outbox.undue(n.outbox.due[0])
	}
	for _, p := range due {
		n.offer(out, now, p)
	}
}

// queued ends the wait of a private message: data sync delivers it or says why
// not.
func (n *Node) queued(out *output, id payload.MessageID) error {
	if p := n.outbox.get(id); p != nil && !p.person.IsZero() {
		n.drop(out, p)
		return nil
	}
	if !n.kept(id) {
		return fmt.Errorf("status: answer for message %v, which is not kept", id)
	}
	return nil
}

// moved notes how far a message has come. What would move it backward, or comes
// again, changes nothing.
func (n *Node) moved(out *output, id payload.MessageID, to payload.Status, reason string) error {
	m, ok := n.message(id)
	if !ok || !m.Own {
		if p := n.outbox.get(id); p != nil {
			n.drop(out, p)
			return nil
		}
		return fmt.Errorf("status: answer for message %v, which is no own message kept here", id)
	}
	if p := n.outbox.get(id); p != nil && ends(m.Public, to) {
		n.drop(out, p)
	}
	if to <= m.Status || ends(m.Public, m.Status) {
		return nil
	}
	m.Status, m.Reason = to, reason
	out.Save = append(out.Save, m.record())
	out.Up = append(out.Up, payload.StatusChanged{ID: id, Chat: m.Chat, Status: to, Reason: reason})
	return nil
}

// ends reports whether nothing comes after s.
func ends(public bool, s payload.Status) bool {
	return s == payload.Delivered || s == payload.Failed || public && s == payload.Relayed
}

// failed gives a message up or, if it is public and young enough, offers it
// again later.
func (n *Node) failed(out *output, now time.Time, id payload.MessageID, reason string) error {
	p := n.outbox.get(id)
	if p == nil || !p.person.IsZero() {
		return n.moved(out, id, payload.Failed, reason)
	}
	if !p.inFlight {
		return nil // an answer to what was already answered
	}
	pause := lastRetry
	if p.attempts < 6 {
		pause = min(lastRetry, firstRetry<<(p.attempts-1))
	}
	next := now.Add(pause)
	if !next.Before(p.said.Add(n.cfg.PublicRetryFor)) {
		n.giveUp(out, p, fmt.Sprintf("not sent within %v (public_retry_for): %s", n.cfg.PublicRetryFor, reason))
		return nil
	}
	n.await(p, next)
	return nil
}

// giveUp fails p for good.
func (n *Node) giveUp(out *output, p *pending, reason string) {
	// It is pending, so there is nothing to refuse.
	_ = n.moved(out, p.id, payload.Failed, reason)
}

// drop forgets the body of p.
func (n *Node) drop(out *output, p *pending) {
	n.outbox.remove(p)
	out.Save = append(out.Save, layers.Record{Key: pendingKey(p.id)})
}

// outbox holds the pending messages, and those among them that wait for a time,
// in the order of that time.
type outbox struct {
	byID map[payload.MessageID]*pending
	due  dueHeap
}

func newOutbox() outbox { return outbox{byID: map[payload.MessageID]*pending{}} }

func (o *outbox) len() int                          { return len(o.byID) }
func (o *outbox) get(id payload.MessageID) *pending { return o.byID[id] }

func (o *outbox) add(p *pending) {
	p.index = -1
	o.byID[p.id] = p
}

func (o *outbox) remove(p *pending) {
	o.undue(p)
	delete(o.byID, p.id)
}

func (o *outbox) dueAt(p *pending, t time.Time) {
	o.undue(p)
	p.due = t
	heap.Push(&o.due, p)
}

func (o *outbox) undue(p *pending) {
	if p.index >= 0 {
		heap.Remove(&o.due, p.index)
	}
}

// next returns the earliest due time, or zero.
func (o *outbox) next() time.Time {
	if len(o.due) == 0 {
		return time.Time{}
	}
	return o.due[0].due
}

// inOrder returns the pending messages in the order in which they were said.
func (o *outbox) inOrder() []*pending {
	return slices.SortedFunc(maps.Values(o.byID), func(a, b *pending) int { return cmp.Compare(a.seq, b.seq) })
}

// dueHeap implements heap.Interface.
type dueHeap []*pending

func (h dueHeap) Len() int { return len(h) }

func (h dueHeap) Less(i, j int) bool {
	if h[i].due.Equal(h[j].due) {
		return h[i].seq < h[j].seq
	}
	return h[i].due.Before(h[j].due)
}

func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *dueHeap) Push(x any) {
	p := x.(*pending)
	p.index = len(*h)
	*h = append(*h, p)
}

func (h *dueHeap) Pop() any {
	old := *h
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	p.index = -1
	return p
}
