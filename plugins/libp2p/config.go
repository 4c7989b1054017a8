package libp2p

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// Bounds of settings.
const (
	maxShards    = 256     // each costs a goroutine and a pubsub topic
	maxPeersCap  = 4096    // connections; each costs about 100 KiB
	maxQueue     = 1 << 16 // messages
	maxMiB       = 4096    // of any memory setting
	maxName      = 64      // bytes of the network's name
	maxPubsub    = 128     // bytes of a pubsub topic given by the user
	minHeartbeat = 50 * time.Millisecond
	maxHeartbeat = time.Minute
	maxDegree    = 64 // of the mesh; more is flooding
)

// Config is the JSON settings of the transport. Every field has a default and
// an unknown key is refused.
type Config struct {
	Listen []string `json:"listen"` // multiaddrs; TCP and QUIC only; none: dial only
	Peers  []string `json:"peers"`  // multiaddrs with /p2p/ID, kept connected

	KeyFile string `json:"key_file"` // of the node key; relative to Options.Dir; made at the first start
	Key     string `json:"-"`        // 32 bytes of secp256k1 in hex, instead of a file: for tests and demos

	Network     string `json:"network"`      // nodes of another name do not meet
	Shards      int    `json:"shards"`       // 1 to 256, the same on all nodes of a network
	Relay       bool   `json:"relay"`        // join and relay all shards, whatever is subscribed
	CoverShards int    `json:"cover_shards"` // random shards joined besides the needed ones

	Queue     int `json:"queue"`      // messages for a peer, and own messages not yet sent, 16 to 65536
	QueueMiB  int `json:"queue_mib"`  // bytes of the same
	RecentMiB int `json:"recent_mib"` // bytes of unexpired envelopes kept for those who come later
	MaxPeers  int `json:"max_peers"`  // connections kept

	Mesh         Mesh     `json:"mesh"`
	MDNS         bool     `json:"mdns"`          // find peers on the LAN; announces this node to it
	Score        bool     `json:"score"`         // judge peers and avoid bad ones
	AllowSubnets []string `json:"allow_subnets"` // CIDR; many peers may share an address there
	NAT          NAT      `json:"nat"`
	Waku         Waku     `json:"waku"`
}

// Mesh is the shape of gossip.
type Mesh struct {
	D              int      `json:"d"`      // peers to whom a message is forwarded, per shard
	Low            int      `json:"d_low"`  // fewer: look for more
	High           int      `json:"d_high"` // more: leave some
	Out            int      `json:"d_out"`  // of them at least so many that this node dialled
	Lazy           int      `json:"d_lazy"` // peers outside the mesh to be told what there is
	Heartbeat      Duration `json:"heartbeat"`
	History        int      `json:"history"`        // heartbeats for which a message can be asked for
	HistoryGossip  int      `json:"history_gossip"` // heartbeats for which it is told
	SeenTTL        Duration `json:"seen_ttl"`       // of the duplicate cache of gossip
	PeerExchange   bool     `json:"peer_exchange"`  // tell peers that are turned away of others; for boot nodes
	FloodPublish   bool     `json:"flood_publish"`  // own messages go to all peers of the shard
	FirstHeartbeat Duration `json:"first_heartbeat"`
}

// NAT is what helps a node behind one, and what a public node does for those.
type NAT struct {
	PortMap      bool     `json:"port_map"`      // ask the router by UPnP or NAT-PMP
	AutoNAT      bool     `json:"auto_nat"`      // find out which addresses are reachable
	RelayClient  []string `json:"relay_client"`  // multiaddrs with /p2p/ID of relays to be reached through
	HolePunching bool     `json:"hole_punching"` // make relayed connections direct
	RelayService bool     `json:"relay_service"` // carry connections of others
	Reachability string   `json:"reachability"`  // auto, public or private
}

// Waku is the wire mode of Waku v2 relay.
type Waku struct {
	Enabled     bool     `json:"enabled"`
	PubsubTopic string   `json:"pubsub_topic"`
	TTL         Duration `json:"ttl"` // of every envelope: the wire form has none
}

// DefaultConfig returns the settings of an empty object.
func DefaultConfig() Config {
	return Config{
		Listen:    []string{"/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"},
		KeyFile:   "node.key",
		Network:   "status",
		Shards:    8,
		Queue:     4096,
		QueueMiB:  64,
		RecentMiB: 16,
		MaxPeers:  128,
		Score:     true,
		Mesh: Mesh{
			D: 6, Low: 4, High: 8, Out: 2, Lazy: 6,
			Heartbeat: Duration(500 * time.Millisecond), FirstHeartbeat: Duration(100 * time.Millisecond),
			History: 12, HistoryGossip: 6, SeenTTL: Duration(2 * time.Minute), FloodPublish: true,
		},
		NAT:  NAT{Reachability: "auto"},
		Waku: Waku{PubsubTopic: "/waku/2/default-waku/proto", TTL: Duration(time.Hour)},
	}
}

func (c *Config) section() section {
	m, n, w := &c.Mesh, &c.NAT, &c.Waku
	return section{
		"listen": &c.Listen, "peers": &c.Peers, "key_file": &c.KeyFile, "key": &c.Key,
		"network": &c.Network, "shards": &c.Shards, "relay": &c.Relay, "cover_shards": &c.CoverShards,
		"queue": &c.Queue, "queue_mib": &c.QueueMiB, "recent_mib": &c.RecentMiB, "max_peers": &c.MaxPeers,
		"mdns": &c.MDNS, "score": &c.Score, "allow_subnets": &c.AllowSubnets,
		"mesh": section{
			"d": &m.D, "d_low": &m.Low, "d_high": &m.High, "d_out": &m.Out, "d_lazy": &m.Lazy,
			"heartbeat": &m.Heartbeat, "first_heartbeat": &m.FirstHeartbeat, "history": &m.History,
			"history_gossip": &m.HistoryGossip, "seen_ttl": &m.SeenTTL, "peer_exchange": &m.PeerExchange,
			"flood_publish": &m.FloodPublish,
		},
		"nat": section{
			"port_map": &n.PortMap, "auto_nat": &n.AutoNAT, "relay_client": &n.RelayClient,
			"hole_punching": &n.HolePunching, "relay_service": &n.RelayService, "reachability": &n.Reachability,
		},
		"waku": section{"enabled": &w.Enabled, "pubsub_topic": &w.PubsubTopic, "ttl": &w.TTL},
	}
}

// DecodeConfig reads settings strictly. The error is a *transport.Error whose
// Field is the first bad setting, as in "nat.reachability", and whose Reason
// tells all of them.
func DecodeConfig(raw []byte) (Config, error) {
	c := DefaultConfig()
	var f faults
	if len(raw) > 0 {
		c.section().decode("", raw, &f)
	}
	if c.Waku.Enabled {
		c.Shards = 1 // Waku's own sharding is by pubsub topic
	}
	c.validate(&f)
	return c, f.err()
}

func (c *Config) validate(f *faults) {
	for i, s := range c.Listen {
		if err := checkListen(s); err != nil {
			f.add(fmt.Sprintf("listen[%d]", i), "%v", err)
		}
	}
	checkInfos(f, "peers", c.Peers)
	checkInfos(f, "nat.relay_client", c.NAT.RelayClient)
	if c.Key != "" {
		if raw, err := hex.DecodeString(c.Key); err != nil || len(raw) != keySize {
			f.add("key", "is not 32 bytes in hex")
		}
	} else if c.KeyFile == "" {
		f.add("key_file", "is empty")
	}
	if c.Network == "" || len(c.Network) > maxName || strings.ContainsAny(c.Network, "/ \t\n") {
		f.add("network", "is not a name of 1 to %d bytes without / and spaces", maxName)
	}
	within(f, "shards", c.Shards, 1, maxShards)
	within(f, "cover_shards", c.CoverShards, 0, maxShards)
	within(f, "queue", c.Queue, 16, maxQueue)
	within(f, "queue_mib", c.QueueMiB, 2, maxMiB)
	within(f, "recent_mib", c.RecentMiB, 1, maxMiB)
	within(f, "max_peers", c.MaxPeers, 1, maxPeersCap)
	for i, s := range c.AllowSubnets {
		if _, err := netip.ParsePrefix(s); err != nil {
			f.add(fmt.Sprintf("allow_subnets[%d]", i), "%q is not a subnet such as 10.0.0.0/8", s)
		}
	}
	c.Mesh.validate(f)
	switch c.NAT.Reachability {
	case "auto", "public", "private":
	default:
		f.add("nat.reachability", "%q is not auto, public or private", c.NAT.Reachability)
	}
	if w := c.Waku; w.Enabled {
		if w.PubsubTopic == "" || len(w.PubsubTopic) > maxPubsub {
			f.add("waku.pubsub_topic", "is not 1 to %d bytes long", maxPubsub)
		}
		lasts(f, "waku.ttl", w.TTL, minMaxTTL, maxTTL)
	}
}

func (m Mesh) validate(f *faults) {
	within(f, "mesh.d", m.D, 1, maxDegree)
	within(f, "mesh.d_low", m.Low, 1, m.D)
	within(f, "mesh.d_high", m.High, m.D, 2*maxDegree)
	within(f, "mesh.d_out", m.Out, 0, max(0, min(m.Low-1, m.D/2)))
	within(f, "mesh.d_lazy", m.Lazy, 0, maxDegree)
	within(f, "mesh.history", m.History, 2, 120)
	within(f, "mesh.history_gossip", m.HistoryGossip, 1, m.History)
	lasts(f, "mesh.heartbeat", m.Heartbeat, minHeartbeat, maxHeartbeat)
	lasts(f, "mesh.first_heartbeat", m.FirstHeartbeat, time.Millisecond, maxHeartbeat)
	lasts(f, "mesh.seen_ttl", m.SeenTTL, 10*time.Second, time.Hour)
}

func within(f *faults, field string, v, low, high int) {
	if v < low || v > high {
		f.add(field, "%d is not within %d and %d", v, low, high)
	}
}

func lasts(f *faults, field string, v Duration, low, high time.Duration) {
	if d := time.Duration(v); d < low || d > high {
		f.add(field, "%v is not within %v and %v", d, low, high)
	}
}

func checkInfos(f *faults, field string, addrs []string) {
	for i, s := range addrs {
		if _, err := peer.AddrInfoFromString(s); err != nil {
			f.add(fmt.Sprintf("%s[%d]", field, i), "%q is not a multiaddr that ends in /p2p/ID", s)
		}
	}
}

func checkListen(s string) error {
	a, err := ma.NewMultiaddr(s)
	if err != nil {
		return fmt.Errorf("%q is not a multiaddr", s)
	}
	if _, err := a.ValueForProtocol(ma.P_WEBTRANSPORT); err == nil {
		return fmt.Errorf("%q is not of TCP or QUIC", s)
	}
	_, tcp := a.ValueForProtocol(ma.P_TCP)
	_, quic := a.ValueForProtocol(ma.P_QUIC_V1)
	_, ws := a.ValueForProtocol(ma.P_WS)
	if ws == nil || (tcp != nil && quic != nil) {
		return fmt.Errorf("%q is not of TCP or QUIC", s)
	}
	return nil
}
