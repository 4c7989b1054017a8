package libp2p

import (
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// links knows how much gossip waits for each peer. Gossip itself says only what
// it has put into a peer's queue; what has left is seen by the reporter of
// libp2p. The difference bounds a queue in bytes and tells when an envelope is
// really on its way.
type links struct {
	limit   int64 // bytes that may wait for a peer
	count   *counters
	relayed func(...*entry) // called when own envelopes have been written
	slow    func(peer.ID)   // called once when a peer is beyond the limit; must not block

	mu    sync.Mutex
	peers map[peer.ID]*link
}

type link struct {
	queued, written int64
	waiting         []mark
	cut             bool
}

// mark is where own envelopes end in the stream to a peer.
type mark struct {
	end  int64
	list []*entry
}

// queue notes that gossip has put size bytes into the queue of p.
func (l *links) queue(p peer.ID, size int, own []*entry) {
	l.mu.Lock()
	k := l.of(p)
	k.queued += int64(size)
	if len(own) > 0 {
		k.waiting = append(k.waiting, mark{k.queued, own})
	}
	done := k.passed()
	cut := !k.cut && k.queued-k.written > l.limit
	k.cut = k.cut || cut
	l.mu.Unlock()
	if len(done) > 0 {
		l.relayed(done...)
	}
	if cut {
		l.count.slow.Add(1)
		l.slow(p)
	}
}

// wrote notes that size bytes of gossip have been written to p. The greeting
// of a stream is counted too though it was in no queue, so an envelope may be
// taken for written by some hundred bytes too early.
func (l *links) wrote(p peer.ID, size int64) {
	l.mu.Lock()
	k := l.peers[p]
	var done []*entry
	if k != nil {
		k.written += size
		done = k.passed()
	}
	l.mu.Unlock()
	if len(done) > 0 {
		l.relayed(done...)
	}
}

// passed takes the own envelopes that have been written.
func (k *link) passed() []*entry {
	var done []*entry
	for len(k.waiting) > 0 && k.waiting[0].end <= k.written {
		done = append(done, k.waiting[0].list...)
		k.waiting = k.waiting[1:]
	}
	return done
}

func (l *links) of(p peer.ID) *link {
	k := l.peers[p]
	if k == nil {
		k = &link{}
		l.peers[p] = k
	}
	return k
}

// open makes sure that what is written to p is counted.
func (l *links) open(p peer.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of(p)
}

// close forgets a peer and what waited for it.
func (l *links) close(p peer.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.peers, p)
}

// bandwidth is the metrics.Reporter of libp2p: totals, and what goes out by
// gossip. The library's own keeps rates by peer and protocol, with a goroutine
// that never ends.
type bandwidth struct {
	count *counters
	links *links
}

var _ metrics.Reporter = bandwidth{}

// LogSentMessage implements metrics.Reporter.
func (b bandwidth) LogSentMessage(n int64) { b.count.bytesOut.Add(uint64(n)) }

// LogRecvMessage implements metrics.Reporter.
func (b bandwidth) LogRecvMessage(n int64) { b.count.bytesIn.Add(uint64(n)) }

// LogSentMessageStream implements metrics.Reporter.
func (b bandwidth) LogSentMessageStream(n int64, id protocol.ID, p peer.ID) {
	if strings.HasPrefix(string(id), "/meshsub/") || id == wakuRelay {
		b.links.wrote(p, n)
	}
}

// LogRecvMessageStream implements metrics.Reporter.
func (b bandwidth) LogRecvMessageStream(int64, protocol.ID, peer.ID) {}

// GetBandwidthTotals implements metrics.Reporter.
func (b bandwidth) GetBandwidthTotals() metrics.Stats {
	return metrics.Stats{TotalIn: int64(b.count.bytesIn.Load()), TotalOut: int64(b.count.bytesOut.Load())}
}

// GetBandwidthForPeer implements metrics.Reporter.
func (bandwidth) GetBandwidthForPeer(peer.ID) metrics.Stats { return metrics.Stats{} }

// GetBandwidthForProtocol implements metrics.Reporter.
func (bandwidth) GetBandwidthForProtocol(protocol.ID) metrics.Stats { return metrics.Stats{} }

// GetBandwidthByPeer implements metrics.Reporter.
func (bandwidth) GetBandwidthByPeer() map[peer.ID]metrics.Stats { return nil }

// GetBandwidthByProtocol implements metrics.Reporter.
func (bandwidth) GetBandwidthByProtocol() map[protocol.ID]metrics.Stats { return nil }

// Reset implements metrics.Reporter.
func (bandwidth) Reset() {}

// TrimIdle implements metrics.Reporter.
func (bandwidth) TrimIdle(time.Time) {}
