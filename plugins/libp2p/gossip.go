package libp2p

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

const (
	wakuRelay = protocol.ID("/vac/waku/relay/2.0.0")

	frameSlack   = 4 << 10 // bytes of a gossip frame beside one envelope of full length
	maxAnnounced = 1024    // topics in one announcement of a peer
	scoreEvery   = time.Second
)

// Thresholds of scores: below the first no gossip is exchanged with a peer, it
// is not sent own messages below the second, and is cut off below the third.
const (
	scoreGossip   = -100
	scorePublish  = -1000
	scoreGraylist = -10000
)

// newGossip makes the router. Nothing that leaves says who made a message: no
// author, no sequence number, no signature, and what says so is refused.
func (t *Transport) newGossip(ctx context.Context, names []string) (*pubsub.PubSub, error) {
	size := t.codec.maxWire() + frameSlack
	if t.conf.Waku.Enabled {
		size = wakuMaxWire // as the others have it; maxData leaves room
	}
	quiet := slog.New(slog.DiscardHandler)
	options := []pubsub.Option{
		pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign),
		pubsub.WithNoAuthor(),
		pubsub.WithMessageIdFn(messageID),
		pubsub.WithMaxMessageSize(size),
		pubsub.WithFloodPublish(t.conf.Mesh.FloodPublish),
		pubsub.WithPeerExchange(t.conf.Mesh.PeerExchange),
		pubsub.WithPeerOutboundQueueSize(t.conf.Queue),
		pubsub.WithValidateQueueSize(t.conf.Queue),
		pubsub.WithSeenMessagesTTL(time.Duration(t.conf.Mesh.SeenTTL)),
		pubsub.WithGossipSubParams(t.conf.Mesh.params()),
		pubsub.WithSubscriptionFilter(pubsub.WrapLimitSubscriptionFilter(
			pubsub.NewAllowlistSubscriptionFilter(names...), maxAnnounced)),
		pubsub.WithRawTracer(t.tracer),
		pubsub.WithLogger(quiet),
		pubsub.WithRPCLogger(quiet),
	}
	if t.conf.Score {
		params, thresholds := scoring(t.conf, names)
		options = append(options, pubsub.WithPeerScore(params, thresholds),
			pubsub.WithPeerScoreInspect(t.inspect, scoreEvery))
	}
	if t.conf.Waku.Enabled {
		options = append(options, pubsub.WithGossipSubProtocols(
			[]protocol.ID{wakuRelay, pubsub.GossipSubID_v11, pubsub.GossipSubID_v10}, wakuFeatures))
	}
	return pubsub.NewGossipSub(ctx, t.host, options...)
}

// wakuFeatures says what a protocol of the Waku mode can do: relay 2.0.0 is
// gossipsub 1.1 under another name.
func wakuFeatures(f pubsub.GossipSubFeature, id protocol.ID) bool {
	switch f {
	case pubsub.GossipSubFeatureMesh:
		return id == wakuRelay || id == pubsub.GossipSubID_v11 || id == pubsub.GossipSubID_v10
	case pubsub.GossipSubFeaturePX:
		return id == wakuRelay || id == pubsub.GossipSubID_v11
	}
	return false
}

// messageID names a message by what it says. All nodes must do the same.
func messageID(m *pb.Message) string {
	sum := sha256.Sum256(m.Data)
	return string(sum[:])
}

func (m Mesh) params() pubsub.GossipSubParams {
	p := pubsub.DefaultGossipSubParams()
	p.D, p.Dlo, p.Dhi, p.Dout, p.Dlazy = m.D, m.Low, m.High, m.Out, m.Lazy
	p.Dscore = min(p.Dscore, m.D)
	p.HeartbeatInterval = time.Duration(m.Heartbeat)
	p.HeartbeatInitialDelay = time.Duration(m.FirstHeartbeat)
	p.HistoryLength, p.HistoryGossip = m.History, m.HistoryGossip
	p.UnsubscribeBackoff = 2 * time.Second // shards are left late, see linger; who comes back is welcome
	return p
}

// scoring follows what Waku's nodes use, so that a node is judged alike
// everywhere: wrong messages count most, then many peers on one address. A
// score is never positive, so it cannot be earned in advance.
func scoring(c Config, names []string) (*pubsub.PeerScoreParams, *pubsub.PeerScoreThresholds) {
	topics := make(map[string]*pubsub.TopicScoreParams, len(names))
	for _, name := range names {
		topics[name] = &pubsub.TopicScoreParams{
			SkipAtomicValidation:           true,
			TopicWeight:                    1,
			TimeInMeshQuantum:              time.Second,
			InvalidMessageDeliveriesWeight: -100, // times the square of their number
			InvalidMessageDeliveriesDecay:  0.5,  // per minute
		}
	}
	var allowed []*net.IPNet
	for _, s := range c.AllowSubnets {
		if _, subnet, err := net.ParseCIDR(s); err == nil {
			allowed = append(allowed, subnet)
		}
	}
	return &pubsub.PeerScoreParams{
			Topics:                      topics,
			AppSpecificScore:            func(peer.ID) float64 { return 0 },
			IPColocationFactorWeight:    -50, // times the square of the surplus; loopback is exempt
			IPColocationFactorThreshold: 5,
			IPColocationFactorWhitelist: allowed,
			BehaviourPenaltyWeight:      -10,
			BehaviourPenaltyThreshold:   6, // a late answer or two is nobody's fault
			BehaviourPenaltyDecay:       0.8,
			DecayInterval:               time.Minute,
			DecayToZero:                 0.01,
			RetainScore:                 30 * time.Minute, // reconnecting does not help
		}, &pubsub.PeerScoreThresholds{
			GossipThreshold:   scoreGossip,
			PublishThreshold:  scorePublish,
			GraylistThreshold: scoreGraylist,
		}
}

// inspect cuts off peers that are beyond help, and keeps the lowest score.
func (t *Transport) inspect(scores map[peer.ID]*pubsub.PeerScoreSnapshot) {
	lowest := 0.0
	for p, s := range scores {
		lowest = min(lowest, s.Score)
		if s.Score < scoreGraylist && len(t.host.Network().ConnsToPeer(p)) > 0 {
			t.count.bad.Add(1)
			t.cut(p)
		}
	}
	t.lowest.Store(&lowest)
}

func (t *Transport) scoreMin() float64 {
	if v := t.lowest.Load(); v != nil {
		return *v
	}
	return 0
}

// validator judges the messages of one shard and delivers them. It runs in the
// few workers of gossip and takes microseconds.
func (t *Transport) validator(shard int) pubsub.ValidatorEx {
	return func(_ context.Context, from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
		if from == t.host.ID() {
			return pubsub.ValidationAccept // Publish has checked it
		}
		e, err := t.codec.decode(m.Data)
		switch {
		case errors.Is(err, errForeign):
			t.count.foreign.Add(1)
			return pubsub.ValidationAccept // carried for others, not kept
		case err != nil, t.shardOf(e.Topic) != shard:
			t.count.rejected.Add(1)
			return pubsub.ValidationReject
		}
		if err := timely(e, t.now()); err != nil {
			t.untimely(err)
			return pubsub.ValidationIgnore
		}
		if t.pool.admit(e, m.Data, idOf(m.Data), shard, true) == replay {
			t.count.duplicates.Add(1)
			return pubsub.ValidationIgnore
		}
		return pubsub.ValidationAccept
	}
}

func (t *Transport) untimely(err error) {
	if errors.Is(err, errFuture) {
		t.count.future.Add(1)
		return
	}
	t.count.late.Add(1)
}
