//go:build unix

package main

import (
	"context"
	"crypto/rand"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/edge/devp2p"
	"github.com/stratanode/strata/actors/edge/plugin"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
	"github.com/stratanode/strata/plugins/libp2p"
	contract "github.com/stratanode/strata/plugins/transport"
)

// newWhisperMember returns a client with Whisper over devp2p, which dials
// others.
func newWhisperMember(b *testing.B, others []*member) *member {
	b.Helper()
	key, err := layers.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	over, c := devp2p.DefaultConfig(), whisper.DefaultConfig()
	over.Listen, over.MaxPeers, c.Interest = "127.0.0.1:0", 100, whisper.Subscribed
	for _, o := range others {
		over.StaticNodes = append(over.StaticNodes, o.address())
	}
	var (
		m      = newMember(b)
		copies atomic.Uint64
		edge   *devp2p.Edge
		enode  = make(chan string, 1)
	)
	actors.StandEdge(m.stack, overlaySlot, func(out actors.Outlet[overlay.Event]) actors.Edge[overlay.Command] {
		edge = devp2p.New(over, key, countingCodec{whisper.NewCodec(c), &copies}, benchLog, out)
		return edge
	})
	actors.Stand(m.stack, transportSlot, overlaySlot, func(layers.Saved) *whisper.Node { return whisper.New(c) })
	m.counts = func() (bytes, n uint64) {
		s := edge.Stats()
		return s.BytesIn + s.BytesOut, copies.Load()
	}
	m.also = func(top *actors.Top) func() {
		in := actors.Hear(top, overlaySlot, func(e overlay.Event) {
			if r, ok := e.(overlay.Ready); ok {
				select {
				case enode <- r.Enode:
				default:
				}
			}
		})
		return func() {
			in.Send(overlay.Attach{})
			url := <-enode
			m.address = func() string { return url }
		}
	}
	return m
}

// newLibp2pMember returns a client with libp2p compiled in, which dials others.
func newLibp2pMember(b *testing.B, others []*member) *member {
	b.Helper()
	peers := []any{}
	for _, o := range others {
		peers = append(peers, o.address())
	}
	c := plugin.DefaultConfig()
	c.Dir = b.TempDir()
	c.Config = map[string]any{
		"listen": []any{"/ip4/127.0.0.1/tcp/0"}, "peers": peers,
		"allow_subnets": []any{"127.0.0.0/8"}, // all of them have one address
	}
	var t contract.Transport
	home := plugin.NewResident("libp2p", c, plugin.InProcess(func() contract.Transport {
		t = libp2p.New()
		return t
	}), benchLog)
	m := newMember(b)
	actors.StandEdge(m.stack, transportSlot, func(out actors.Outlet[transport.Event]) actors.Edge[transport.Command] {
		return home.Edge(out)
	})
	m.address = func() string { return home.Describe().Addresses[0] }
	m.counts = func() (bytes, copies uint64) {
		all, err := t.(contract.Counter).Stats(context.Background())
		if err != nil {
			b.Error(err)
		}
		for _, s := range all {
			switch s.Name {
			case "bytes_in_total", "bytes_out_total":
				bytes += uint64(s.Value)
			case "copies_total":
				copies = uint64(s.Value)
			}
		}
		return bytes, copies
	}
	return m
}

// countingCodec counts the copies of envelopes that arrive.
type countingCodec struct {
	whisper.Codec
	copies *atomic.Uint64
}

// Decode implements overlay.Codec.
func (c countingCodec) Decode(now time.Time, code uint64, payload []byte) (overlay.Packet, error) {
	p, err := c.Codec.Decode(now, code, payload)
	if m, ok := p.(whisper.Messages); ok {
		c.copies.Add(uint64(len(m.Envelopes)))
	}
	return p, err
}
