package libp2p

import (
	"bufio"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"
)

// Bounds of answering.
const (
	maxServed    = 8                // answers at once
	serveTimeout = 60 * time.Second // of an answer as a whole
	frameTimeout = 10 * time.Second // of a frame
	joinTimeout  = time.Second      // until the asker must be in the shards it asks for
	asksBurst    = 32               // requests of a peer …
	asksRate     = 2.0              // … and per second after them
	bytesRate    = 1 << 20          // bytes per second for a peer, after twice of what is kept
	maxMeters    = 4096             // peers whose use is remembered
	meterIdle    = 10 * time.Minute
)

// meters bound what each peer may ask for. They outlive connections, so that
// coming again does not help.
type meters struct {
	burst int // bytes

	mu    sync.Mutex
	peers map[peer.ID]*meter
}

type meter struct {
	asks, bytes, stores *rate.Limiter
	used                time.Time
}

// of returns the meter of p, or nil if there is no room for one.
func (m *meters) of(p peer.ID, now time.Time) *meter {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.peers[p]
	if k == nil {
		if len(m.peers) >= maxMeters {
			for id, old := range m.peers {
				if now.Sub(old.used) > meterIdle {
					delete(m.peers, id)
				}
			}
			if len(m.peers) >= maxMeters {
				return nil
			}
		}
		k = &meter{asks: rate.NewLimiter(asksRate, asksBurst), bytes: rate.NewLimiter(bytesRate, m.burst), stores: rate.NewLimiter(storesRate, storesBurst)}
		m.peers[p] = k
	}
	k.used = now
	return k
}

// serve answers one stream of /strata/recent/1.
func (t *Transport) serve(s network.Stream) {
	from := s.Conn().RemotePeer()
	k := t.meters.of(from, time.Now())
	if k == nil || !k.asks.Allow() {
		t.count.refused.Add(1)
		t.quit(s, nil)
		return
	}
	select {
	case t.serving <- struct{}{}:
		defer func() { <-t.serving }()
	default:
		t.count.refused.Add(1)
		t.quit(s, nil)
		return
	}
	ctx, cancel := context.WithTimeout(t.ctx, serveTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { t.quit(s, nil) })
	defer stop()
	t.quit(s, t.answer(ctx, from, s, k))
}

// quit ends a stream: in good order if err is errDone.
func (t *Transport) quit(s network.Stream, err error) {
	switch {
	case errors.Is(err, errDone):
		if s.Close() == nil {
			return
		}
	case errors.Is(err, errRecent), errors.Is(err, errStore):
		t.count.breaches.Add(1)
		t.log.Debug("peer broke the rules", "peer", s.Conn().RemotePeer().String(), "err", err)
	}
	if err := s.Reset(); err != nil {
		t.log.Debug("stream not reset", "err", err)
	}
}

var errDone = errors.New("libp2p: done")

func (t *Transport) answer(ctx context.Context, from peer.ID, s network.Stream, k *meter) error {
	r, w := bufio.NewReader(s), bufio.NewWriterSize(s, 32<<10)
	if err := s.SetDeadline(time.Now().Add(frameTimeout)); err != nil {
		return err
	}
	raw, err := readFrame(r, maxRequest)
	if err != nil {
		return err
	}
	q, err := decodeRequest(raw, len(t.shards.topics))
	if err != nil {
		return err
	}
	if q.scope != t.scope {
		t.count.refused.Add(1)
		return nil // of another network: no fault
	}
	if q.kind == kindHint {
		t.asker.ask(from, hintAge, 0)
		return errDone
	}
	// What is published after the list is made must reach the asker by gossip.
	wait, cancel := context.WithTimeout(ctx, joinTimeout)
	t.shards.await(wait, from, q.shards)
	cancel()
	var since time.Time
	if q.age > 0 {
		since = t.now().Add(-q.age)
	}
	list := t.pool.recent(q.shards, since, maxNames)
	if err := writeNames(s, w, list); err != nil {
		return err
	}
	raw, err = readFrame(r, (len(list)+7)/8)
	if err != nil || len(raw) == 0 {
		return errors.Join(err, errDone)
	}
	wanted, ok := unpackBits(raw, len(list))
	if !ok {
		return errRecent
	}
	return t.hand(s, w, list, wanted, k)
}

func writeNames(s network.Stream, w *bufio.Writer, list []*kept) error {
	for len(list) > 0 {
		n := min(len(list), namesInFrame)
		frame := make([]byte, 0, n*idSize)
		for _, e := range list[:n] {
			frame = append(frame, e.id[:]...)
		}
		if err := s.SetDeadline(time.Now().Add(frameTimeout)); err != nil {
			return err
		}
		if err := writeFrame(w, frame); err != nil {
			return err
		}
		list = list[n:]
	}
	if err := writeFrame(w, nil); err != nil {
		return err
	}
	return w.Flush()
}

// hand writes the wanted envelopes, as many as the peer may have now.
func (t *Transport) hand(s network.Stream, w *bufio.Writer, list []*kept, wanted []bool, k *meter) error {
	var served []envelopeID
	for i, e := range list {
		if !wanted[i] || !t.now().Before(e.expiry) {
			continue
		}
		if !k.bytes.AllowN(time.Now(), len(e.wire)) {
			t.count.refused.Add(1)
			break
		}
		if err := s.SetDeadline(time.Now().Add(frameTimeout)); err != nil {
			return err
		}
		if err := writeFrame(w, e.wire); err != nil {
			return err
		}
		served = append(served, e.id)
	}
	if err := writeFrame(w, nil); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, id := range served {
		t.pool.relayedID(id)
	}
	t.count.served.Add(uint64(len(served)))
	return errDone
}
