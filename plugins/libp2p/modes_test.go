package libp2p

import (
	"context"
	"strings"
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/network"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/stratanode/strata/plugins/transport"
)

func TestWakuNodesTalk(t *testing.T) {
	mode := settings{"enabled": true, "ttl": "10m"}
	a := start(t, settings{"waku": mode})
	b := start(t, settings{"waku": mode, "peers": a.Addrs()})
	a.subscribe(t, topic)
	b.subscribe(t, topic)
	e := envelope(1, topic, "by waku")
	e.Data = append(e.Data, make([]byte, a.info.MaxData-len(e.Data))...)
	if err := a.try(e); err != nil {
		t.Fatal(err)
	}
	b.awaitEnvelopes(t, 1)
	a.awaitReceipt(t, 1, transport.OutcomeRelayed)
	if got := b.envelopes[0]; got.Topic != topic || len(got.Data) != len(e.Data) || got.TTL != 10*time.Minute {
		t.Errorf("got topic %s, %d bytes, TTL %v", got.Topic, len(got.Data), got.TTL)
	}
	var spoken []string
	for _, c := range b.host.Network().Conns() {
		for _, s := range c.GetStreams() {
			spoken = append(spoken, string(s.Protocol()))
		}
	}
	if all := strings.Join(spoken, " "); !strings.Contains(all, string(wakuRelay)) || strings.Contains(all, "meshsub") {
		t.Errorf("protocols: got %s, want %s and no meshsub", all, wakuRelay)
	}
	if a.info.MaxData > 150<<10 || a.info.MaxTTL != 10*time.Minute {
		t.Errorf("info: %+v", a.info)
	}
}

func TestForeignWakuMessageIsCarriedButNotReported(t *testing.T) {
	mode := settings{"enabled": true}
	a := start(t, settings{"waku": mode})
	b := start(t, settings{"waku": mode, "peers": a.Addrs()})
	a.subscribe(t, topic)
	b.subscribe(t, topic)
	a.awaitCount(t, "mesh_peers", 1)
	b.awaitCount(t, "mesh_peers", 1)
	const name = "/waku/2/default-waku/proto"
	other := newStranger(t)
	other.gossip(t, pubsub.StrictNoSign, name)
	other.connect(t, a)
	wire := protowire.AppendString(protowire.AppendTag(nil, wakuPayload, protowire.BytesType), "chat")
	wire = protowire.AppendString(protowire.AppendTag(wire, wakuContent, protowire.BytesType), "/toy-chat/2/huilong/proto")
	other.publish(t, name, wire)
	b.awaitCount(t, "foreign_total", 1)
	if n := len(a.got()) + len(b.got()); n != 0 {
		t.Errorf("%d envelopes were reported, want none", n)
	}
}

// TestNodesTalkThroughACircuit: the relay is of another network, so nothing
// passes through it but the circuit.
func TestNodesTalkThroughACircuit(t *testing.T) {
	relay := start(t, settings{"network": "relay", "nat": settings{"relay_service": true, "reachability": "public"}})
	hidden := start(t, settings{"nat": settings{"relay_client": relay.Addrs(), "reachability": "private"}})
	hidden.subscribe(t, topic)
	through := relay.Addrs()[0] + "/p2p-circuit/p2p/" + hidden.ID()
	caller := start(t, settings{"peers": []string{through}})
	began := time.Now()
	caller.say(t, 1, topic, "are you there")
	hidden.awaitEnvelopes(t, 1)
	t.Logf("through the circuit after %v", time.Since(began))
	caller.subscribe(t, topic)
	hidden.say(t, 2, topic, "behind the router")
	caller.awaitEnvelopes(t, 1)
	for _, c := range caller.host.Network().ConnsToPeer(hidden.host.ID()) {
		if !strings.Contains(c.RemoteMultiaddr().String(), "p2p-circuit") {
			t.Errorf("the connection is direct: %s", c.RemoteMultiaddr())
		}
	}
}

func TestCoverShardsAreJoined(t *testing.T) {
	a := start(t, settings{"cover_shards": 3})
	if n := a.counts(t)["shards"]; n != 0 {
		t.Errorf("shards before there is anything to hide: got %v, want 0", n)
	}
	a.subscribe(t, topic)
	if n := a.counts(t)["shards"]; n != 4 {
		t.Errorf("shards: got %v, want 1 and 3", n)
	}
	if err := a.Subscribe(context.Background(), transport.Filter{All: true}); err != nil {
		t.Fatal(err)
	}
	if n := a.counts(t)["shards"]; n != 8 {
		t.Errorf("shards of all topics: got %v, want 8", n)
	}
}

func TestShardIsLeftLate(t *testing.T) {
	a := start(t, nil)
	a.subscribe(t, topic)
	a.subscribe(t)
	a.shards.tidy(time.Now().Add(linger - time.Second))
	if n := a.counts(t)["shards"]; n != 1 {
		t.Errorf("shards just before: got %v, want 1", n)
	}
	a.shards.tidy(time.Now().Add(linger + time.Second))
	if n := a.counts(t)["shards"]; n != 0 {
		t.Errorf("shards after: got %v, want 0", n)
	}
}

func TestSlowPeerIsCutOff(t *testing.T) {
	a := start(t, settings{"queue_mib": 2})
	s := newStranger(t)
	s.gossip(t, pubsub.StrictNoSign, shardName("status", shardOf(topic, 8)))
	// It never reads what it is sent.
	s.SetStreamHandler(pubsub.GossipSubID_v13, func(network.Stream) {})
	s.connect(t, a)
	a.subscribe(t, topic)
	a.awaitPeers(t, 1)
	good := start(t, settings{"peers": a.Addrs()})
	good.subscribe(t, topic)
	a.awaitPeers(t, 2)
	data := string(make([]byte, 256<<10))
	for i := range 20 {
		a.say(t, uint64(i+1), topic, string(rune('a'+i))+data)
		a.awaitReceipt(t, uint64(i+1), transport.OutcomeRelayed)
	}
	a.awaitCount(t, "slow_peers_total", 1)
	good.awaitEnvelopes(t, 20)
}
