package whisper

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/mail"
)

// codes returns the codes of the packets that a step sends to a peer, in order.
func codes(out output, to overlay.PeerID) (list []uint64) {
	for _, c := range out.Down {
		if s, ok := c.(overlay.Send); ok && s.Peer == to {
			for _, p := range s.Packets {
				list = append(list, p.Code)
			}
		}
	}
	return list
}

// pass brings all that a step of one node sends to another, and what that node
// sends at once in return is left to the caller.
func pass(t testing.TB, out output, to *Node, toID, fromID overlay.PeerID) (result output) {
	t.Helper()
	for _, c := range out.Down {
		if s, ok := c.(overlay.Send); ok && s.Peer == toID {
			for _, p := range s.Packets {
				result.Add(below(t, to, t0, incoming(t, fromID, p.Code, p.Payload)))
			}
		}
	}
	return result
}

func TestQueryOfOneNodeIsAnsweredByTheArchiveOfAnother(t *testing.T) {
	client, server, clientID, serverID, url := clientAndServer(t)

	query := transport.Query{Ref: layers.Ref{1}, From: t0.Add(-time.Hour), Topics: []transport.Topic{chat}, Server: url}
	out := above(t, client, t0, query)
	if got := codes(out, serverID); !slices.Equal(got, []uint64{mail.CodeRequest}) {
		t.Fatalf("sent %v", got)
	}
	asked := ups[transport.Asked](pass(t, out, server, serverID, clientID))
	if len(asked) != 1 || asked[0].Peer != clientID.String() {
		t.Fatalf("asked %+v", asked)
	}
	old := decoded(t, mined(0, uint32(t0.Unix())-600, 10, chat, []byte("of the past")))
	page := transport.Page{Ask: asked[0].Ask, Envelopes: []transport.Envelope{old.whole(0)}, Last: true}
	var up output
	for out = above(t, server, t0, page); len(out.Down) > 0; out = below(t, server, t0, overlay.Written{Peer: clientID}) {
		up.Add(pass(t, out, client, clientID, serverID))
	}
	history := ups[transport.History](up)
	if len(history) != 1 || history[0].Ref != query.Ref || string(history[0].Envelopes[0].Data) != "of the past" {
		t.Errorf("history %v", history)
	}
	end := ups[transport.Queried](up)
	if len(end) != 1 || end[0].Ref != query.Ref || end[0].End != transport.QueryDone || end[0].Count != 1 {
		t.Errorf("end %+v", end)
	}
	expectFacts(t, facts(t, client, t0, old.Hash), "0s fetched "+serverID.String()[:2])
}

func TestSilentServerEndsTheQueryAtItsTime(t *testing.T) {
	url, serverID := node(t, 7)
	n := NewWith(DefaultConfig(), Tools{Random: rand.NewChaCha8([32]byte{})})
	n.Wake(t0)
	connect(t, n, t0, serverID)
	out := above(t, n, t0, transport.Query{Ref: layers.Ref{1}, From: t0.Add(-time.Hour), Server: url})
	for steps := 0; len(ups[transport.Queried](out)) == 0; steps++ {
		if out.Wake.IsZero() || out.Wake.After(t0.Add(10*time.Minute)) || steps > 100 {
			t.Fatalf("step %d: next wake at %v", steps, out.Wake)
		}
		out = n.Wake(out.Wake)
	}
	if got := ups[transport.Queried](out)[0]; got.End == transport.QueryDone {
		t.Errorf("ended with %v", got.End)
	}
}

func TestAlarmOfTheMailHalfOutlivesOtherSteps(t *testing.T) {
	n := opened(t, nil)
	var out output
	due := t0.Add(5 * time.Second)
	n.deliver(mail.Out{Wake: due}, &out)
	n.deliver(mail.Out{Wake: due.Add(time.Second)}, &out)
	if out := connect(t, n, t0, alice); !out.Wake.Equal(due) {
		t.Errorf("wake at %v, want %v", out.Wake, due)
	}
	if out := n.Wake(t0.Add(time.Second)); !out.Wake.Equal(due) {
		t.Errorf("after an early wake: at %v, want %v", out.Wake, due)
	}
	if out := n.Wake(due); !out.Wake.IsZero() {
		t.Errorf("after its turn: at %v, want no more", out.Wake)
	}
}

func TestMailGoesOutAfterConfirmationsAndInOrder(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	below(t, n, t0, arrival(t, alice, sealed(t0, 60, chat, "a"))) // in the Send that is unanswered
	below(t, n, t0, arrival(t, alice, sealed(t0, 60, chat, "b")))
	connect(t, n, t0, bob)
	var out output
	packet := func(code uint64, fill byte) mail.Addressed {
		return mail.Addressed{Peer: alice, Packet: overlay.Outgoing{Code: code, Payload: []byte{fill}}, Tell: fill == 1}
	}
	n.deliver(mail.Out{
		Packets: []mail.Addressed{packet(127, 0), packet(127, 1), packet(125, 2), {Peer: carol}},
		Down:    []overlay.Command{overlay.Drop{Peer: bob, Reason: "asked for"}},
	}, &out)
	if got := out.Down[0]; got != (overlay.Drop{Peer: bob, Reason: "asked for"}) {
		t.Errorf("down %v", got)
	}
	above(t, n, t0, publish)
	if got := codes(below(t, n, t0, overlay.Written{Peer: alice}), alice); !slices.Equal(got, []uint64{codeAcknowledged, 127, 127, 125, codeMessages}) {
		t.Errorf("codes %v", got)
	}
	var told []bool
	for _, x := range n.peers[alice].mail.writing {
		told = append(told, x.tell)
	}
	if !slices.Equal(told, []bool{false, true, false}) {
		t.Errorf("to be told of %v", told)
	}
}

func TestRequestsAreWorthWhatServersWant(t *testing.T) {
	n := opened(t, func(c *Config) { c.PoW, c.MinPoW = 0, 0 })
	s := n.mailSettings()
	if s.MaxMessage != 1<<20 || s.Bundle != maxBundle || s.MinPoW != 0 {
		t.Errorf("settings %+v", s)
	}
	for _, size := range []int{0, 100, 400, 5000} {
		raw, hash, err := s.Make(t0, transport.Topic{}, make([]byte, size))
		if err != nil {
			t.Fatal(err)
		}
		if e := decoded(t, raw); e.Hash != hash || e.TTL != 50 || e.Expiry != uint32(t0.Unix())+50 || e.PoW(0) < 0.002 || !bytes.Equal(e.Data, make([]byte, size)) {
			t.Errorf("envelope %+v with a work of %v", e, e.PoW(0))
		}
	}
	if _, _, err := s.Make(t0, transport.Topic{}, make([]byte, 1<<20)); err == nil {
		t.Error("a request longer than a packet is made")
	}
}

// clientAndServer returns two linked nodes, of which one serves an archive at url.
func clientAndServer(t *testing.T) (client, server *Node, clientID, serverID overlay.PeerID, url string) {
	t.Helper()
	url, serverID = node(t, 7)
	_, clientID = node(t, 8)
	client = NewWith(DefaultConfig(), Tools{Random: rand.NewChaCha8([32]byte{})})
	client.Wake(t0)
	server = opened(t, nil)
	above(t, server, t0, transport.Watch{Keeps: true, Serves: true})
	connect(t, client, t0, serverID)
	connect(t, server, t0, clientID)
	return client, server, clientID, serverID, url
}
