package mail

import (
	"errors"
	"slices"
	"time"

	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

const (
	// maxAsksPerPeer bounds the asks of one peer at a time. The deployed clients
	// make one after the other.
	maxAsksPerPeer = 4

	// maxOwed bounds the answers that a peer does not read. Each ask has one at
	// the end; the others are errors, for which a client asks no more.
	maxOwed = 64

	// patience is how long the archive may take for a page. Nobody waits longer
	// for the answer.
	patience = time.Minute
)

var errLimit = errors.New("rate limit exceeded")

// ask is a request of a peer that is being answered.
type ask struct {
	number  uint64
	link    *link
	request transport.Hash // its hash or id
	sync    bool
	batch   bool
	last    transport.Hash // of the envelopes handed over
	writing bool           // a page is on its way to the peer
	ended   bool           // and it was the last
	due     time.Time      // when the archive is given up; zero while it is not its turn
}

// Serve says that somebody answers Asked from now on. Until then requests are
// ignored, as by every node that is no mail server.
func (p *Post) Serve() { p.serves = true }

// takeRequest answers a request in an envelope.
func (p *Post) takeRequest(now time.Time, l *link, m Request, o *Out) {
	if !p.serves || p.answering(l, m.Envelope.Hash) {
		return
	}
	q, err := p.open(now, l, m)
	if err == nil {
		q.fill(now)
		err = q.check()
	}
	if err != nil {
		p.fail(&ask{link: l, request: m.Envelope.Hash}, err, o)
		return
	}
	p.ask(now, &ask{link: l, request: m.Envelope.Hash, batch: q.batch}, q.asked(), o)
}

// takePlain answers a request in clear.
func (p *Post) takePlain(now time.Time, l *link, m PlainRequest, o *Out) {
	if !p.serves || p.answering(l, m.ID) {
		return
	}
	q := m.request()
	q.fill(now)
	err := q.check()
	if err == nil {
		err = p.room(l)
	}
	if err != nil {
		p.fail(&ask{link: l, request: m.ID}, err, o)
		return
	}
	p.ask(now, &ask{link: l, request: m.ID, batch: true}, q.asked(), o)
}

// takeSync answers another mail server. Such a request has no id and no default
// limit.
func (p *Post) takeSync(now time.Time, l *link, m SyncRequest, o *Out) {
	if !p.serves {
		return
	}
	q := m.request()
	a := &ask{link: l, sync: true, batch: true}
	var err error
	if q.limit == 0 {
		err = errors.New("request is invalid: invalid 'Limit' value, expected value greater than 0")
	} else {
		q.fill(now)
		err = q.check()
	}
	if err == nil {
		err = p.room(l)
	}
	if err != nil {
		p.fail(a, err, o)
		return
	}
	asked := q.asked()
	asked.Sync = true
	p.ask(now, a, asked, o)
}

// answering says whether this very request is being answered: then its repetition
// is left alone, because an error would end both.
func (p *Post) answering(l *link, request transport.Hash) bool {
	same := func(a *ask) bool { return a.link == l && !a.sync && a.request == request }
	return slices.ContainsFunc(p.asks, same) || slices.ContainsFunc(p.held, func(h held) bool { return same(h.ask) })
}

// room says whether the peer may ask, now or when it is its turn.
func (p *Post) room(l *link) error {
	own := 0
	for _, a := range p.asks {
		if a.link == l {
			own++
		}
	}
	if own >= maxAsksPerPeer {
		return errLimit
	}
	return nil
}

// open reads a request envelope. What costs least is looked at first.
func (p *Post) open(now time.Time, l *link, m Request) (request, error) {
	if m.Envelope.PoW < p.settings.MinPoW || m.Envelope.TTL <= 0 { // which makes any work infinite
		return request{}, errors.New("PoW() is too low")
	}
	until, err := usable(now, m.Envelope)
	if err == nil {
		err = p.room(l)
	}
	if err != nil {
		return request{}, err
	}
	if p.recent.has(m.Envelope.Hash) {
		return request{}, errors.New("request was made before")
	}
	if p.sealer == nil {
		return request{}, errSealed
	}
	payload, signer, err := p.sealer.Open(m.Envelope.Data)
	switch {
	case err != nil:
		return request{}, errSealed
	case signer.IsZero():
		return request{}, errors.New("wrong signature of p2p request")
	}
	p.recent.add(now, m.Envelope.Hash, until)
	return decodeRequest(payload)
}

var errSealed = errors.New("failed to decrypt p2p request")

// ask reports a request to those who serve, at once or when it is its turn.
func (p *Post) ask(now time.Time, a *ask, asked transport.Asked, o *Out) {
	if len(p.asks) >= p.cfg.Asks || len(p.held) > 0 {
		p.hold(now, a, asked, o)
		return
	}
	p.report(now, a, asked, o)
}

func (p *Post) report(now time.Time, a *ask, asked transport.Asked, o *Out) {
	a.number = p.nextAsk
	p.nextAsk++
	a.due = now.Add(patience)
	p.asks = append(p.asks, a)
	p.stats.Asked++
	asked.Ask = a.number
	asked.Peer = a.link.peer.Peer.String()
	asked.Address = a.link.peer.Address.Addr().Unmap()
	o.Up = append(o.Up, asked)
}

// fail answers with an error.
func (p *Post) fail(a *ask, err error, o *Out) {
	p.stats.Refused++
	peer := a.link.peer.Peer
	if a.link.owed >= maxOwed {
		o.Down = append(o.Down, overlay.Drop{Peer: peer, Reason: "mail: asks and does not read the answers"})
		return
	}
	a.link.owed++
	o.Packets = append(o.Packets, Addressed{Peer: peer, Packet: a.failed(err.Error()), Tell: true})
}

func (a *ask) failed(reason string) overlay.Outgoing {
	if a.sync {
		return SyncResponse{Error: reason}.Encode()
	}
	return Complete{Request: a.request, Failed: true, Reason: reason}.Encode()
}
