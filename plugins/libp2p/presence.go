package libp2p

import (
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// presence tells those who wait that the last connection to a peer is gone.
type presence struct {
	mu      sync.Mutex
	waiting map[peer.ID]chan struct{}
}

var _ network.Notifiee = (*presence)(nil)

// gone returns a channel that is closed when the last connection to p ends.
func (w *presence) gone(p peer.ID) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.waiting[p]
	if c == nil {
		c = make(chan struct{})
		w.waiting[p] = c
	}
	return c
}

// Disconnected implements network.Notifiee.
func (w *presence) Disconnected(n network.Network, c network.Conn) {
	p := c.RemotePeer()
	if len(n.ConnsToPeer(p)) > 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if waiting := w.waiting[p]; waiting != nil {
		close(waiting)
		delete(w.waiting, p)
	}
}

// Connected implements network.Notifiee.
func (w *presence) Connected(network.Network, network.Conn) {}

// Listen implements network.Notifiee.
func (w *presence) Listen(network.Network, ma.Multiaddr) {}

// ListenClose implements network.Notifiee.
func (w *presence) ListenClose(network.Network, ma.Multiaddr) {}
