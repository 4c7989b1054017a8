package libp2p

import (
	"context"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/stratanode/strata/plugins/transport"
)

// counters are what Stats reports, apart from what is looked up.
type counters struct {
	published, relayed, expired        atomic.Uint64
	delivered, inboxFull, queueFull    atomic.Uint64
	copies, duplicates                 atomic.Uint64
	rejected, late, future, foreign    atomic.Uint64
	queueDrops, validateDrops          atomic.Uint64
	bytesIn, bytesOut                  atomic.Uint64
	recentEvicted, asked, askFailed    atomic.Uint64
	served, fetched, refused, breaches atomic.Uint64
	hints, dialFailed, slow, bad       atomic.Uint64

	storeAsked, storeFailed, storeFetched    atomic.Uint64
	storeServed, storeDeclined, storeRefused atomic.Uint64
}

// Stats implements transport.Counter. The names are:
//
//	envelopes_published_total, relayed_total, expired_total   own envelopes, by what became of them
//	held                         own envelopes that no peer has been sent yet
//	busy_total                   own envelopes refused because the queue was full
//	copies_total                 copies of envelopes received, first ones and others, by gossip and by request
//	duplicates_total             of them those that were known
//	delivered_total              envelopes reported to the host
//	inbox_full_total             envelopes that found no room in the inbox; they are tried again while kept
//	rejected_total, late_total, future_total, foreign_total   envelopes not accepted, by reason
//	queue_drops_total            messages that found a peer's queue full
//	validation_drops_total       messages that found the queue of the validator full
//	bytes_in_total, bytes_out_total   of all libp2p streams, without what encryption and framing add
//	recent_envelopes, recent_bytes, recent_evicted_total      what is kept for those who come later
//	recents_asked_total, recents_failed_total, recents_fetched_total   requests to peers, and envelopes got
//	recents_served_total, recents_refused_total               envelopes given to peers, and requests refused
//	hints_total                  notes to peers that there is something to ask for
//	stores_asked_total, stores_failed_total, stores_fetched_total   pages asked of peers, those not got, and envelopes got
//	stores_served_total, stores_declined_total, stores_refused_total   envelopes given to peers out of the archive, requests answered without a page, and requests refused
//	breaches_total               peers that broke the rules of /strata/recent/1 and /strata/store/1
//	dial_failures_total, slow_peers_total, bad_peers_total    dials, and peers disconnected, by reason
//	connections, peers, mesh_peers, shards, score_min         now
func (t *Transport) Stats(context.Context) ([]transport.Stat, error) {
	if t.host == nil {
		return nil, transport.ErrClosed
	}
	c := t.count
	recentN, recentSize, held := t.pool.size()
	peers, shards := t.shards.size()
	list := []transport.Stat{
		{Name: "held", Value: float64(held)},
		{Name: "recent_envelopes", Value: float64(recentN)},
		{Name: "recent_bytes", Value: float64(recentSize)},
		{Name: "connections", Value: float64(len(t.host.Network().Conns()))},
		{Name: "peers", Value: float64(peers)},
		{Name: "mesh_peers", Value: float64(t.tracer.meshed.Load())},
		{Name: "shards", Value: float64(shards)},
		{Name: "score_min", Value: t.scoreMin()},
	}
	for _, s := range []struct {
		name  string
		value *atomic.Uint64
	}{
		{"envelopes_published_total", &c.published},
		{"relayed_total", &c.relayed},
		{"expired_total", &c.expired},
		{"busy_total", &c.queueFull},
		{"copies_total", &c.copies},
		{"duplicates_total", &c.duplicates},
		{"delivered_total", &c.delivered},
		{"inbox_full_total", &c.inboxFull},
		{"rejected_total", &c.rejected},
		{"late_total", &c.late},
		{"future_total", &c.future},
		{"foreign_total", &c.foreign},
		{"queue_drops_total", &c.queueDrops},
		{"validation_drops_total", &c.validateDrops},
		{"bytes_in_total", &c.bytesIn},
		{"bytes_out_total", &c.bytesOut},
		{"recent_evicted_total", &c.recentEvicted},
		{"recents_asked_total", &c.asked},
		{"recents_failed_total", &c.askFailed},
		{"recents_fetched_total", &c.fetched},
		{"recents_served_total", &c.served},
		{"recents_refused_total", &c.refused},
		{"stores_asked_total", &c.storeAsked},
		{"stores_failed_total", &c.storeFailed},
		{"stores_fetched_total", &c.storeFetched},
		{"stores_served_total", &c.storeServed},
		{"stores_declined_total", &c.storeDeclined},
		{"stores_refused_total", &c.storeRefused},
		{"hints_total", &c.hints},
		{"breaches_total", &c.breaches},
		{"dial_failures_total", &c.dialFailed},
		{"slow_peers_total", &c.slow},
		{"bad_peers_total", &c.bad},
	} {
		list = append(list, transport.Stat{Name: s.name, Value: float64(s.value.Load())})
	}
	return list, nil
}

// Peers implements transport.Peerer.
func (t *Transport) Peers(context.Context) ([]transport.Peer, error) {
	if t.host == nil {
		return nil, transport.ErrClosed
	}
	var list []transport.Peer
	for _, c := range t.host.Network().Conns() {
		if len(list) == transport.MaxPeers {
			break
		}
		list = append(list, transport.Peer{
			ID:      c.RemotePeer().String(),
			Address: c.RemoteMultiaddr().String(),
			Inbound: c.Stat().Direction == network.DirInbound,
		})
	}
	return list, nil
}
