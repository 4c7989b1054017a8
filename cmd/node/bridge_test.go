package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stratanode/strata/actors/edge/bridge"
	"github.com/stratanode/strata/layers/payload"
)

const (
	bridgeText = `
store: {key: file}
layers:
  overlay: {use: devp2p, settings: {listen: "%s"}}
  transport: {use: whisper, settings: {interest: everything}}
  far: {use: udp, settings: {process: %t, config: {listen: %q, peers: [%q]}}}
  bridge: {use: relay}
`
	udpClientText = `
store: {key: file}
layers:
  transport: {use: udp, settings: {ttl: 1m, config: {listen: %q, peers: [%q]}}}
  envelope: {use: whisper}
  secure: {use: ratchet}
  datasync: {use: mvds, settings: {retransmit_after: 300ms, retransmit_max: 1s}}
  payload: {use: status}
`
)

func TestClientsOfTwoTransportsChatThroughABridge(t *testing.T) {
	here, there := freeUDP(t), freeUDP(t)
	between := start(t, fmt.Sprintf(bridgeText, freeAddress(t), true, here, there), bootOptions{})
	alice := start(t, fmt.Sprintf(clientText, between.enode(t)), bootOptions{})
	bob := start(t, fmt.Sprintf(udpClientText, there, here), bootOptions{})
	between.linked(t, 2) // alice, and the peer that udp is told of
	for _, p := range []*party{alice, bob} {
		if err := p.api.Join(t.Context(), channel); err != nil {
			t.Fatal(err)
		}
	}
	const texts = 10
	for i := range texts {
		for _, way := range []struct{ from, to *party }{{alice, bob}, {bob, alice}} {
			for _, chat := range []payload.ChatID{way.to.key(), channel} {
				if _, err := way.from.api.Say(t.Context(), chat, fmt.Sprint("text ", i)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, way := range []struct{ from, to *party }{{alice, bob}, {bob, alice}} {
		for _, chat := range []payload.ChatID{way.from.key(), channel} {
			eventually(t, "every text, once", func() bool {
				got, err := way.to.texts(context.Background(), chat, false)
				for text, n := range got {
					if n != 1 {
						t.Errorf("%q arrived %d times", text, n)
					}
				}
				return err == nil && len(got) == texts
			})
		}
		eventually(t, "acknowledgement of every private text", func() bool {
			all, err := way.from.history(context.Background(), way.to.key())
			for _, m := range all {
				if m.Own && m.Status != payload.Delivered {
					return false
				}
			}
			return err == nil && len(all) == 2*texts
		})
	}
	var counts bridge.Report
	eventually(t, "counters", func() bool {
		counts = between.residents.bridge.Describe()
		return counts.NearToFar.Carried >= texts && counts.FarToNear.Carried >= texts // several private ones may share one
	})
	for _, p := range []*party{between, alice, bob} {
		p.healthy(t)
	}
}

func TestBridgeNeedsItsTwoTransportsAndNobodyBeside(t *testing.T) {
	for _, tt := range []struct{ name, layers, want string }{
		{"no far side", "  overlay: {use: devp2p}\n  transport: {use: whisper}\n  bridge: {use: relay}\n", "stands on layers.far, which is not there"},
		{"no near side", "  far: {use: udp}\n  bridge: {use: relay}\n", "stands on layers.transport, which is not there"},
		{"no bridge", "  overlay: {use: devp2p}\n  transport: {use: whisper}\n  far: {use: udp}\n", "is of use only to layers.bridge"},
		{"Whisper as the far side", "  overlay: {use: devp2p}\n  transport: {use: whisper}\n  far: {use: whisper}\n  bridge: {use: relay}\n", `unknown protocol "whisper"`},
		{"a client", "  overlay: {use: devp2p}\n  transport: {use: whisper}\n  far: {use: udp}\n  bridge: {use: relay}\n  envelope: {use: whisper}\n", "a bridge is nobody's client"},
		{"unknown", "  overlay: {use: devp2p}\n  transport: {use: whisper}\n  far: {use: udp}\n  bridge: {use: ferry}\n", `unknown protocol "ferry"`},
	} {
		cfg, err := configured(t.TempDir(), "store: {key: file}\nlayers:\n"+tt.layers)
		if err == nil {
			err = check(cfg)
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
