package bridge

import (
	"io"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/actortest"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
)

// TestProofOfWorkIsMadeOnEntryToWhisper has the real Whisper on the near side.
func TestProofOfWorkIsMadeOnEntryToWhisper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const overlaySlot = actors.Slot[overlay.Command, overlay.Event]("overlay")
		cfg := whisper.DefaultConfig()
		cfg.MinPoW = 0
		codec := whisper.NewCodec(cfg)
		quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
		k := kernel.New(quiet)
		s := actors.NewStack(k, actortest.NewStore(), nil, quiet)
		floor := actortest.NewFloor(s, overlaySlot)
		actors.Stand(s, nearSlot, overlaySlot, func(layers.Saved) *whisper.Node { return whisper.New(cfg) })
		far := fake{info: farInfo}
		actors.StandEdge(s, FarSlot, func(out actors.Outlet[Far]) actors.Edge[transport.Command] { return far.edge(FarUp(out)) })
		bridge := Stand(s, nearSlot, FarSlot, DefaultConfig(), quiet)
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			k.Stop()
			time.Sleep(2 * time.Second)
			synctest.Wait()
		}()
		synctest.Wait()
		peer := overlay.PeerID{1}
		floor.Outlet().Send(overlay.Connected{Peer: peer, State: []overlay.Packet{whisper.Status{Bloom: whisper.FullBloom()}}})

		sent := time.Now()
		far.outlet().Send(heard(sent, 15*time.Second, "to whisper"))
		synctest.Wait()
		e := offered(t, codec, floor.Got())
		if string(e.Data) != "to whisper" || e.Topic != chat || int64(e.Expiry) != sent.Add(15*time.Second).Unix() {
			t.Errorf("peers are offered %+v", e)
		}
		if pow := e.PoW(0); pow < cfg.PoW {
			t.Errorf("proof of work %v, want %v", pow, cfg.PoW)
		}
		floor.Outlet().Send(overlay.Written{Peer: peer}) // this peer confirms nothing, so that is taken for Relayed
		synctest.Wait()

		raw := whisper.EncodeEnvelope(whisper.Envelope{
			Expiry: uint32(sent.Unix()) + 20, TTL: 20, Topic: transport.Topic{7}, Data: []byte("from whisper"),
		})
		packet, err := codec.Decode(sent, 1, append([]byte{0xc0 + byte(len(raw))}, raw...)) // a short list of one
		if err != nil {
			t.Fatal(err)
		}
		floor.Outlet().Send(overlay.Arrived{Peer: peer, Packet: packet})
		synctest.Wait()
		if got := far.texts(); !slices.Equal(got, []string{"from whisper"}) || far.published[0].TTL != 20*time.Second {
			t.Errorf("far was given %+v, want what a peer has sent, for 20 s", far.published)
		}
		a, b := bridge.Counts()
		if want := (Counts{Seen: 1, Carried: 1, Relayed: 1}); a != want || b != want {
			t.Errorf("counts %+v and %+v, want %+v for both", a, b, want)
		}
	})
}

// offered returns the only envelope that was sent to peers.
func offered(t *testing.T, codec overlay.Codec, commands []overlay.Command) whisper.Envelope {
	t.Helper()
	var all []whisper.Envelope
	for _, c := range commands {
		send, ok := c.(overlay.Send)
		if !ok {
			continue
		}
		for _, o := range send.Packets {
			p, err := codec.Decode(time.Now(), o.Code, o.Payload)
			if err != nil {
				t.Fatal(err)
			}
			if m, ok := p.(whisper.Messages); ok {
				all = append(all, m.Envelopes...)
			}
		}
	}
	if len(all) != 1 {
		t.Fatalf("%d envelopes were sent, want 1", len(all))
	}
	return all[0]
}
