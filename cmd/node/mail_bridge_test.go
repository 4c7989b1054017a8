package main

import (
	"fmt"
	"testing"

	"github.com/stratanode/strata/layers/payload"
	"github.com/stratanode/strata/layers/secure"
)

const (
	mailBridgeText = `
store: {key: file}
layers:
  overlay: {use: devp2p, settings: {listen: "%s"}}
  transport: {use: whisper, settings: {interest: everything}}
  far: {use: libp2p, settings: {config: {listen: [/ip4/127.0.0.1/tcp/0], relay: true}}}
  bridge: {use: relay}
  archive: {use: sqlite}
`
	libp2pClientText = `
store: {key: file}
layers:
  transport: {use: libp2p, settings: {ttl: 10s, config: {listen: [/ip4/127.0.0.1/tcp/0], peers: [%q]}}}
  envelope: {use: whisper}
  secure: {use: ratchet}
  datasync: {use: mvds, settings: {retransmit_after: 300ms, retransmit_max: 1s}}
  payload: {use: status}
`
)

// farAddress returns an address of the far transport of a bridge.
func farAddress(t *testing.T, p *party) (address string) {
	t.Helper()
	eventually(t, "an address of the far side", func() bool {
		s, err := p.api.Status(t.Context())
		for _, l := range s.Layers {
			all, _ := l.About["addresses"].([]any)
			if l.Name == "far" && len(all) > 0 {
				address = fmt.Sprint(all[0])
			}
		}
		return err == nil && address != ""
	})
	return address
}

// TestArchiveOfABridgeServesBothSides has a client of Whisper write while one of
// libp2p is away, and the other way round.
func TestArchiveOfABridgeServesBothSides(t *testing.T) {
	t.Parallel()
	between := start(t, fmt.Sprintf(mailBridgeText, freeAddress(t)), bootOptions{})
	for _, tt := range []struct{ name, writer, reader string }{
		{"read-by-libp2p", fmt.Sprintf(awayText, between.enode(t)), fmt.Sprintf(libp2pClientText, farAddress(t, between))},
		{"read-by-whisper", fmt.Sprintf(libp2pClientText, farAddress(t, between)), fmt.Sprintf(awayText, between.enode(t))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			alice, dir := start(t, tt.writer, bootOptions{}), shortDir(t)
			bob := startIn(t, dir, tt.reader, bootOptions{})
			room := payload.ChatID(tt.name)
			for _, p := range []*party{alice, bob} {
				if err := p.api.Join(t.Context(), secure.Channel(room)); err != nil {
					t.Fatal(err)
				}
				p.linked(t, 1)
			}
			bob.stop()
			const texts = 8
			for i := range texts {
				if _, err := alice.api.Say(t.Context(), room, fmt.Sprint("text ", i)); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "the bridge to have all", func() bool {
				all, err := alice.history(t.Context(), room)
				for _, m := range all {
					if m.Status < payload.Relayed {
						return false
					}
				}
				return err == nil && len(all) == texts
			})
			gone(t, between)
			alice.stop()
			bob = startIn(t, dir, tt.reader, bootOptions{})
			eventually(t, "every text, once", func() bool {
				got, err := bob.texts(t.Context(), room, false)
				for text, n := range got {
					if n != 1 {
						t.Errorf("%q is there %d times", text, n)
					}
				}
				return err == nil && len(got) == texts
			})
			bob.healthy(t)
		})
	}
	between.healthy(t)
}
