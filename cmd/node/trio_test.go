package main

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/payload"
)

func TestClientsTalkOverARelay(t *testing.T) {
	t.Parallel()
	n := startTrio(t)
	a, b := n.alice, n.bob
	room := payload.ChatID(channel)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, m := range []struct {
		from, to  *party
		chat, box payload.ChatID // as sender and receiver name it
		text      string
		final     payload.Status
	}{
		{a, b, b.key(), a.key(), "first contact", payload.Delivered},
		{b, a, a.key(), b.key(), "first answer", payload.Delivered},
		{a, b, b.key(), a.key(), "in the session", payload.Delivered},
		{b, a, a.key(), b.key(), "both ways", payload.Delivered},
		{a, b, room, room, "to everybody", payload.Relayed},
		{b, a, room, room, "likewise", payload.Relayed},
	} {
		said, err := m.from.api.Say(ctx, m.chat, m.text)
		if err != nil || said.Status != payload.Pending || said.Text != m.text {
			t.Fatalf("%s: said %+v, %v", m.text, said, err)
		}
		if err := errors.Join(
			reaches(ctx, m.to.api, m.box, m.text, payload.Incoming),
			reaches(ctx, m.from.api, m.chat, m.text, m.final)); err != nil {
			t.Fatal(err)
		}
		found, err := find(ctx, m.to.api, m.box, m.text)
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: received %d times, %v", m.text, len(found), err)
		}
		if got := found[0]; got.ID != said.ID || got.From != m.from.keys.identity.Public() || got.Own ||
			got.Clock != said.Clock || !got.Timestamp.Equal(said.Timestamp) || got.Public != (m.chat == room) {
			t.Errorf("received %+v, said %+v", got, said)
		}
	}
	for _, chat := range [][2]payload.ChatID{{b.key(), a.key()}, {room, room}} {
		atA, errA := ids(ctx, a, chat[0])
		atB, errB := ids(ctx, b, chat[1])
		if errA != nil || errB != nil || !maps.Equal(atA, atB) {
			t.Errorf("the histories differ: %v and %v, %v, %v", atA, atB, errA, errB)
		}
	}
	for _, p := range []*party{n.relay, a, b} {
		p.healthy(t)
	}
	t.Run("commands", func(t *testing.T) { commandsAgree(t, n) })
}

// ids returns what is in a chat: the text of every message by its id.
func ids(ctx context.Context, p *party, chat payload.ChatID) (map[payload.MessageID]string, error) {
	all, err := p.history(ctx, chat)
	texts := map[payload.MessageID]string{}
	for _, m := range all {
		texts[m.ID] = m.Text
	}
	return texts, err
}

// commandsAgree checks what the commands of the program say about the nodes.
func commandsAgree(t *testing.T, n trio) {
	for _, s := range []struct{ to, name, wait string }{
		{"--to", string(n.bob.key()), "delivered"},
		{"--channel", channel, "relayed"},
	} {
		text := "by command " + s.to
		sent := jsonOf[rpc.StatusChange](t, n.alice, "send", s.to, s.name, "--wait", s.wait, "--json", text)
		if sent.Status.String() != s.wait || sent.ID == (payload.MessageID{}) {
			t.Errorf("send: %+v", sent)
		}
		got := jsonOf[rpc.Page](t, n.alice, "history", s.name, "--limit", "1", "--json")
		if len(got.Messages) != 1 || got.Messages[0].ID != sent.ID || got.Messages[0].Text != text || got.Next == "" {
			t.Errorf("history: %+v", got)
		}
		slots := map[string]bool{}
		for _, step := range jsonOf[[]actors.Step](t, n.alice, "trace", sent.ID.String(), "--json") {
			if step.Outcome == actors.Done {
				slots[step.Layer] = true
			}
		}
		for slot := range defaultUse {
			if !slots[slot] && slot != "overlay" { // an edge takes no steps
				t.Errorf("trace: no step of %s in %v", slot, slots)
			}
		}
	}
	for _, p := range []*party{n.relay, n.alice, n.bob} {
		st := jsonOf[rpc.Status](t, p, "status", "--json")
		if !st.Healthy || st.Peers == 0 || len(st.Layers) != len(p.config.Layers)+2 {
			t.Errorf("status: %+v", st)
		}
		live := 0
		for _, peer := range jsonOf[[]overlay.PeerInfo](t, p, "peers", "--json") {
			if peer.Connected && peer.In > 0 && peer.Out > 0 {
				live++
			}
		}
		if live != st.Peers {
			t.Errorf("%d live peers, status says %d", live, st.Peers)
		}
	}
	if code, _, errOut := command(t, "send", "--data-dir", n.relay.config.DataDir, "--channel", channel, "x"); code != exitFailed || !strings.Contains(errOut, "no payload layer") {
		t.Errorf("send by a relay: code %d, %s", code, errOut)
	}
}

// jsonOf returns what a command prints about a node.
func jsonOf[T any](t *testing.T, p *party, args ...string) (v T) {
	t.Helper()
	code, out, errOut := command(t, append([]string{"--data-dir", p.config.DataDir}, args...)...)
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != exitOK || errOut != "" {
		t.Fatalf("%q: code %d, %v, %s%s", args, code, err, out, errOut)
	}
	return v
}
