// Package libp2p is a transport over gossipsub: envelopes are flooded among the
// nodes that share a shard of topics, and kept until they expire for those who
// come later.
//
// It may be compiled into the node or run as a plugin process; see
// cmd/strata-libp2p. README.md has the settings and the wire forms.
package libp2p

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/stratanode/strata/plugins/transport"
)

// version is that of the implementation.
const version = "1.0.0"

// latency is the longest an envelope is likely to travel: a heartbeat or two
// at each of a few nodes that are not in each other's mesh yet.
const latency = 3 * time.Second

// Transport is the gossipsub transport. Its exported methods beyond the
// contract may be called between Open and Close.
type Transport struct {
	conf  Config
	codec codec
	scope [scopeSize]byte
	now   func() time.Time
	log   *slog.Logger

	host     host.Host
	pool     *pool
	shards   *shards
	tracer   *tracer
	asker    *asker
	meters   *meters
	stores   *stores
	presence *presence
	count    *counters
	cover    []int         // shards in the order in which they serve as cover
	serving  chan struct{} // one slot for each answer under way
	lowest   atomic.Pointer[float64]

	ctx    context.Context // done at Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	ending sync.Mutex // guards ended and the start of goroutines
	ended  bool
}

var (
	_ transport.Transport = (*Transport)(nil)
	_ transport.Peerer    = (*Transport)(nil)
	_ transport.Counter   = (*Transport)(nil)
	_ transport.Querier   = (*Transport)(nil)
	_ transport.Server    = (*Transport)(nil)
)

// New returns a transport that is to be opened. The concrete type is
// *Transport.
func New() transport.Transport { return &Transport{} }

// Open implements transport.Transport. It returns when the node listens; the
// static peers are being dialled.
func (t *Transport) Open(ctx context.Context, o transport.Options) (transport.Info, error) {
	conf, err := DecodeConfig(o.Config)
	if err != nil {
		return transport.Info{}, err
	}
	t.conf, t.now, t.log = conf, o.Now, o.Log
	if t.now == nil {
		t.now = time.Now
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	if err := t.open(o.Dir, o.Rand); err != nil {
		return transport.Info{}, errors.Join(err, t.Close(ctx))
	}
	addresses := t.Addrs()
	return transport.Info{
		Name:     "libp2p",
		Version:  version,
		MaxData:  t.codec.maxData(),
		MaxTTL:   t.codec.maxTTL(),
		Latency:  latency,
		Sender:   transport.AnonymityNone,  // a peer that hears of an envelope first from us may guess
		Receiver: transport.AnonymityAmong, // of all that are in the shard
		Ordering: transport.OrderingNone,
		Storage:  transport.StorageTTL,
		Receipts: true,

		Addresses: addresses[:min(len(addresses), transport.MaxAddresses)],
	}, nil
}

func (t *Transport) open(dir string, random io.Reader) error {
	random = orSystem(random)
	key, err := nodeKey(t.conf, dir, random)
	if err != nil {
		return err
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	names := t.speak()
	if t.cover, err = shuffle(len(names), random); err != nil {
		return err
	}
	c := &counters{}
	t.count = c
	t.pool = newPool(t.now, poolLimits{
		recent: t.conf.RecentMiB << 20, own: t.conf.Queue, ownBytes: t.conf.QueueMiB << 20,
	}, c)
	l := &links{
		limit: int64(t.conf.QueueMiB) << 20, count: c, relayed: t.pool.relayed, slow: t.cut, peers: map[peer.ID]*link{},
	}
	t.tracer = &tracer{count: c, links: l, flying: t.pool.flying, lost: t.lost, missed: t.missed, meshes: t.meshes, reach: t.reach, mesh: map[member]struct{}{}}
	t.asker = newAsker(c)
	t.asker.fetch, t.asker.hint = t.fetch, t.hint
	t.meters = &meters{burst: 2*t.conf.RecentMiB<<20 + t.codec.maxWire(), peers: map[peer.ID]*meter{}}
	t.stores = &stores{failed: map[peer.ID]time.Time{}}
	t.serving = make(chan struct{}, maxServed)
	t.presence = &presence{waiting: map[peer.ID]chan struct{}{}}

	if t.host, err = newNode(t.conf, key, bandwidth{c, l}); err != nil {
		return err
	}
	t.host.Network().Notify(t.presence)
	ps, err := t.newGossip(t.ctx, names)
	if err != nil {
		return err
	}
	if t.shards, err = openShards(ps, names, t.validator); err != nil {
		return err
	}
	if t.conf.Relay {
		if _, err := t.shards.need(t.needed(transport.Filter{All: true}), t.now()); err != nil {
			return err
		}
	}
	return t.start(random)
}

// speak chooses the wire form and returns the pubsub topics of the shards.
func (t *Transport) speak() []string {
	if w := t.conf.Waku; w.Enabled {
		t.codec = waku{time.Duration(w.TTL)}
		t.scope = scopeOf(w.PubsubTopic, "waku", 1)
		return []string{w.PubsubTopic}
	}
	t.codec = plain{}
	t.scope = scopeOf(t.conf.Network, "plain", t.conf.Shards)
	names := make([]string, t.conf.Shards)
	for i := range names {
		names[i] = shardName(t.conf.Network, i)
	}
	return names
}

// start begins everything that goes on by itself, and then listens and dials.
func (t *Transport) start(random io.Reader) error {
	if err := t.follow(); err != nil {
		return err
	}
	t.host.SetStreamHandler(recentProtocol, t.serve)
	for i := range t.shards.topics {
		t.spawn(func() { t.shards.watch(t.ctx, i, t.pool.setPeers, t.joined) })
	}
	t.spawn(func() { t.asker.run(t.ctx) })
	t.spawn(func() { t.emit(t.ctx) })
	t.spawn(func() { t.tidy(t.ctx) })
	for _, s := range t.conf.Listen {
		addr, err := ma.NewMultiaddr(s)
		if err == nil {
			err = t.host.Network().Listen(addr)
		}
		if err != nil {
			return transport.Invalid("listen", "libp2p: %s: %v", s, err)
		}
	}
	for _, p := range infos(t.conf.Peers) {
		if p.ID != t.host.ID() { // one list may serve all nodes
			t.spawn(func() { t.keepConnected(t.ctx, p) })
		}
	}
	if t.conf.MDNS {
		if err := t.meetLAN(random); err != nil {
			return err
		}
	}
	t.log.Info("libp2p node is up", "peer_id", t.host.ID().String(), "addrs", t.Addrs())
	return nil
}

// Close implements transport.Transport.
func (t *Transport) Close(context.Context) error {
	if t.cancel == nil {
		return nil
	}
	t.ending.Lock()
	ended := t.ended
	t.ended = true
	t.ending.Unlock()
	if ended {
		return nil
	}
	t.cancel()
	var errs []error
	if t.host != nil {
		errs = append(errs, t.host.Close())
	}
	t.work.Wait()
	return errors.Join(errs...)
}

// spawn runs f in the background unless the transport is closing. Gossip and
// mDNS call us until they have noticed that they should end.
func (t *Transport) spawn(f func()) {
	t.ending.Lock()
	defer t.ending.Unlock()
	if !t.ended {
		t.work.Go(f)
	}
}

// Addrs returns the multiaddrs at which this node can be dialled, each with its
// peer id, as other nodes take them in "peers".
func (t *Transport) Addrs() []string {
	info := peer.AddrInfo{ID: t.host.ID(), Addrs: t.host.Addrs()}
	full, err := peer.AddrInfoToP2pAddrs(&info)
	if err != nil || len(info.Addrs) == 0 { // without any, full would have the bare id
		return nil
	}
	list := make([]string, len(full))
	for i, a := range full {
		list[i] = a.String()
	}
	return list
}

// ID returns the peer id of this node.
func (t *Transport) ID() string { return t.host.ID().String() }
