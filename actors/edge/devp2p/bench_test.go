package devp2p

import (
	"io"
	"log/slog"
	"testing"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/layers/overlay"
)

// meter is an outlet that only counts.
type meter struct {
	up      chan overlay.PeerID
	arrived chan struct{}
	written chan struct{}
	left    int
}

func (m *meter) Send(e overlay.Event) {
	if _, ok := e.(overlay.Written); ok {
		m.written <- struct{}{}
	}
}

func (m *meter) SendCredited(e overlay.Event, c *actors.Credit) {
	switch e := e.(type) {
	case overlay.Connected:
		m.up <- e.Peer
	case overlay.Arrived:
		if m.left--; m.left == 0 {
			m.arrived <- struct{}{}
		}
	}
	c.Return()
}

func (m *meter) Fail(error) {}

// BenchmarkPackets sends packets of 1 KiB over one loopback link, 64 with each
// Send, without limits and with limits that are never reached.
func BenchmarkPackets(b *testing.B) {
	b.Run("unlimited", func(b *testing.B) { benchmarkPackets(b, 0, 0) })
	b.Run("limited", func(b *testing.B) { benchmarkPackets(b, maxBytesPerSecond, maxPacketsPerSecond) })
}

func benchmarkPackets(b *testing.B, bytes, packetRate int) {
	const each = 64
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	open := func(c Config) (*Edge, *meter) {
		m := &meter{make(chan overlay.PeerID, 1), make(chan struct{}, 1), make(chan struct{}, 1), b.N}
		e := newEdge(c, newKey(b), toy{"toy"}, quiet, m)
		if err := e.Open(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(e.Close)
		e.FromAbove(overlay.Greet{Packet: overlay.Outgoing{Code: codeHello, Payload: []byte("hello")}})
		return e, m
	}
	c := testConfig()
	c.PeerBytesPerSecond, c.PeerBurstBytes, c.PeerPacketsPerSecond, c.PeerBurstPackets = bytes, bytes, packetRate, packetRate
	to, heard := open(c)
	url, _ := to.Self()
	c.StaticNodes = []string{url}
	from, wrote := open(c)
	id := <-wrote.up
	<-heard.up
	packets := make([]overlay.Outgoing, each)
	for i := range packets {
		packets[i] = overlay.Outgoing{Code: codeText, Payload: make([]byte, 1024)}
	}
	b.SetBytes(1024)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += each {
		from.FromAbove(overlay.Send{Peer: id, Packets: packets[:min(each, b.N-n)]})
		<-wrote.written
	}
	<-heard.arrived
}
