package devp2p

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/p2p"

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
	rates   rates
	since   time.Time
	ctx     context.Context // ends when the link is to end
	cancel  context.CancelFunc
	work    chan []overlay.Outgoing // of the one Send that may be unanswered
	first   chan struct{}           // closed when our greeting is written

	packetsIn, packetsOut atomic.Uint64
	slowed                atomic.Uint64 // packets that had to wait, see rates

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
	e.mu.Lock()
	delete(e.links, l.id)
	e.places.free(l.place)
	e.mu.Unlock()
	l.end()
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
	e.log.Debug("link ended", "peer", l.id.String(), "cause", l.cause.String(), "reason", l.reason, "slowed", l.slowed.Load())
	if was == up {
		e.out.Send(overlay.Disconnected{Peer: l.id, Reason: l.reason})
	}
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
		Address: addrPort(l.peer.RemoteAddr()),
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
		if l.ctx.Err() == nil && !errors.Is(err, p2p.ErrShuttingDown) {
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
