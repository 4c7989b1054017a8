package libp2p

import (
	"sync"
	"sync/atomic"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-varint"
)

// tracer is the only way to see what gossip drops. Its methods are called from
// the loop of gossip and must not call back into it.
type tracer struct {
	count  *counters
	links  *links
	flying func([][]byte) []*entry
	lost   func(peer.ID) // a message of this node did not fit into the peer's queue
	missed func(peer.ID) // a message of the peer did not fit into ours
	meshes func(peer.ID) // the peer and this node are now in a mesh
	reach  func(p peer.ID, can bool)

	meshed atomic.Int64 // members of all meshes
	mu     sync.Mutex
	mesh   map[member]struct{}
}

type member struct {
	peer  peer.ID
	topic string
}

var _ pubsub.RawTracer = (*tracer)(nil)

// OnNewOutboundStream implements pubsub.RawTracer.
func (t *tracer) OnNewOutboundStream(p peer.ID, _ protocol.ID) {
	t.links.open(p)
	t.reach(p, true)
}

// OnClosedOutboundStream implements pubsub.RawTracer.
func (t *tracer) OnClosedOutboundStream(p peer.ID) {
	t.links.close(p)
	t.reach(p, false)
	t.leave(func(m member) bool { return m.peer == p })
}

// Join implements pubsub.RawTracer.
func (t *tracer) Join(string) {}

// Leave implements pubsub.RawTracer.
func (t *tracer) Leave(topic string) { t.leave(func(m member) bool { return m.topic == topic }) }

// Graft implements pubsub.RawTracer.
func (t *tracer) Graft(p peer.ID, topic string) {
	t.meshes(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mesh[member{p, topic}] = struct{}{}
	t.meshed.Store(int64(len(t.mesh)))
}

// Prune implements pubsub.RawTracer.
func (t *tracer) Prune(p peer.ID, topic string) {
	t.leave(func(m member) bool { return m == member{p, topic} })
}

func (t *tracer) leave(gone func(member) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for m := range t.mesh {
		if gone(m) {
			delete(t.mesh, m)
		}
	}
	t.meshed.Store(int64(len(t.mesh)))
}

// ValidateMessage implements pubsub.RawTracer.
func (t *tracer) ValidateMessage(*pubsub.Message) {}

// DeliverMessage implements pubsub.RawTracer.
func (t *tracer) DeliverMessage(*pubsub.Message) {}

// RejectMessage implements pubsub.RawTracer.
func (t *tracer) RejectMessage(m *pubsub.Message, reason string) {
	switch reason {
	case pubsub.RejectValidationQueueFull, pubsub.RejectValidationThrottled:
		t.count.validateDrops.Add(1)
		t.missed(m.ReceivedFrom)
	case pubsub.RejectValidationFailed, pubsub.RejectValidationIgnored:
		// the validator has counted it, by its reason
	default:
		t.count.rejected.Add(1)
	}
}

// DuplicateMessage implements pubsub.RawTracer.
func (t *tracer) DuplicateMessage(*pubsub.Message) { t.count.duplicates.Add(1) }

// ThrottlePeer implements pubsub.RawTracer.
func (t *tracer) ThrottlePeer(peer.ID) {}

// RecvRPC implements pubsub.RawTracer.
func (t *tracer) RecvRPC(r *pubsub.RPC) { t.count.copies.Add(uint64(len(r.GetPublish()))) }

// SendRPC implements pubsub.RawTracer.
func (t *tracer) SendRPC(r *pubsub.RPC, p peer.ID) {
	var own []*entry
	if publish := r.GetPublish(); len(publish) > 0 {
		messages := make([][]byte, len(publish))
		for i, m := range publish {
			messages[i] = m.Data
		}
		own = t.flying(messages)
	}
	size := r.Size()
	t.links.queue(p, size+varint.UvarintSize(uint64(size)), own)
}

// DropRPC implements pubsub.RawTracer.
func (t *tracer) DropRPC(r *pubsub.RPC, p peer.ID) {
	if n := len(r.GetPublish()); n > 0 {
		t.count.queueDrops.Add(uint64(n))
		t.lost(p)
	}
}

// UndeliverableMessage implements pubsub.RawTracer. It is never called: the
// validator delivers, so there is no subscription that could be slow.
func (t *tracer) UndeliverableMessage(*pubsub.Message) {}
