package devp2p

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/p2p"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/layers/overlay"
)

// linger is how long the server gets to end a connection in order, that is to
// tell the reason, before it is closed under it.
const linger = 2 * time.Second

// stage is how far a link has come.
type stage int

const (
	greeting stage = iota // not yet reported
	up                    // between Connected and Disconnected
	ended
)

// link is one peer. Its reader is the goroutine in which the server runs the
// protocol; it decodes and reports. Its writer writes.
type link struct {
	edge    *Edge
	id      overlay.PeerID
	peer    *p2p.Peer
	rw      p2p.MsgReadWriter
	place   place
	account *account
	since   time.Time
	ctx     context.Context // ends when the link is to end
	cancel  context.CancelFunc
	work    chan []overlay.Outgoing // of the one Send that may be unanswered
	first   chan struct{}           // closed when our greeting is written

	packetsIn, packetsOut atomic.Uint64

	mu      sync.Mutex // keeps the events of the link in order
	stage   stage
	hello   overlay.Packet
	lasting map[uint64]overlay.Packet
	busy    bool          // a Send is unanswered
	owed    chan struct{} // not nil while a Connected has to wait for that answer
	cause   cause
	reason  string
	disc    p2p.DiscReason
}

// run is the protocol, run by the server for each peer. The server does not
// accept a peer again before run has returned.
func (e *Edge) run(p *p2p.Peer, rw p2p.MsgReadWriter) error {
	l, err := e.admit(p, rw)
	if err != nil {
		return err
	}
	defer e.leave(l)
	return l.live()
}

// leave ends a link. It is called by the reader, so nothing Arrived after it.
func (e *Edge) leave(l *link) {
	l.cancel()
	l.account.close()
	if s := e.sockets.of(l.peer); s != nil {
		time.AfterFunc(linger, func() { s.Conn.Close() })
	}
	l.end()
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.links, l.id)
	e.places.free(l.place)
}

// end reports the end of a link that was reported.
func (l *link) end() {
	e := l.edge
	e.order.RLock()
	defer e.order.RUnlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.stage
	l.stage = ended
	if l.cause == none {
		l.cause, l.reason = closed, "closed by the peer or the network"
		if e.ctx.Err() != nil {
			l.cause, l.reason = stopping, "the node stops"
		}
	}
	e.count.ended[l.cause].Add(1)
	e.log.Debug("link ended", "peer", l.id.String(), "cause", l.cause.String(), "reason", l.reason)
	if was == up {
		e.out.Send(overlay.Disconnected{Peer: l.id, Reason: l.reason})
	}
}

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
	hello, err := e.codec.Greeting(time.Now(), code, payload)
	if err != nil {
		credit.Return()
		return l.fail(badGreeting, p2p.DiscProtocolError, err.Error())
	}
	select {
	case <-l.first:
	case <-l.ctx.Done():
		credit.Return()
		return l.stopped()
	}
	e.order.RLock()
	defer e.order.RUnlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stage, l.hello = up, hello
	e.out.SendCredited(l.connected(), credit)
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
	defer func() { credit.Return() }() // a nil credit needs none; see arrived
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

// connected describes the link. mu is held.
func (l *link) connected() overlay.Connected {
	state := append(make([]overlay.Packet, 0, 1+len(l.lasting)), l.hello)
	for _, code := range slices.Sorted(maps.Keys(l.lasting)) {
		state = append(state, l.lasting[code])
	}
	return overlay.Connected{
		Peer:    l.id,
		Name:    printable(l.peer.Fullname(), maxName),
		Inbound: l.peer.Inbound(),
		Trusted: l.peer.Trusted(),
		State:   state,
	}
}

// tellAgain repeats Connected; the caller holds edge.order. While a Send is
// unanswered it has to wait for the Written: a neighbour that has restarted does
// not know of that Send, would send another one on seeing the link, and would
// take the Written of the first for its own.
func (l *link) tellAgain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.stage != up:
	case !l.busy:
		l.edge.out.Send(l.connected())
	case l.owed == nil:
		l.owed = make(chan struct{})
	}
}

// send gives packets to the writer. It reports whether the sender may do so.
func (l *link) send(packets []overlay.Outgoing) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stage != up {
		return true
	}
	if l.busy || slices.ContainsFunc(packets, func(p overlay.Outgoing) bool { return p.Code >= l.edge.length }) {
		return false
	}
	l.busy = true
	l.work <- packets // has room while not busy
	return true
}

// write is the writer.
func (l *link) write() {
	if !l.put(*l.edge.greeting.Load()) {
		return
	}
	close(l.first)
	for {
		select {
		case packets := <-l.work:
			for _, p := range packets {
				if !l.put(p) {
					return
				}
			}
			l.written()
		case <-l.ctx.Done():
			return
		}
	}
}

// put writes one packet. go-ethereum gives the operating system 20 s to take it.
func (l *link) put(p overlay.Outgoing) bool {
	size := len(p.Payload)
	err := l.rw.WriteMsg(p2p.Msg{Code: p.Code, Size: uint32(size), Payload: bytes.NewReader(p.Payload)})
	if err != nil {
		if l.ctx.Err() == nil && err != p2p.ErrShuttingDown {
			l.drop(writeFailed, "write: "+err.Error(), p2p.DiscNetworkError)
		}
		return false
	}
	l.packetsOut.Add(1)
	l.edge.count.packetsOut.Add(1)
	l.edge.count.bytesOut.Add(uint64(size))
	return true
}

func (l *link) written() {
	e := l.edge
	e.order.RLock()
	defer e.order.RUnlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stage != up {
		return
	}
	l.busy = false
	e.out.Send(overlay.Written{Peer: l.id})
	if l.owed != nil {
		e.out.Send(l.connected())
		close(l.owed)
		l.owed = nil
	}
}
