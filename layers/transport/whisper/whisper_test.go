package whisper

import (
	"bytes"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/internal/rlpwrite"
)

var (
	t0    = time.Unix(1_577_836_800, 0)
	alice = overlay.PeerID{1}
	bob   = overlay.PeerID{2}
	carol = overlay.PeerID{3}
	chat  = transport.Topic{0xcd, 0x42, 0x37, 0x60}
	other = transport.Topic{0x4c, 0x4b, 0x19, 0x08}
)

// opened returns a node after its first Wake.
func opened(t *testing.T, change func(*Config)) *Node {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	n := New(cfg)
	n.Wake(t0)
	return n
}

// below and above are steps that must not fail.
func below(t testing.TB, n *Node, now time.Time, e overlay.Event) output {
	t.Helper()
	out, err := n.FromBelow(now, e)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func above(t testing.TB, n *Node, now time.Time, c transport.Command) output {
	t.Helper()
	out, err := n.FromAbove(now, c)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// confirming is the greeting of a relay that acknowledges.
func confirming() Status { return Status{Bloom: FullBloom(), Confirmations: true} }

func connect(t testing.TB, n *Node, now time.Time, id overlay.PeerID, state ...overlay.Packet) output {
	t.Helper()
	if state == nil {
		state = []overlay.Packet{confirming()}
	}
	return below(t, n, now, overlay.Connected{Peer: id, State: state})
}

// sealed makes an envelope with the proof of work that relays want.
func sealed(now time.Time, ttl uint32, topic transport.Topic, data string) []byte {
	return mined(0.002, uint32(now.Unix())+ttl, ttl, topic, []byte(data))
}

func mined(pow float64, expiry, ttl uint32, topic transport.Topic, data []byte) []byte {
	fields := appendFields(nil, expiry, ttl, topic, data)
	short := rlpwrite.List(nil, fields)
	nonce, _ := newMiner(short, fourWay).search(zerosFor(pow, len(short), ttl), 1<<26)
	return sealFields(fields, nonce)
}

func hashOf(raw []byte) transport.Hash { return layers.Keccak256(raw) }

// payloadOf is packet 1 of some envelopes.
func payloadOf(envelopes ...[]byte) []byte {
	return rlpwrite.List(nil, bytes.Join(envelopes, nil))
}

// arrival is packet 1 as the overlay brings it.
func arrival(t testing.TB, from overlay.PeerID, envelopes ...[]byte) overlay.Arrived {
	t.Helper()
	return incoming(t, from, codeMessages, payloadOf(envelopes...))
}

func incoming(t testing.TB, from overlay.PeerID, code uint64, payload []byte) overlay.Arrived {
	t.Helper()
	cfg := DefaultConfig()
	cfg.MaxMessageSize = maxMessageSize
	p, err := NewCodec(cfg).Decode(t0, code, payload)
	if err != nil || p == nil {
		t.Fatalf("packet %d: %v, %v", code, p, err)
	}
	return overlay.Arrived{Peer: from, Packet: p}
}

// sends returns the payloads of the packets in out, by peer and code.
func sends(out output) map[overlay.PeerID]map[uint64][]byte {
	m := map[overlay.PeerID]map[uint64][]byte{}
	for _, c := range out.Down {
		if s, ok := c.(overlay.Send); ok {
			if m[s.Peer] == nil {
				m[s.Peer] = map[uint64][]byte{}
			}
			for _, p := range s.Packets {
				m[s.Peer][p.Code] = p.Payload
			}
		}
	}
	return m
}

// hashes returns the envelopes that out sends to a peer.
func hashes(t testing.TB, out output, to overlay.PeerID) []transport.Hash {
	t.Helper()
	payload := sends(out)[to][codeMessages]
	if payload == nil {
		return nil
	}
	envelopes, err := parseMessages(payload)
	if err != nil {
		t.Fatal(err)
	}
	var list []transport.Hash
	for _, e := range envelopes {
		list = append(list, hashOf(e.raw))
	}
	return list
}

func ups[E transport.Event](out output) []E {
	var list []E
	for _, e := range out.Up {
		if e, ok := e.(E); ok {
			list = append(list, e)
		}
	}
	return list
}

func TestFirstWakeOpensTheLayerOnce(t *testing.T) {
	n := New(DefaultConfig())
	out := n.Wake(t0)
	if len(out.Down) != 2 || out.Down[0] != (overlay.Attach{}) {
		t.Fatalf("down %v, want Attach and Greet", out.Down)
	}
	greet := out.Down[1].(overlay.Greet).Packet
	p, err := NewCodec(DefaultConfig()).Greeting(t0, greet.Code, greet.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if s := p.(Status); !s.Bloom.Full() || s.PoW != 0.001 || !s.Confirmations || s.Light {
		t.Errorf("greeting %+v", s)
	}
	info := ups[transport.Ready](out)[0].Info
	if info.Name != "whisper" || info.MinTTL != 10*time.Second || info.MaxTTL != 48*time.Hour {
		t.Errorf("info %+v", info)
	}
	if out := n.Wake(t0); len(out.Down)+len(out.Up) != 0 {
		t.Errorf("second wake emits %+v", out)
	}
}

func TestEnvelopeIsForwardedAtOnceAndNotEchoed(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	connect(t, n, t0, bob)
	raw := sealed(t0, 15, chat, "hello")
	out := below(t, n, t0, arrival(t, alice, raw))
	if got := hashes(t, out, bob); len(got) != 1 || got[0] != hashOf(raw) {
		t.Errorf("to bob %v, want %v", got, hashOf(raw))
	}
	if got := sends(out)[alice]; got[codeMessages] != nil || got[codeAcknowledged] == nil {
		t.Errorf("to alice %v, want an acknowledgement alone", got)
	}
	if got := sends(out)[alice][codeAcknowledged]; !bytes.Equal(got, encodeAcknowledged(hashOf(payloadOf(raw))).Payload) {
		t.Errorf("acknowledgement %x", got)
	}
	out = below(t, n, t0, overlay.Written{Peer: bob})
	if len(out.Down) != 0 {
		t.Errorf("sent again: %v", out.Down)
	}
}

func TestThereIsOneUnansweredSendToAPeer(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	connect(t, n, t0, bob)
	var want []transport.Hash
	for i := range 5 {
		raw := sealed(t0, 15, chat, string(rune('a'+i)))
		out := below(t, n, t0, arrival(t, alice, raw))
		if i > 0 {
			want = append(want, hashOf(raw))
			if len(out.Down) != 0 {
				t.Fatalf("envelope %d: sent %v before Written", i, out.Down)
			}
		}
	}
	if got := hashes(t, below(t, n, t0, overlay.Written{Peer: bob}), bob); len(got) != len(want) {
		t.Errorf("coalesced %d envelopes, want %d", len(got), len(want))
	}
	out := below(t, n, t0, overlay.Written{Peer: alice})
	acks := 0
	for _, p := range out.Down[0].(overlay.Send).Packets {
		if p.Code == codeAcknowledged {
			acks++
		}
	}
	if acks != 4 {
		t.Errorf("%d acknowledgements in one Send, want 4", acks)
	}
}

func TestDuplicateIsRefusedByHashBeforeAnyWork(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	connect(t, n, t0, bob)
	connect(t, n, t0, carol)
	raw := sealed(t0, 15, chat, "x")
	below(t, n, t0, arrival(t, alice, raw, raw, raw))
	if got := n.Counts()["admitted"]; got != 1 || len(n.pool.log) != 1 {
		t.Errorf("admitted %d, pooled %d, want 1", got, len(n.pool.log))
	}
	a := arrival(t, bob, raw)
	allocs := testing.AllocsPerRun(100, func() { n.FromBelow(t0, a) })
	if allocs > 8 {
		t.Errorf("a duplicate costs %v allocations", allocs)
	}
	out := below(t, n, t0, overlay.Written{Peer: bob})
	if got := hashes(t, out, bob); got != nil {
		t.Errorf("echoed to the second giver: %v", got)
	}
}

func TestReceivedReportsSubscribedTopicsOnceInOneBundle(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	connect(t, n, t0, bob)
	above(t, n, t0, transport.Subscribe{Topics: []transport.Topic{chat}})
	a, b, c := sealed(t0, 15, chat, "a"), sealed(t0, 15, other, "b"), sealed(t0, 15, chat, "c")
	got := ups[transport.Received](below(t, n, t0, arrival(t, alice, a, b, c)))
	if len(got) != 1 || len(got[0].Envelopes) != 2 {
		t.Fatalf("received %v, want one bundle of two", got)
	}
	e := got[0].Envelopes[0]
	if e.Hash != hashOf(a) || e.Topic != chat || string(e.Data) != "a" || !e.Sent.Equal(t0) || e.TTL != 15*time.Second {
		t.Errorf("envelope %+v", e)
	}
	if got := ups[transport.Received](below(t, n, t0, arrival(t, bob, a, b, c))); got != nil {
		t.Errorf("reported again: %v", got)
	}
	got = ups[transport.Received](above(t, n, t0, transport.Subscribe{Topics: []transport.Topic{chat, other}}))
	if len(got) != 1 || len(got[0].Envelopes) != 1 || got[0].Envelopes[0].Hash != hashOf(b) {
		t.Errorf("new topic: reported %v, want what is pooled of it", got)
	}
	above(t, n, t0, transport.Subscribe{})
	if got := ups[transport.Received](above(t, n, t0, transport.Subscribe{Topics: []transport.Topic{chat, other}})); got != nil {
		t.Errorf("reported again after a new subscription: %v", got)
	}
}

func TestAllReportsEveryTopicAndWhatIsPooledOfThem(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	above(t, n, t0, transport.Subscribe{Topics: []transport.Topic{chat}})
	a, b, c := sealed(t0, 15, chat, "a"), sealed(t0, 30, other, "b"), sealed(t0, 15, transport.Topic{9}, "c")
	below(t, n, t0, arrival(t, alice, a, b))

	got := ups[transport.Received](above(t, n, t0, transport.Subscribe{All: true}))
	if len(got) != 1 || len(got[0].Envelopes) != 1 {
		t.Fatalf("on All: reported %v, want the pooled envelope of the other topic alone", got)
	}
	if e := got[0].Envelopes[0]; e.Hash != hashOf(b) || !e.Sent.Equal(t0) || e.TTL != 30*time.Second {
		t.Errorf("pooled envelope %+v", e)
	}
	got = ups[transport.Received](below(t, n, t0, arrival(t, alice, c)))
	if len(got) != 1 || got[0].Envelopes[0].Hash != hashOf(c) {
		t.Errorf("of a topic nobody named: reported %v, want the envelope", got)
	}
	for _, s := range []transport.Subscribe{{All: true}, {All: true, Topics: []transport.Topic{chat}}, {Topics: []transport.Topic{chat, other}}} {
		if got := ups[transport.Received](above(t, n, t0, s)); got != nil {
			t.Errorf("%+v: reported again: %v", s, got)
		}
	}
	if got := ups[transport.Received](below(t, n, t0, arrival(t, alice, sealed(t0, 15, transport.Topic{9}, "d")))); got != nil {
		t.Errorf("after All was taken back: reported %v", got)
	}

	below(t, n, t0, arrival(t, alice, sealed(t0, 15, transport.Topic{9}, "e")))
	above(t, n, t0, transport.Subscribe{All: true})
	above(t, n, t0, transport.Attach{})
	if got := ups[transport.Received](below(t, n, t0, arrival(t, alice, sealed(t0, 15, chat, "f")))); got != nil {
		t.Errorf("All has outlived the layer that asked for it: %v", got)
	}
}

func TestRestartedUpperLayerHearsThePoolAgain(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	above(t, n, t0, transport.Subscribe{Topics: []transport.Topic{chat}})
	raw := sealed(t0, 15, chat, "a")
	below(t, n, t0, arrival(t, alice, raw))
	out := above(t, n, t0, transport.Attach{})
	if len(ups[transport.Ready](out)) != 1 || ups[transport.Peers](out)[0].Count != 1 {
		t.Errorf("answer to Attach: %v", out.Up)
	}
	late := sealed(t0, 15, chat, "b")
	if got := ups[transport.Received](below(t, n, t0, arrival(t, alice, late))); got != nil {
		t.Errorf("reported before Subscribe: %v", got)
	}
	got := ups[transport.Received](above(t, n, t0, transport.Subscribe{Topics: []transport.Topic{chat}}))
	if len(got) != 1 || len(got[0].Envelopes) != 2 {
		t.Errorf("received %v, want both", got)
	}
}

func TestReportedDataDoesNotPinThePacket(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	above(t, n, t0, transport.Subscribe{Topics: []transport.Topic{chat}})
	a := arrival(t, alice, sealed(t0, 15, chat, "a"))
	got := ups[transport.Received](below(t, n, t0, a))[0].Envelopes[0]
	a.Packet.(Messages).Envelopes[0].Data[0] = '!'
	if string(got.Data) != "a" {
		t.Error("the reported data shares the packet's buffer")
	}
}

func TestNothingIsSentToAPeerBeforeItsLinkIsComplete(t *testing.T) {
	n := opened(t, func(c *Config) { c.Interest = Subscribed })
	out := above(t, n, t0, transport.Subscribe{Topics: []transport.Topic{chat}})
	if len(sends(out)) != 0 {
		t.Errorf("sent %v", out.Down)
	}
	out = below(t, n, t0, arrival(t, alice, sealed(t0, 15, chat, "x")))
	if len(out.Down)+len(out.Up) != 0 {
		t.Errorf("a packet from nobody has the effect %+v", out)
	}
}

func TestWakeIsAskedForWhenTheFirstEnvelopeExpires(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	out := below(t, n, t0, arrival(t, alice, sealed(t0, 60, chat, "x"), sealed(t0, 15, chat, "y")))
	if want := t0.Add(16 * time.Second); !out.Wake.Equal(want) {
		t.Errorf("wake at %v, want %v", out.Wake, want)
	}
	n.Wake(t0.Add(16 * time.Second))
	if got := n.pool.len(); got != 1 {
		t.Errorf("pool of %d, want 1", got)
	}
	if out := n.Wake(t0.Add(61 * time.Second)); n.pool.len() != 0 || n.pool.bytes != 0 || !out.Wake.IsZero() {
		t.Errorf("pool of %d, %d bytes, wake at %v", n.pool.len(), n.pool.bytes, out.Wake)
	}
}
