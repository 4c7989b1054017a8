package interop

import (
	"bytes"
	"testing"

	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/stratanode/strata/interop/rawpeer"
)

// TestShhAPIOfOurs uses our node as go-ethereum's clients use theirs: the same
// calls, against go-ethereum and against the library of Status.
func TestShhAPIOfOurs(t *testing.T) {
	t.Run("with geth", func(t *testing.T) {
		s := newStage(t)
		oursTalks(s, s.newGeth("geth", statusMinPoW))
	})
	t.Run("with status", func(t *testing.T) {
		s := newStage(t)
		oursTalks(s, s.newStatus("status").geth)
	})
}

func oursTalks(s *stage, g *geth) {
	s.Helper()
	relay := s.newRelay("relay")
	g.dial(relay.enode)
	g.linked(1)
	relay.linked(1)
	exchange(relay.shh(), g)
	exchange(g, relay.shh())
	g.keptLinks()
}

// TestDirectMessagesNeedTrust sends packet 127 both ways: before the receiver has
// marked the sender trusted it is not shown, and the link stays; after it is.
func TestDirectMessagesNeedTrust(t *testing.T) {
	t.Run("from status", func(t *testing.T) {
		s := newStage(t)
		p, relay := s.newStatus("status").geth, s.newRelay("relay")
		needsTrust(s, p, relay.shh(), p, relay.enode)
	})
	t.Run("from geth", func(t *testing.T) {
		s := newStage(t)
		g, relay := s.newGeth("geth", statusMinPoW), s.newRelay("relay")
		needsTrust(s, g, relay.shh(), g, relay.enode)
	})
	t.Run("to status", func(t *testing.T) {
		s := newStage(t)
		p, relay := s.newStatus("status").geth, s.newRelay("relay")
		needsTrust(s, relay.shh(), p, p, relay.enode)
	})
	t.Run("to geth", func(t *testing.T) {
		s := newStage(t)
		g, relay := s.newGeth("geth", statusMinPoW), s.newRelay("relay")
		needsTrust(s, relay.shh(), g, g, relay.enode)
	})
}

// needsTrust sends from one to the other. The foreign peer dials and must keep
// its link.
func needsTrust(s *stage, from, to, foreign *geth, enode string) {
	s.Helper()
	foreign.dial(enode)
	foreign.linked(1)
	key := from.symKey(channel)
	in := to.listen(criteria{SymKey: to.symKey(channel), Topics: []topic{topicOf(channel)}, AllowP2P: true})
	post := func(target, text string) hexutil.Bytes {
		return from.post(posting{SymKey: key, Topic: topicOf(channel), Payload: []byte(text), Target: target})
	}
	arrives := func(text string) {
		await(s, text+" at "+to.name, in, func(m received) bool {
			if string(m.Payload) == "untrusted" {
				s.Errorf("%s shows a direct message of a peer that it does not trust", to.name)
			}
			return string(m.Payload) == text
		})
	}
	post(to.enode, "untrusted")
	post("", "for all") // on the same link, so it comes after the other
	arrives("for all")
	var ok bool
	to.call(&ok, "shh_markTrustedPeer", from.enode)
	post(to.enode, "trusted")
	arrives("trusted")
	foreign.keptLinks()
}

// TestDirectListOfStatus takes several envelopes in one packet 127, the form that
// go-ethereum cannot read, though they are long expired: they skip the relay's
// rules. They are not relayed.
func TestDirectListOfStatus(t *testing.T) {
	s := newStage(t)
	p, relay := s.newStatusServer("status", "rlp6"), s.newRelay("relay")
	p.dial(relay.enode)
	p.linked(1)
	of := topicOf(channel)
	watcher := s.raw(relay.enode, rawpeer.StatusOf(0, nil, true))
	ours := relay.shh()
	in := ours.listen(criteria{SymKey: ours.symKey(channel), Topics: []topic{of}, AllowP2P: true})
	var ok bool
	ours.call(&ok, "shh_markTrustedPeer", p.enode)

	// The peer makes them by itself: what it posts is kept by its mail server.
	writer := s.newStatusServer("writer", "rlp6")
	key := writer.symKey(channel)
	hashes := map[string]bool{}
	for range 3 {
		hashes[writer.post(posting{SymKey: key, Topic: of, Payload: []byte("kept")}).String()] = true
	}
	var raws []hexutil.Bytes
	writer.call(&raws, "mail_archived")
	p.call(&ok, "mail_direct", relay.enode, raws)
	for len(hashes) > 0 {
		m := await(s, "the direct messages", in, func(m received) bool { return hashes[m.Hash.String()] })
		delete(hashes, m.Hash.String())
	}
	for _, packet := range watcher.heard() {
		if packet.Code != rawpeer.Messages {
			continue
		}
		list, err := rawpeer.Envelopes(packet.Payload)
		s.must("packet 1", err)
		for _, e := range list {
			if bytes.Equal(e.Topic[:], of[:]) {
				t.Errorf("direct message %s is relayed", e.Hash())
			}
		}
	}
	p.keptLinks()
}

// TestDirectPacketsOfStrangersAreIgnored sends packets 124, 125 and 127 to a
// node that has not asked for them, well formed and not: it neither shows nor
// relays them, and goes on.
func TestDirectPacketsOfStrangersAreIgnored(t *testing.T) {
	s := newStage(t)
	relay := s.newRelay("relay")
	peer := s.raw(relay.enode, rawpeer.StatusOf(0, nil, true))
	watcher := s.raw(relay.enode, rawpeer.StatusOf(0, nil, true))
	e := rawpeer.NewEnvelope(topicOf(channel), []byte("pushed"), statusTTL)
	e.Mine(statusPoW)
	peer.send(rawpeer.Direct, e.Raw())
	peer.send(rawpeer.Direct, rawpeer.List(e.Raw(), e.Raw()))
	peer.send(rawpeer.Complete, encodeRLP(t, make([]byte, 64)))
	peer.send(rawpeer.SyncResponse, encodeRLP(t, []any{[][]byte{}, []byte{}, true, ""}))
	peer.heard()
	for _, packet := range watcher.heard() {
		if packet.Code != rawpeer.Messages {
			continue
		}
		list, err := rawpeer.Envelopes(packet.Payload)
		s.must("packet 1", err)
		for _, got := range list {
			if got.Hash() == e.Hash() {
				t.Errorf("the direct message %s is relayed", got.Hash())
			}
		}
	}
}
