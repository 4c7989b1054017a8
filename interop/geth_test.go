package interop

import (
	"crypto/ecdsa"
	"fmt"
	"slices"
	"strconv"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rpc"
)

const (
	// statusMinPoW is what the nodes of the Status network ask of an envelope;
	// go-ethereum by itself asks gethMinPoW.
	statusMinPoW = 0.001
	gethMinPoW   = 0.2
	// statusPoW and statusTTL (seconds) are what Status clients post with, powTime
	// the seconds they give to reach it.
	statusPoW = 0.002
	statusTTL = 15
	powTime   = 5
)

// geth is one gethpeer, spoken to over go-ethereum's JSON-RPC.
type geth struct {
	*stage
	name  string
	enode string
	rpc   *rpc.Client
	links []string // as they were made; see keptLinks
}

// newGeth starts a go-ethereum peer that accepts envelopes from minPoW on.
func (s *stage) newGeth(name string, minPoW float64) *geth {
	s.Helper()
	return s.newPeer(name, gethBin, minPoW)
}

// newPeer starts a peer that is spoken to over go-ethereum's JSON-RPC.
func (s *stage) newPeer(name, program string, minPoW float64, args ...string) *geth {
	s.Helper()
	var intro struct{ Enode, IPC string }
	args = append([]string{"-dir", s.folder(name), "-min-pow", strconv.FormatFloat(minPoW, 'g', -1, 64)}, args...)
	s.start(name, &intro, program, args...)
	c, err := rpc.DialContext(s.ctx, intro.IPC)
	s.must("connect to "+name, err)
	s.Cleanup(c.Close)
	return &geth{stage: s, name: name, enode: intro.Enode, rpc: c}
}

// call asks the peer; method is one of go-ethereum's.
func (g *geth) call(result any, method string, args ...any) {
	g.Helper()
	g.must(g.name+": "+method, g.rpc.CallContext(g.ctx, result, method, args...))
}

// gethPeer is a link as admin_peers tells it.
type gethPeer struct {
	Name    string   `json:"name"`
	Caps    []string `json:"caps"`
	Network struct {
		Local  string `json:"localAddress"`
		Remote string `json:"remoteAddress"`
	} `json:"network"`
}

func (g *geth) peers() (peers []gethPeer, err error) {
	err = g.rpc.CallContext(g.ctx, &peers, "admin_peers")
	return peers, err
}

// link names the links by their two ends. One that was dropped and made again
// has another port, and so another name.
func link(peers []gethPeer) (names []string) {
	for _, p := range peers {
		names = append(names, p.Network.Local+" "+p.Network.Remote)
	}
	slices.Sort(names)
	return names
}

// linked waits until the peer has n links and remembers them.
func (g *geth) linked(n int) {
	g.Helper()
	g.eventually(fmt.Sprintf("%s to have %d links", g.name, n), func() (bool, error) {
		peers, err := g.peers()
		g.links = link(peers)
		return len(peers) == n, err
	})
}

// keptLinks fails the test if a link that linked saw is gone: go-ethereum drops a
// peer at the first thing it does not like.
func (g *geth) keptLinks() {
	g.Helper()
	peers, err := g.peers()
	g.must(g.name, err)
	if now := link(peers); !slices.Equal(now, g.links) {
		g.Errorf("%s: links are now %q, were %q", g.name, now, g.links)
	}
}

// dial makes the peer dial a node.
func (g *geth) dial(enode string) {
	g.Helper()
	var ok bool
	g.call(&ok, "admin_addPeer", enode)
}

// symKey returns the id of the key that go-ethereum derives from a password.
func (g *geth) symKey(password string) (id string) {
	g.Helper()
	g.call(&id, "shh_generateSymKeyFromPassword", password)
	return id
}

// identity is a key pair that the test knows and a peer has.
type identity struct {
	id     string // of the key in the peer
	key    *ecdsa.PrivateKey
	public hexutil.Bytes // 65 bytes
}

func (g *geth) newIdentity() identity {
	g.Helper()
	key, err := crypto.GenerateKey()
	g.must("key", err)
	i := identity{key: key, public: crypto.FromECDSAPub(&key.PublicKey)}
	g.call(&i.id, "shh_addPrivateKey", hexutil.Bytes(crypto.FromECDSA(key)))
	return i
}

// criteria says what a peer listens to: shh_subscribe "messages".
type criteria struct {
	SymKey     string  `json:"symKeyID,omitempty"`
	PrivateKey string  `json:"privateKeyID,omitempty"`
	Topics     []topic `json:"topics"`
	AllowP2P   bool    `json:"allowP2P,omitempty"` // envelopes of packet 127 too
}

// received is a message as go-ethereum tells it after opening it.
type received struct {
	Sig     hexutil.Bytes `json:"sig"`
	TTL     uint32        `json:"ttl"`
	Topic   topic         `json:"topic"`
	Payload hexutil.Bytes `json:"payload"`
	PoW     float64       `json:"pow"`
	Hash    hexutil.Bytes `json:"hash"`
	Dst     hexutil.Bytes `json:"recipientPublicKey"`
}

// listen brings the messages that match, and that the peer can open, from now on.
func (g *geth) listen(c criteria) <-chan received {
	g.Helper()
	in := make(chan received, 64)
	sub, err := g.rpc.ShhSubscribe(g.ctx, in, "messages", c)
	g.must(g.name+": shh_subscribe", err)
	g.Cleanup(sub.Unsubscribe)
	return in
}

// posting is the argument of shh_post.
type posting struct {
	SymKey  string        `json:"symKeyID,omitempty"`
	To      hexutil.Bytes `json:"pubKey,omitempty"`
	Signer  string        `json:"sig,omitempty"`
	Topic   topic         `json:"topic"`
	Payload hexutil.Bytes `json:"payload"`
	TTL     uint32        `json:"ttl"`
	PoW     float64       `json:"powTarget"`
	PoWTime uint32        `json:"powTime"`
	Target  string        `json:"targetPeer,omitempty"` // only to this node, in packet 127
}

// post makes the peer seal and send a message, by default as Status clients do,
// and returns the hash of the envelope.
func (g *geth) post(p posting) (hash hexutil.Bytes) {
	g.Helper()
	if p.TTL == 0 {
		p.TTL = statusTTL
	}
	if p.PoW == 0 {
		p.PoW = statusPoW
	}
	p.PoWTime = powTime
	g.call(&hash, "shh_post", p)
	return hash
}

// topic is a Whisper topic.
type topic [4]byte

// MarshalText implements encoding.TextMarshaler.
func (t topic) MarshalText() ([]byte, error) { return hexutil.Bytes(t[:]).MarshalText() }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *topic) UnmarshalText(b []byte) error { return hexutil.UnmarshalFixedText("topic", b, t[:]) }

// topicOf returns the topic that Status derives from a text.
func topicOf(text string) (t topic) {
	copy(t[:], crypto.Keccak256([]byte(text)))
	return t
}
