package libp2p

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"testing"
	"time"

	golibp2p "github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

// stranger is a libp2p host that keeps to no rules of ours.
type stranger struct {
	host.Host
	joined map[string]*pubsub.Topic
}

func newStranger(t *testing.T) *stranger {
	t.Helper()
	h, err := golibp2p.New(golibp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), golibp2p.DisableMetrics(),
		golibp2p.Transport(tcp.NewTCPTransport), golibp2p.ResourceManager(&network.NullResourceManager{}),
		golibp2p.BandwidthReporter(bandwidth{&counters{}, &links{}}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &stranger{h, map[string]*pubsub.Topic{}}
}

func (s *stranger) connect(t *testing.T, n *node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Connect(ctx, infos(n.Addrs())[0]); err != nil {
		t.Fatal(err)
	}
}

// gossip joins the topics of the names.
func (s *stranger) gossip(t *testing.T, policy pubsub.MessageSignaturePolicy, names ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	off := slog.New(slog.DiscardHandler)
	options := []pubsub.Option{
		pubsub.WithMessageSignaturePolicy(policy), pubsub.WithMessageIdFn(messageID), pubsub.WithFloodPublish(true),
		pubsub.WithLogger(off), pubsub.WithRPCLogger(off),
	}
	if policy == pubsub.StrictNoSign {
		options = append(options, pubsub.WithNoAuthor())
	}
	ps, err := pubsub.NewGossipSub(ctx, s.Host, options...)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		topic, err := ps.Join(name)
		if err != nil {
			t.Fatal(err)
		}
		s.joined[name] = topic
		if _, err := topic.Relay(); err != nil {
			t.Fatal(err)
		}
	}
}

// publish sends raw bytes to a node as soon as it is in the topic.
func (s *stranger) publish(t *testing.T, name string, wire []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for len(s.joined[name].ListPeers()) == 0 { // there is no event for it
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("nobody is in the topic")
		}
	}
	if err := s.joined[name].Publish(ctx, wire); err != nil {
		t.Fatal(err)
	}
}

func TestMalformedGossipIsPenalised(t *testing.T) {
	name, other := shardName("status", shardOf(topic, 8)), shardName("status", (shardOf(topic, 8)+1)%8)
	a := start(t, settings{"relay": true})
	b := start(t, settings{"relay": true, "peers": a.Addrs()})
	b.awaitPeers(t, 1)
	evil := newStranger(t)
	evil.gossip(t, pubsub.StrictNoSign, name, other)
	evil.connect(t, a)
	evil.publish(t, name, []byte("garbage"))
	a.awaitCount(t, "rejected_total", 1)
	evil.publish(t, other, plain{}.encode(envelope(0, topic, "in the wrong shard")))
	a.awaitCount(t, "rejected_total", 2)
	if n := b.counts(t)["copies_total"]; n != 0 {
		t.Errorf("b got %v messages, want none to be forwarded", n)
	}
	for i := range 20 {
		evil.publish(t, name, fmt.Appendf(nil, "garbage %d", i))
	}
	a.awaitCount(t, "bad_peers_total", 1)
	if low := a.counts(t)["score_min"]; low > scoreGraylist {
		t.Errorf("lowest score: got %v, want at most %v", low, scoreGraylist)
	}
	b.subscribe(t, topic)
	a.say(t, 1, topic, "still here")
	b.awaitEnvelopes(t, 1)
}

func TestUntimelyGossipIsIgnored(t *testing.T) {
	name := shardName("status", shardOf(topic, 8))
	a := start(t, nil)
	a.subscribe(t, topic)
	other := newStranger(t)
	other.gossip(t, pubsub.StrictNoSign, name)
	other.connect(t, a)
	old, early := envelope(0, topic, "old"), envelope(0, topic, "early")
	old.Sent = old.Sent.Add(-2 * time.Minute)
	early.Sent = early.Sent.Add(2 * time.Minute)
	other.publish(t, name, plain{}.encode(old))
	other.publish(t, name, plain{}.encode(early))
	other.publish(t, name, plain{}.encode(envelope(0, topic, "in time")))
	a.awaitEnvelopes(t, 1)
	a.awaitCount(t, "late_total", 1)
	a.awaitCount(t, "future_total", 1)
	c := a.counts(t)
	if got := a.got(); c["late_total"] != 1 || c["future_total"] != 1 || c["rejected_total"] != 0 || got["in time"] != 1 {
		t.Errorf("got %v, late %v, future %v, rejected %v", got, c["late_total"], c["future_total"], c["rejected_total"])
	}
}

func TestSignedGossipIsRefused(t *testing.T) {
	name := shardName("status", shardOf(topic, 8))
	a := start(t, nil)
	a.subscribe(t, topic)
	other := newStranger(t)
	other.gossip(t, pubsub.StrictSign, name)
	other.connect(t, a)
	other.publish(t, name, plain{}.encode(envelope(0, topic, "signed")))
	a.awaitCount(t, "rejected_total", 1)
	if n := len(a.got()); n != 0 {
		t.Errorf("got %d envelopes, want none", n)
	}
}

// claim is the head of a frame of a terabyte.
var claim = binary.AppendUvarint(nil, 1<<40)

func TestBadRequestsAreBreaches(t *testing.T) {
	a := start(t, nil)
	a.subscribe(t, topic)
	good := request{kindAsk, a.scope, 0, make([]bool, 8)}.encode()
	framed := func(b []byte) []byte { return append(binary.AppendUvarint(nil, uint64(len(b))), b...) }
	s := newStranger(t)
	s.connect(t, a)
	for i, raw := range [][]byte{
		claim,
		framed([]byte("short")),
		framed(append([]byte{9}, good[1:]...)),
		framed(append(good, 0)),
	} {
		stream := s.open(t, a)
		if _, err := stream.Write(raw); err != nil {
			t.Fatal(err)
		}
		a.awaitCount(t, "breaches_total", float64(i+1))
		if _, err := stream.Read(make([]byte, 1)); err == nil {
			t.Errorf("request %d was answered", i)
		}
	}
}

func (s *stranger) open(t *testing.T, n *node) network.Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := s.NewStream(ctx, n.host.ID(), recentProtocol)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func TestTooManyRequestsAreRefused(t *testing.T) {
	a := start(t, nil)
	a.subscribe(t, topic)
	s := newStranger(t)
	s.connect(t, a)
	for range asksBurst + 20 {
		stream := s.open(t, a)
		if err := send(stream, bufio.NewWriter(stream), request{kindHint, a.scope, 0, make([]bool, 8)}.encode()); err != nil {
			continue // reset already
		}
	}
	a.awaitCount(t, "recents_refused_total", 1)
}

func TestBadAnswersAreBreaches(t *testing.T) {
	alien := envelope(0, topic, "not asked for")
	var id envelopeID
	for what, answer := range map[string]func(w *bufio.Writer){
		"a terabyte of names": func(w *bufio.Writer) { _, _ = w.Write(claim) },
		"half a name":         func(w *bufio.Writer) { _ = writeFrame(w, make([]byte, 24)) },
		"endless names": func(w *bufio.Writer) {
			for i := range 2 * maxNames / namesInFrame {
				frame := make([]byte, namesInFrame*idSize)
				frame[0] = byte(i)
				_ = writeFrame(w, frame)
			}
		},
		"another envelope": func(w *bufio.Writer) {
			_ = writeFrame(w, id[:])
			_ = writeFrame(w, nil)
			_ = writeFrame(w, plain{}.encode(alien))
		},
		"a terabyte of envelope": func(w *bufio.Writer) {
			_ = writeFrame(w, id[:])
			_ = writeFrame(w, nil)
			_, _ = w.Write(claim)
		},
	} {
		s := newStranger(t)
		s.SetStreamHandler(recentProtocol, func(stream network.Stream) {
			w := bufio.NewWriter(stream)
			answer(w)
			_ = w.Flush() // the other may have had enough
			_ = stream.CloseWrite()
		})
		full, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: s.ID(), Addrs: s.Addrs()})
		if err != nil {
			t.Fatal(err)
		}
		a := start(t, settings{"peers": []string{full[0].String()}})
		a.subscribe(t, topic)
		a.awaitCount(t, "breaches_total", 1)
		if n := len(a.got()); n != 0 {
			t.Errorf("%s: got %d envelopes", what, n)
		}
	}
}

func TestSilentAnswererHoldsNobodyUp(t *testing.T) {
	s := newStranger(t)
	s.SetStreamHandler(recentProtocol, func(stream network.Stream) {}) // says nothing, for ever
	full, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: s.ID(), Addrs: s.Addrs()})
	if err != nil {
		t.Fatal(err)
	}
	friend := start(t, nil)
	friend.subscribe(t, topic)
	a := start(t, settings{"peers": append(friend.Addrs(), full[0].String())})
	a.awaitCount(t, "connections", 2)
	friend.say(t, 1, topic, "kept")
	a.subscribe(t, topic)
	a.awaitEnvelopes(t, 1)
}

func TestOwnEnvelopeIsNeverReported(t *testing.T) {
	a := start(t, nil)
	b := start(t, settings{"peers": a.Addrs()})
	a.subscribe(t, topic)
	b.subscribe(t, topic)
	e := envelope(1, topic, "mine")
	if err := a.try(e); err != nil {
		t.Fatal(err)
	}
	b.awaitEnvelopes(t, 1)
	evil := newStranger(t) // sends it back
	name := shardName("status", shardOf(topic, 8))
	evil.gossip(t, pubsub.StrictNoSign, name)
	evil.connect(t, a)
	evil.publish(t, name, plain{}.encode(e))
	b.say(t, 2, topic, "theirs")
	a.awaitEnvelopes(t, 1)
	a.awaitCount(t, "duplicates_total", 1)
	if got := a.got(); len(got) != 1 || got["theirs"] != 1 {
		t.Errorf("got %v, want only theirs", got)
	}
}
