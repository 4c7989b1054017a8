package devp2p

import (
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"github.com/ethereum/go-ethereum/p2p"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/layers/overlay"
)

// live reads until the link ends. A panic in it, the codec included, is a fault
// of ours; it must not cost more than the peer whose packet showed it.
func (l *link) live() (err error) {
	defer func() {
		if r := recover(); r != nil {
			l.edge.log.Error("reading a packet broke", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = l.fail(broke, p2p.DiscSubprotocolError, "fault of the node itself")
		}
	}()
	if err := l.greet(); err != nil {
		return err
	}
	for {
		if err := l.next(); err != nil {
			return err
		}
	}
}

// greet exchanges the greetings, in both directions at once and within one
// deadline, and reports the link.
func (l *link) greet() error {
	e := l.edge
	timer := time.AfterFunc(e.cfg.HandshakeTimeout, l.tooSlow)
	defer timer.Stop()
	select {
	case <-e.greeted:
	case <-l.ctx.Done():
		return l.stopped()
	}
	e.wg.Go(l.write)
	code, payload, credit, err := l.read()
	if err != nil {
		return err
	}
	defer func() { credit.Return() }() // of no effect once it is passed on
	hello, err := e.codec.Greeting(time.Now(), code, payload)
	if err != nil {
		return l.fail(badGreeting, p2p.DiscProtocolError, err.Error())
	}
	select {
	case <-l.first:
	case <-l.ctx.Done():
		return l.stopped()
	}
	e.order.RLock()
	defer e.order.RUnlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stage, l.hello = up, hello
	c := credit
	credit = nil
	e.out.SendCredited(l.connected(), c)
	return nil
}

func (l *link) tooSlow() {
	if l.edge.greeting.Load() == nil {
		l.drop(notGreeted, "the node has no greeting yet", p2p.DiscQuitting)
		return
	}
	l.drop(noGreeting, fmt.Sprintf("no greeting within %v", l.edge.cfg.HandshakeTimeout), p2p.DiscReadTimeout)
}

// next reads one packet and reports it.
func (l *link) next() error {
	e := l.edge
	code, payload, credit, err := l.read()
	if err != nil {
		return err
	}
	defer func() { credit.Return() }() // likewise
	p, err := e.codec.Decode(time.Now(), code, payload)
	if err != nil {
		return l.fail(badPacket, p2p.DiscProtocolError, err.Error())
	}
	if p == nil {
		e.count.ignored.Add(1)
		return nil
	}
	c := credit
	credit = nil
	return l.arrived(p, c)
}

// read takes one packet from the peer. What is too long is not looked at, and
// what finds no room in the node waits here, and with it the peer.
func (l *link) read() (code uint64, payload []byte, credit *actors.Credit, err error) {
	e := l.edge
	m, err := l.rw.ReadMsg()
	if err != nil {
		return 0, nil, nil, err // end knows why
	}
	if int64(m.Size) > int64(e.codec.Limit()) {
		text := fmt.Sprintf("packet %d has %d bytes, at most %d", m.Code, m.Size, e.codec.Limit())
		return 0, nil, nil, l.fail(tooLarge, p2p.DiscProtocolError, text)
	}
	// Before it takes of the budget, which is for all.
	if !l.slow(int(m.Size)) {
		return 0, nil, nil, l.stopped()
	}
	credit, err = l.account.take(l.ctx, int(m.Size))
	if err != nil {
		return 0, nil, nil, l.stopped()
	}
	payload = make([]byte, m.Size)
	if _, err := io.ReadFull(m.Payload, payload); err != nil {
		credit.Return()
		return 0, nil, nil, err
	}
	l.packetsIn.Add(1)
	e.count.packetsIn.Add(1)
	e.count.bytesIn.Add(uint64(m.Size))
	return m.Code, payload, credit, nil
}

// arrived reports a packet, after a Connected that is owed.
func (l *link) arrived(p overlay.Packet, credit *actors.Credit) error {
	for {
		owed := l.report(p, credit)
		if owed == nil {
			return nil
		}
		select {
		case <-owed:
		case <-l.ctx.Done():
			credit.Return()
			return l.stopped()
		}
	}
}

// report reports p unless a Connected is owed; then it returns what to wait for.
func (l *link) report(p overlay.Packet, credit *actors.Credit) (owed chan struct{}) {
	l.edge.order.RLock()
	defer l.edge.order.RUnlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owed != nil {
		return l.owed
	}
	if p, ok := p.(overlay.Lasting); ok {
		if l.lasting == nil {
			l.lasting = map[uint64]overlay.Packet{}
		}
		l.lasting[p.Code()] = p
	}
	l.edge.out.SendCredited(overlay.Arrived{Peer: l.id, Packet: p}, credit)
	return nil
}
