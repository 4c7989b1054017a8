package libp2p

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Bounds and times of asking.
const (
	askTimeout  = 60 * time.Second
	hintAge     = time.Minute           // what is asked for after a hint or a loss
	meshDelay   = 50 * time.Millisecond // after joining a mesh with a peer, so that several make one request
	settleDelay = 3 * time.Second       // until a new peer is asked again: the mesh stands by then
	sweepEvery  = 60 * time.Second      // a peer chosen by lot is asked for what gossip lost
	sweepAge    = 3 * time.Minute
	failedDelay = 5 * time.Second // and as much again by lot
)

// fetch asks a peer for what it has of this node's shards, and returns how many
// envelopes were new.
func (t *Transport) fetch(ctx context.Context, p peer.ID, age time.Duration) (int, error) {
	shards := t.shards.joined()
	if !slices.Contains(shards, true) {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s, err := t.host.NewStream(network.WithNoDial(ctx, "recent"), p, recentProtocol)
	if err != nil {
		return 0, err
	}
	stop := context.AfterFunc(ctx, func() { t.quit(s, nil) })
	defer stop()
	t.count.asked.Add(1)
	n, err := t.exchange(s, shards, age)
	if err != nil {
		t.quit(s, err)
		return n, err
	}
	t.quit(s, errDone)
	return n, nil
}

func (t *Transport) exchange(s network.Stream, shards []bool, age time.Duration) (int, error) {
	r, w := bufio.NewReader(s), bufio.NewWriter(s)
	if err := send(s, w, request{kindAsk, t.scope, age, shards}.encode()); err != nil {
		return 0, err
	}
	names, err := readNames(s, r)
	if err != nil {
		return 0, err
	}
	wanted := make([]bool, len(names))
	missing := map[envelopeID]bool{}
	for i, id := range names {
		wanted[i] = !missing[id] && !t.pool.has(id)
		if wanted[i] {
			missing[id] = true
		}
	}
	if len(missing) == 0 {
		return 0, send(s, w, nil)
	}
	if err := send(s, w, packBits(wanted)); err != nil {
		return 0, err
	}
	return t.take(s, r, shards, missing)
}

func send(s network.Stream, w *bufio.Writer, frame []byte) error {
	if err := s.SetDeadline(time.Now().Add(frameTimeout)); err != nil {
		return err
	}
	if err := writeFrame(w, frame); err != nil {
		return err
	}
	return w.Flush()
}

func readNames(s network.Stream, r *bufio.Reader) ([]envelopeID, error) {
	var names []envelopeID
	for {
		if err := s.SetDeadline(time.Now().Add(frameTimeout)); err != nil {
			return nil, err
		}
		frame, err := readFrame(r, namesInFrame*idSize)
		if err != nil || len(frame) == 0 {
			return names, err
		}
		if len(frame)%idSize != 0 || len(names)+len(frame)/idSize > maxNames {
			return nil, fmt.Errorf("%w: names", errRecent)
		}
		for ; len(frame) > 0; frame = frame[idSize:] {
			names = append(names, envelopeID(frame))
		}
	}
}

// take reads the envelopes that were asked for and judges them as those of
// gossip.
func (t *Transport) take(s network.Stream, r *bufio.Reader, shards []bool, missing map[envelopeID]bool) (int, error) {
	n := 0
	for {
		if err := s.SetDeadline(time.Now().Add(frameTimeout)); err != nil {
			return n, err
		}
		wire, err := readFrame(r, t.codec.maxWire())
		if err != nil || len(wire) == 0 {
			return n, err
		}
		id := idOf(wire)
		if !missing[id] {
			return n, fmt.Errorf("%w: envelope not asked for", errRecent)
		}
		delete(missing, id)
		t.count.copies.Add(1)
		e, err := t.codec.decode(wire)
		shard := t.shardOf(e.Topic)
		if err != nil || !shards[shard] {
			t.count.rejected.Add(1)
			return n, fmt.Errorf("%w: envelope: %w", errRecent, err)
		}
		if err := timely(e, t.now()); err != nil {
			t.untimely(err) // it may have expired on the way
			continue
		}
		if t.pool.admit(e, wire, id, shard, false) != fresh {
			t.count.duplicates.Add(1) // gossip was faster
			continue
		}
		t.count.fetched.Add(1)
		n++
	}
}

// hint tells a peer that there is something new here.
func (t *Transport) hint(ctx context.Context, p peer.ID) error {
	ctx, cancel := context.WithTimeout(ctx, frameTimeout)
	defer cancel()
	s, err := t.host.NewStream(network.WithNoDial(ctx, "recent"), p, recentProtocol)
	if err != nil {
		return err
	}
	t.count.hints.Add(1)
	frame := request{kindHint, t.scope, 0, make([]bool, len(t.shards.topics))}.encode()
	if err = send(s, bufio.NewWriter(s), frame); err == nil {
		err = s.CloseWrite()
	}
	if err == nil {
		// The other closes when it has read it. Without waiting the stream could
		// be reset before that.
		_, err = s.Read(make([]byte, 1))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		t.quit(s, nil)
		return err
	}
	t.quit(s, errDone)
	return nil
}
