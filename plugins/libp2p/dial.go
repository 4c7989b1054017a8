package libp2p

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
)

// Times of dialling.
const (
	dialTimeout = 10 * time.Second
	firstRetry  = 250 * time.Millisecond // doubled after every failure
	lastRetry   = 10 * time.Second
)

// keepConnected dials a static peer until ctx is done, whenever there is no
// connection to it.
func (t *Transport) keepConnected(ctx context.Context, p peer.AddrInfo) {
	t.host.ConnManager().Protect(p.ID, "static")
	retry := firstRetry
	for {
		gone := t.presence.gone(p.ID) // before dialling, so that no end is missed
		if t.dial(ctx, p) {
			retry = firstRetry
			select {
			case <-gone:
				continue
			case <-ctx.Done():
				return
			}
		}
		// Between half and all of it, so that nodes that lost the same peer do
		// not come back together.
		wait := time.NewTimer(retry/2 + rand.N(retry/2))
		retry = min(2*retry, lastRetry)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return
		}
	}
}

// dial connects to p. The library has a back-off of its own, which would make
// ours useless.
func (t *Transport) dial(ctx context.Context, p peer.AddrInfo) bool {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if s, ok := t.host.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(p.ID)
	}
	if err := t.host.Connect(ctx, p); err != nil {
		t.count.dialFailed.Add(1)
		t.log.Debug("dial failed", "peer", p.ID.String(), "err", err)
		return false
	}
	return true
}

// cut closes the connections to p in the background.
func (t *Transport) cut(p peer.ID) {
	t.spawn(func() {
		if err := t.host.Network().ClosePeer(p); err != nil {
			t.log.Debug("peer not closed", "peer", p.String(), "err", err)
		}
	})
}
