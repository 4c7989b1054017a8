package libp2p

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"

	"github.com/stratanode/strata/plugins/transport"
)

// tidyEvery is how often expired envelopes are forgotten. Whether one has
// expired is checked wherever it is used.
const tidyEvery = 500 * time.Millisecond

// Subscribe implements transport.Transport.
func (t *Transport) Subscribe(_ context.Context, f transport.Filter) error {
	if t.shards == nil || t.ctx.Err() != nil {
		return transport.ErrClosed
	}
	t.pool.want(f)
	joined, err := t.shards.need(t.needed(f), t.now())
	if err != nil {
		return err
	}
	if slices.Contains(joined, true) {
		for _, p := range t.asker.peers() {
			t.asker.ask(p, 0, 0)
		}
	}
	return nil
}

// needed returns the shards of f, and cover: shards that hide which ones are of
// interest.
func (t *Transport) needed(f transport.Filter) []bool {
	need := make([]bool, len(t.cover))
	for i := range need {
		need[i] = f.All || t.conf.Relay
	}
	for _, topic := range f.Topics {
		need[t.shardOf(topic)] = true
	}
	left := t.conf.CoverShards
	if len(f.Topics) == 0 {
		left = 0 // nothing to hide
	}
	for _, i := range t.cover {
		if left > 0 && !need[i] {
			need[i] = true
			left--
		}
	}
	return need
}

func (t *Transport) shardOf(topic transport.Topic) int { return shardOf(topic, len(t.cover)) }

// Publish implements transport.Transport.
func (t *Transport) Publish(_ context.Context, batch []transport.Envelope) []error {
	results := make([]error, len(batch))
	for i, e := range batch {
		results[i] = t.publish(e)
	}
	return results
}

func (t *Transport) publish(e transport.Envelope) error {
	if t.shards == nil || t.ctx.Err() != nil {
		return transport.ErrClosed
	}
	switch {
	case len(e.Data) == 0:
		return transport.Invalid("data", "libp2p: is empty")
	case len(e.Data) > t.codec.maxData():
		// Gossip would drop it without a word.
		return &transport.Error{
			Code: transport.CodeTooLarge, Field: "data",
			Reason: fmt.Sprintf("libp2p: %d bytes, the limit is %d", len(e.Data), t.codec.maxData()),
		}
	case e.TTL < time.Second || e.TTL > t.codec.maxTTL() || e.TTL%time.Second != 0:
		return transport.Invalid("ttl", "libp2p: %v is not of whole seconds within 1s and %v", e.TTL, t.codec.maxTTL())
	case e.Sent.Unix() < 0 || e.Sent.Unix() > maxSent:
		return transport.Invalid("sent", "libp2p: is out of range")
	case e.Privacy != transport.PrivacyNone:
		return &transport.Error{Code: transport.CodeUnsupported, Field: "privacy", Reason: "libp2p: none is offered"}
	}
	e.Sent = time.Unix(e.Sent.Unix(), 0).UTC()
	switch err := timely(e, t.now()); {
	case errors.Is(err, errExpired):
		return transport.ErrExpired
	case errors.Is(err, errFuture):
		return transport.Invalid("sent", "libp2p: is more than %v in the future", maxSkew)
	}
	return t.pool.take(e, t.codec.encode(e), t.shardOf(e.Topic))
}

// emit gives own envelopes to gossip as soon as their shards have peers.
func (t *Transport) emit(ctx context.Context) {
	for {
		e, wire := t.pool.next(t.shards.taken())
		if e == nil {
			select {
			case <-t.pool.leaving:
				continue
			case <-ctx.Done():
				return
			}
		}
		if err := t.shards.topics[e.shard].Publish(ctx, wire); err != nil && ctx.Err() == nil {
			t.pool.failed(e, "libp2p: "+err.Error())
		}
	}
}

// Receive implements transport.Transport.
func (t *Transport) Receive(ctx context.Context) (transport.Report, error) {
	if t.pool == nil {
		return transport.Report{}, transport.ErrClosed
	}
	for {
		if t.ctx.Err() != nil {
			return transport.Report{}, transport.ErrClosed
		}
		if r, ok := t.pool.report(); ok {
			return r, nil
		}
		select {
		case <-t.pool.arrived:
		case <-t.ctx.Done():
		case <-ctx.Done():
			return transport.Report{}, ctx.Err()
		}
	}
}

// joined is called when a peer joins a shard.
func (t *Transport) joined(peer.ID) { signal(t.pool.leaving) }

// reach is called when gossip can write to a peer, and when it no longer can.
func (t *Transport) reach(p peer.ID, can bool) {
	t.shards.reach(p, can)
	signal(t.pool.leaving)
}

// lost is called when a peer's queue was full: it is told to ask.
func (t *Transport) lost(p peer.ID) { t.asker.tell(p, time.Second) }

// missed is called when this node was too slow for a peer: it asks.
func (t *Transport) missed(p peer.ID) { t.asker.ask(p, hintAge, time.Second) }

// meshes is called when p and this node have begun to forward to each other. What
// p got between the joining and now it has neither forwarded nor announced, so
// it is asked.
func (t *Transport) meshes(p peer.ID) { t.asker.ask(p, hintAge, meshDelay) }

// follow meets peers that speak /strata/recent/1, and asks them.
func (t *Transport) follow() error {
	sub, err := t.host.EventBus().Subscribe([]any{
		new(event.EvtPeerIdentificationCompleted), new(event.EvtPeerProtocolsUpdated), new(event.EvtPeerConnectednessChanged),
		new(event.EvtLocalAddressesUpdated),
	}, eventbus.BufSize(256))
	if err != nil {
		return fmt.Errorf("libp2p: events: %w", err)
	}
	t.spawn(func() {
		defer sub.Close()
		for {
			select {
			case <-t.ctx.Done():
				return
			case e, ok := <-sub.Out():
				if !ok {
					return
				}
				t.notice(e)
			}
		}
	})
	return nil
}

func (t *Transport) notice(e any) {
	switch e := e.(type) {
	case event.EvtPeerIdentificationCompleted:
		t.meet(e.Peer, e.Protocols)
	case event.EvtPeerProtocolsUpdated:
		t.meet(e.Peer, e.Added)
	case event.EvtPeerConnectednessChanged:
		if e.Connectedness == network.NotConnected {
			t.asker.part(e.Peer)
		}
	case event.EvtLocalAddressesUpdated: // a router has opened a port, or a relay a place
		t.log.Info("addresses of this node", "addrs", t.Addrs())
	}
}

func (t *Transport) meet(p peer.ID, speaks []protocol.ID) {
	if !slices.Contains(speaks, recentProtocol) || !t.asker.meet(p) {
		return
	}
	t.asker.ask(p, 0, 0)
}

// tidy does what is due now and then.
func (t *Transport) tidy(ctx context.Context) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	swept := time.Now()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		t.pool.expire()
		t.shards.tidy(t.now())
		if time.Since(swept) < sweepEvery {
			continue
		}
		swept = time.Now()
		if p, ok := t.asker.anyone(); ok {
			t.asker.ask(p, sweepAge, 0)
		}
	}
}

func orSystem(r io.Reader) io.Reader {
	if r == nil {
		return crand.Reader
	}
	return r
}

// shuffle returns the numbers below n in random order.
func shuffle(n int, random io.Reader) ([]int, error) {
	list := make([]int, n)
	var raw [8]byte
	for i := range list {
		list[i] = i
		if _, err := io.ReadFull(random, raw[:]); err != nil {
			return nil, fmt.Errorf("libp2p: randomness: %w", err)
		}
		j := int(binary.BigEndian.Uint64(raw[:]) % uint64(i+1))
		list[i], list[j] = list[j], list[i]
	}
	return list, nil
}
