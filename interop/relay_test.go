package interop

import (
	"bytes"
	"slices"
	"testing"

	"github.com/ethereum/go-ethereum/common/hexutil"
)

// TestRelayCarriesBetweenGethPeers has two go-ethereum peers that know only our
// relay. What arrives is what was sent, to the last bit: the hash of an envelope
// covers all of it.
func TestRelayCarriesBetweenGethPeers(t *testing.T) {
	s := newStage(t)
	relay := s.newRelay("relay")
	a, b := s.newGeth("a", statusMinPoW), s.newGeth("b", statusMinPoW)
	for _, g := range []*geth{a, b} {
		g.dial(relay.enode)
		g.linked(1)
	}
	relay.linked(2)
	peers, err := a.peers()
	s.must("peers of a", err)
	if !slices.Contains(peers[0].Caps, "shh/6") {
		t.Errorf("our relay announces %q, want shh/6 among them", peers[0].Caps)
	}
	exchange(a, b)
	exchange(b, a)
	a.keptLinks()
	b.keptLinks()
}

// TestChatGoesThroughGeth has two of our clients that know only a go-ethereum
// peer: private messages both ways until they are acknowledged, and a public one.
func TestChatGoesThroughGeth(t *testing.T) {
	s := newStage(t)
	g := s.newGeth("geth", statusMinPoW)
	alice, bob := s.newClient("alice", g.enode), s.newClient("bob", g.enode)
	g.linked(2)
	for _, c := range []struct {
		from, to         *strata
		text, protection string
	}{
		{alice, bob, "hello bob", "static"}, // nothing of bob is known yet
		{bob, alice, "hello alice", "ratcheted"},
		{alice, bob, "how are you?", "ratcheted"},
		{bob, alice, "fine", "ratcheted"},
	} {
		if got := c.from.tell(c.to.key, c.text, "--wait", "delivered"); got.Status != "delivered" {
			t.Errorf("%s to %s: %q is %s, want delivered", c.from.name, c.to.name, c.text, got.Status)
		}
		m := c.to.shown(c.from.key.String(), c.text)
		if !bytes.Equal(m.From, c.from.key) || m.Public || m.Protection != c.protection {
			t.Errorf("shown as %+v, want a private message of %s, protection %s", m, c.from.key, c.protection)
		}
	}
	alice.join(channel)
	bob.join(channel)
	if got := alice.say(channel, "hello all", "--wait", "relayed"); got.Status != "relayed" {
		t.Errorf("public message is %s, want relayed", got.Status)
	}
	if m := bob.shown(channel, "hello all"); !bytes.Equal(m.From, alice.key) || !m.Public {
		t.Errorf("shown as %+v, want a public message of %s", m, alice.key)
	}
	g.keptLinks()
}

// TestRelayKeepsToThePeersProofOfWork has a go-ethereum peer with the limit of
// its default, a hundred times what Status uses. It drops who sends it less, so
// the relay must not: it gets what is good enough and keeps its link.
func TestRelayKeepsToThePeersProofOfWork(t *testing.T) {
	t.Run("of the handshake", func(t *testing.T) { keepsToProofOfWork(t, gethMinPoW) })
	t.Run("changed later", func(t *testing.T) { keepsToProofOfWork(t, statusMinPoW) })
}

func keepsToProofOfWork(t *testing.T, atFirst float64) {
	s := newStage(t)
	relay := s.newRelay("relay")
	strict, lax := s.newGeth("strict", atFirst), s.newGeth("lax", statusMinPoW)
	for _, g := range []*geth{strict, lax} {
		g.dial(relay.enode)
		g.linked(1)
	}
	relay.linked(2)
	keys := map[*geth]string{strict: strict.symKey(channel), lax: lax.symKey(channel)}
	in := map[*geth]<-chan received{}
	for g, key := range keys {
		in[g] = g.listen(criteria{SymKey: key, Topics: []topic{topicOf(channel)}})
	}
	post := func(g *geth, pow float64) hexutil.Bytes {
		return g.post(posting{SymKey: keys[g], Topic: topicOf(channel), Payload: []byte("hello"), PoW: pow})
	}
	arrives := func(at *geth, hash hexutil.Bytes) received {
		return await(s, hash.String()+" at "+at.name, in[at], func(m received) bool {
			if at == strict && m.PoW < gethMinPoW {
				t.Errorf("strict got a proof of work of %v, want at least %v", m.PoW, gethMinPoW)
			}
			return bytes.Equal(m.Hash, hash)
		})
	}
	if atFirst < gethMinPoW {
		var ok bool
		strict.call(&ok, "shh_setMinPoW", gethMinPoW)
	}
	// What goes through the relay comes after the change on the same link.
	arrives(lax, post(strict, 2*gethMinPoW))

	// A cheap one may be good enough by luck, one time in a hundred.
	for low := false; !low; {
		low = arrives(lax, post(lax, statusPoW)).PoW < gethMinPoW
	}
	arrives(strict, post(lax, 2*gethMinPoW))
	strict.keptLinks()
	lax.keptLinks()
}

// TestGethSendsAClientOnlyItsTopics shows that go-ethereum reads the bloom filter
// of our client as we mean it: what the client did not ask for reaches a relay on
// the same peer, but not the client. The peer offers each link what is new once
// in 300 ms, so between two envelopes at the relay there was a round for alice.
func TestGethSendsAClientOnlyItsTopics(t *testing.T) {
	s := newStage(t)
	g := s.newGeth("geth", statusMinPoW)
	relay, alice := s.newRelay("relay"), s.newClient("alice", g.enode)
	g.dial(relay.enode)
	g.linked(2)
	alice.join(channel)
	writer, key := g.newIdentity(), g.symKey(channel)
	post := func(to, text string) hexutil.Bytes {
		payload, err := sealChat(writer.key, publicGroup, channel, text)
		s.must("payload", err)
		return g.post(posting{SymKey: key, Signer: writer.id, Topic: topicOf(to), Payload: payload})
	}
	post(channel, "before")
	alice.shown(channel, "before")
	before := alice.packetsIn()
	for range 3 {
		relay.traced(post("another channel", "elsewhere"))
	}
	post(channel, "after")
	alice.shown(channel, "after")
	if n := alice.packetsIn() - before; n != 1 {
		t.Errorf("alice got %d packets from geth, want only the one with what she asked for", n)
	}
	g.keptLinks()
}
