package interop

import (
	"bytes"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/interop/rawpeer"
)

// TestRelayCarriesBetweenStatusPeers is TestRelayCarriesBetweenGethPeers with the
// library of the Status network, and with one of each.
func TestRelayCarriesBetweenStatusPeers(t *testing.T) {
	t.Run("status and status", func(t *testing.T) {
		s := newStage(t)
		carries(s, s.newStatus("a").geth, s.newStatus("b").geth)
	})
	t.Run("status and geth", func(t *testing.T) {
		s := newStage(t)
		carries(s, s.newStatus("a").geth, s.newGeth("b", statusMinPoW))
	})
}

func carries(s *stage, a, b *geth) {
	s.Helper()
	relay := s.newRelay("relay")
	for _, g := range []*geth{a, b} {
		g.dial(relay.enode)
		g.linked(1)
	}
	relay.linked(2)
	exchange(a, b)
	exchange(b, a)
	a.keptLinks()
	b.keptLinks()
}

// TestStatusConfirmsOurEnvelope writes with our client to a peer that confirms:
// the message is relayed, and the peer has it.
func TestStatusConfirmsOurEnvelope(t *testing.T) {
	s := newStage(t)
	p := s.newStatus("status")
	in := p.listen(criteria{SymKey: p.symKey(channel), Topics: []topic{topicOf(channel)}})
	alice := s.newClient("alice", p.enode)
	p.linked(1)
	alice.join(channel)
	if got := alice.say(channel, "to be confirmed", "--wait", "relayed"); got.Status != "relayed" {
		t.Errorf("message is %s, want relayed", got.Status)
	}
	got := await(s, "the message at status", in, func(received) bool { return true })
	if !bytes.Equal(got.Sig, alice.key) {
		t.Errorf("envelope signed by %s, want alice, %s", got.Sig, alice.key)
	}
	p.keptLinks()
}

// TestStatusGetsOurConfirmation: our relay confirms what a peer sends, and finds
// nothing wrong with it.
func TestStatusGetsOurConfirmation(t *testing.T) {
	s := newStage(t)
	p, relay := s.newStatus("status"), s.newRelay("relay")
	p.dial(relay.enode)
	p.linked(1)
	hash := p.post(posting{SymKey: p.symKey(channel), Topic: topicOf(channel), Payload: []byte("hello")})
	if errs := p.acked(hash); len(errs) > 0 {
		t.Errorf("packet 12 lists %+v, want nothing", errs)
	}
	relay.traced(hash)
	p.keptLinks()
}

// TestMessageIsRelayedWhenConfirmed has a peer that announces confirmations and
// gives them by hand: until then, and after one for something else, the message
// is not called relayed.
func TestMessageIsRelayedWhenConfirmed(t *testing.T) {
	s := newStage(t)
	alice := s.newListener("alice")
	alice.join(channel)
	peer := s.raw(alice.enode, rawpeer.StatusOf(0, nil, true))
	first := alice.say(channel, "first")
	batch := peer.nextOf(topicOf(channel))
	peer.send(rawpeer.Acknowledged, encodeRLP(t, crypto.Keccak256([]byte("something else"))))

	second := alice.say(channel, "second")
	other := peer.nextOf(topicOf(channel))
	for _, m := range alice.history(channel) {
		if m.Status == "relayed" {
			t.Errorf("%q is relayed, though nobody has confirmed it", m.Text)
		}
	}
	for _, c := range []struct {
		id     string
		packet []byte
	}{{first.ID, batch}, {second.ID, other}} {
		peer.send(rawpeer.Acknowledged, encodeRLP(t, crypto.Keccak256(c.packet)))
		await(s, "the message to be relayed", alice.moved, func(m statusChange) bool {
			return m.ID == c.id && m.Status == "relayed"
		})
	}
}

// response is packet 12.
type response struct {
	Version uint
	Body    struct {
		Batch  common.Hash
		Errors []struct {
			Hash common.Hash
			Code uint
			Text string
		}
	}
}

// TestConfirmationNamesWhatWasRefused sends good and bad envelopes in one
// packet: packet 12 lists the bad ones, and only those.
func TestConfirmationNamesWhatWasRefused(t *testing.T) {
	s := newStage(t)
	relay := s.newRelay("relay")
	peer := s.raw(relay.enode, rawpeer.StatusOf(0, nil, true))
	good := rawpeer.NewEnvelope([4]byte{1, 2, 3, 4}, []byte("a good envelope"), statusTTL)
	good.Mine(statusPoW)
	early := rawpeer.NewEnvelope([4]byte{1, 2, 3, 4}, []byte("an envelope of the future"), statusTTL)
	early.Expiry += 3600
	early.Mine(statusPoW)
	late := rawpeer.NewEnvelope([4]byte{1, 2, 3, 4}, []byte("an envelope of the past"), statusTTL)
	late.Expiry -= 3600
	late.Mine(statusPoW)
	packet := rawpeer.List(good.Raw(), early.Raw(), late.Raw())
	peer.send(rawpeer.Messages, packet)

	var got response
	s.must("packet 12", rlp.DecodeBytes(peer.next(rawpeer.Response), &got))
	if got.Version != 1 || got.Body.Batch != crypto.Keccak256Hash(packet) {
		t.Errorf("packet 12 is version %d of batch %s, want 1 of %x", got.Version, got.Body.Batch, crypto.Keccak256(packet))
	}
	refused := map[common.Hash]string{}
	for _, e := range got.Body.Errors {
		refused[e.Hash] = e.Text
	}
	if refused[early.Hash()] == "" || refused[late.Hash()] == "" || len(refused) != 2 {
		t.Errorf("packet 12 lists %v, want %s and %s with a text", refused, early.Hash(), late.Hash())
	}
	if b := peer.next(rawpeer.Acknowledged); !bytes.Equal(b, encodeRLP(t, crypto.Keccak256(packet))) {
		t.Errorf("packet 11 is %x, want the hash of the packet", b)
	}
	relay.traced(hexutil.Bytes(good.Hash().Bytes()))
}
