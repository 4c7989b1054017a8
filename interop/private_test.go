package interop

import (
	"bytes"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"
)

// TestFirstContactReachesGeth writes to somebody of whom our client knows only
// the key, and who has a go-ethereum peer and no Status at all. The test opens
// what the peer received, layer by layer, and acknowledges it as Status would.
func TestFirstContactReachesGeth(t *testing.T) {
	s := newStage(t)
	g := s.newGeth("geth", statusMinPoW)
	reader := g.newIdentity()
	in := g.listen(criteria{PrivateKey: reader.id, Topics: []topic{partitioned(&reader.key.PublicKey)}})
	alice := s.newClient("alice", g.enode)
	g.linked(1)
	const text = "hello, stranger"
	said := alice.tell(reader.public, text)

	got := await(s, "the message at geth", in, func(received) bool { return true })
	if !bytes.Equal(got.Sig, alice.key) {
		t.Errorf("envelope signed by %s, want alice, %s", got.Sig, alice.key)
	}
	body, err := openDirect(reader.key, got.Payload)
	s.must("direct message", err)
	m, err := openSynced(body)
	s.must("data sync", err)
	aliceKey, err := crypto.UnmarshalPubkey(alice.key)
	s.must("key of alice", err)
	if want := groupOf(aliceKey, &reader.key.PublicKey); !bytes.Equal(m.group, want) {
		t.Errorf("data sync group is %x, want %x", m.group, want)
	}
	c, err := openChat(m.body)
	s.must("payload", err)
	checkChat(s, c, chat{Text: text, ID: reader.public.String(), Kind: oneToOne, ContentType: textPlain, Author: alice.key})

	ack, err := sealDirect(aliceKey, putBytes(nil, fieldAcks, m.id()))
	s.must("acknowledgement", err)
	g.post(posting{To: alice.key, Signer: reader.id, Topic: partitioned(aliceKey), Payload: ack})
	await(s, "the message to be delivered", alice.moved, func(c statusChange) bool {
		return c.ID == said.ID && c.Status == "delivered"
	})
	g.keptLinks()
}

// TestGethFirstContactIsShown is the other way round: a stranger with a
// go-ethereum peer writes to alice, who shows it and acknowledges it.
func TestGethFirstContactIsShown(t *testing.T) {
	s := newStage(t)
	g := s.newGeth("geth", statusMinPoW)
	writer := g.newIdentity()
	in := g.listen(criteria{PrivateKey: writer.id, Topics: []topic{partitioned(&writer.key.PublicKey)}})
	alice := s.newClient("alice", g.enode)
	g.linked(1)
	aliceKey, err := crypto.UnmarshalPubkey(alice.key)
	s.must("key of alice", err)
	const text = "hello, alice"
	payload, err := sealChat(writer.key, oneToOne, alice.key.String(), text)
	s.must("payload", err)
	m := synced{group: groupOf(aliceKey, &writer.key.PublicKey), time: 1_580_000_000, body: payload}
	direct, err := sealDirect(aliceKey, m.seal())
	s.must("direct message", err)
	g.post(posting{To: alice.key, Signer: writer.id, Topic: partitioned(aliceKey), Payload: direct})

	shown := alice.shown(writer.public.String(), text)
	if !bytes.Equal(shown.From, writer.public) || shown.Public || shown.Own || shown.Protection != "static" {
		t.Errorf("shown as %+v, want a private message of %s, protection static", shown, writer.public)
	}
	await(s, "the acknowledgement at geth", in, func(r received) bool {
		body, err := openDirect(writer.key, r.Payload)
		return err == nil && bytes.Equal(r.Sig, alice.key) && acknowledges(body, m.id())
	})
	g.keptLinks()
}
