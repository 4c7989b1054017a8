package interop

import (
	"bytes"
	"testing"

	"github.com/ethereum/go-ethereum/common/hexutil"
)

// channel is the public chat of these tests.
const channel = "strata-interop"

// TestPublicMessageReachesGeth writes in a public chat with our client and reads
// with a go-ethereum peer that knows nothing but the name of the chat.
func TestPublicMessageReachesGeth(t *testing.T) {
	s := newStage(t)
	g := s.newGeth("geth", statusMinPoW)
	in := g.listen(criteria{SymKey: g.symKey(channel), Topics: []topic{topicOf(channel)}})
	alice := s.newClient("alice", g.enode)
	g.linked(1)
	alice.join(channel)
	const text = "said by strata, read by geth: ☂"
	alice.say(channel, text)

	got := await(s, "the message at geth", in, func(received) bool { return true })
	if !bytes.Equal(got.Sig, alice.key) {
		t.Errorf("envelope signed by %s, want alice, %s", got.Sig, alice.key)
	}
	if got.PoW < statusPoW {
		t.Errorf("proof of work is %v, want at least %v", got.PoW, statusPoW)
	}
	if got.TTL != statusTTL {
		t.Errorf("time to live is %d s, want %d", got.TTL, statusTTL)
	}
	m, err := openChat(got.Payload)
	s.must("payload", err)
	checkChat(s, m, chat{Text: text, ID: channel, Kind: publicGroup, ContentType: textPlain, Author: alice.key})
	g.keptLinks()
}

// checkChat compares all but the times, which must only be there.
func checkChat(s *stage, got, want chat) {
	s.Helper()
	if got.Clock == 0 || got.Timestamp == 0 {
		s.Errorf("clock is %d and timestamp %d, want both above 0", got.Clock, got.Timestamp)
	}
	if got.Text != want.Text || got.ID != want.ID || got.Kind != want.Kind || got.ContentType != want.ContentType ||
		!bytes.Equal(got.Author, want.Author) {
		s.Errorf("message is %+v, want %+v", got, want)
	}
}

// TestGethPublicMessageIsShown is the other way round.
func TestGethPublicMessageIsShown(t *testing.T) {
	s := newStage(t)
	g := s.newGeth("geth", statusMinPoW)
	alice := s.newClient("alice", g.enode)
	g.linked(1)
	alice.join(channel)
	writer := g.newIdentity()
	const text = "said by geth, read by strata: ☂"
	payload, err := sealChat(writer.key, publicGroup, channel, text)
	s.must("payload", err)
	g.post(posting{SymKey: g.symKey(channel), Signer: writer.id, Topic: topicOf(channel), Payload: payload})

	m := alice.shown(channel, text)
	if !bytes.Equal(m.From, writer.public) {
		t.Errorf("shown as from %s, want %s", m.From, writer.public)
	}
	if m.Chat != channel || !m.Public || m.Own || m.Protection != "public" {
		t.Errorf("shown as %+v, want a public message of somebody else in %s", m, channel)
	}
	g.keptLinks()
}

// TestMessageUnderAFalseNameIsNotShown: whoever can open a public chat can put
// anything into it. Alice sees nothing unsigned, and nothing under the name of
// one who did not write it. Messages that are in order show that the others have
// arrived too: go-ethereum offers all it has in each round.
func TestMessageUnderAFalseNameIsNotShown(t *testing.T) {
	s := newStage(t)
	g := s.newGeth("geth", statusMinPoW)
	alice := s.newClient("alice", g.enode)
	g.linked(1)
	alice.join(channel)
	writer, victim, key := g.newIdentity(), g.newIdentity(), g.symKey(channel)
	post := func(signer identity, text string) (hash hexutil.Bytes) {
		payload, err := sealChat(writer.key, publicGroup, channel, text)
		s.must("payload", err)
		return g.post(posting{SymKey: key, Signer: signer.id, Topic: topicOf(channel), Payload: payload})
	}
	hashes := []hexutil.Bytes{post(identity{}, "unsigned"), post(victim, "in the envelope of another")}
	post(writer, "in order")
	alice.shown(channel, "in order")
	for _, hash := range hashes {
		alice.traced(hash)
	}
	post(writer, "in order again")
	alice.shown(channel, "in order again")
	for _, m := range alice.history(channel) {
		if m.Text == "unsigned" {
			t.Errorf("a message without a signature is shown: %+v", m)
		}
		if bytes.Equal(m.From, victim.public) {
			t.Errorf("what %s wrote is shown as from %s", writer.public, victim.public)
		}
	}
	g.keptLinks()
}
