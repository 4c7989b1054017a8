package devp2p

import (
	"fmt"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/overlay"
)

func TestDefaultRatesNeverSlowAnHonestPeer(t *testing.T) {
	t0 := time.Unix(1_600_000_000, 0)
	for _, tt := range []struct {
		name        string
		every       time.Duration
		size        int
		long        time.Duration
		atOnceFirst int // packets that come together at the beginning, of 1 MiB
	}{
		{"4000 envelopes in a second, each in a packet of its own", time.Second / 4000, 1024, 20 * time.Second, 0},
		{"twice as many", time.Second / 8000, 1024, 10 * time.Second, 0},
		{"20000 envelopes in a second, 100 in a packet", time.Second / 200, 100 << 10, time.Minute, 0},
		{"a pool of 32 MiB and 4000 envelopes in a second", time.Second / 4000, 1024, 10 * time.Second, 32},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRates(DefaultConfig())
			for range tt.atOnceFirst {
				if wait := r.charge(t0, 1<<20); wait > 0 {
					t.Fatalf("waits %v at the beginning", wait)
				}
			}
			for at := time.Duration(0); at < tt.long; at += tt.every {
				if wait := r.charge(t0.Add(at), tt.size); wait > 0 {
					t.Fatalf("waits %v after %v", wait, at)
				}
			}
		})
	}
}

func TestPeerBeyondItsRatesWaits(t *testing.T) {
	c := Config{PeerBytesPerSecond: 1 << 20, PeerBurstBytes: 2 << 20, PeerPacketsPerSecond: 100, PeerBurstPackets: 50}
	for _, tt := range []struct {
		name    string
		set     func(*Config)
		packets int
		size    int
		want    time.Duration // of the last packet
	}{
		{"within the burst of packets", nil, 50, 0, 0},
		{"beyond the burst of packets", nil, 150, 0, time.Second},
		{"within the burst of bytes", nil, 2, 1 << 20, 0},
		{"beyond the burst of bytes", nil, 5, 1 << 20, 3 * time.Second},
		{"one packet longer than the burst", nil, 1, 6 << 20, 4 * time.Second},
		{"both", nil, 150, 1 << 20, 148 * time.Second},
		{"no limit of packets", func(c *Config) { c.PeerPacketsPerSecond = 0 }, 10_000, 0, 0},
		{"no limit of bytes", func(c *Config) { c.PeerBytesPerSecond = 0 }, 50, 1 << 30, 0},
	} {
		c, t0 := c, time.Unix(1_600_000_000, 0)
		if tt.set != nil {
			tt.set(&c)
		}
		r := newRates(c)
		var wait time.Duration
		for range tt.packets {
			wait = r.charge(t0, tt.size)
		}
		if d := wait - tt.want; d < -time.Millisecond || d > time.Millisecond {
			t.Errorf("%s: waits %v, want %v", tt.name, wait, tt.want)
		}
	}
}

func updates(n int) []overlay.Outgoing {
	packets := make([]overlay.Outgoing, n)
	for i := range packets {
		packets[i] = overlay.Outgoing{Code: codeState, Payload: []byte(fmt.Sprint(i))}
	}
	return packets
}

func TestFloodOfPacketsIsSlowedWhileAnHonestPeerPasses(t *testing.T) {
	const (
		burst    = 50
		honestly = burst - 10
		flood    = burst + 300*minPacketsPerSecond // five minutes long
	)
	a := start(t, func(c *Config) { c.PeerPacketsPerSecond, c.PeerBurstPackets = minPacketsPerSecond, burst })
	flooder, honest := start(t, static(a)), start(t, static(a))
	expect(t, flooder.sink, with(a.id()))
	expect(t, honest.sink, with(a.id()))
	a.linked(t, 2)
	flooder.FromAbove(overlay.Send{Peer: a.id(), Packets: updates(flood)})
	from := func(all []overlay.Event, id overlay.PeerID) (n int) {
		for _, e := range all {
			if p, ok := e.(overlay.Arrived); ok && p.Peer == id {
				n++
			}
		}
		return n
	}
	a.sink.wait(t, "the burst and a packet more", func(all []overlay.Event) bool { return from(all, flooder.id()) > burst })
	for range honestly {
		honest.FromAbove(overlay.Send{Peer: a.id(), Packets: []overlay.Outgoing{text("x")}})
		expect[overlay.Written](t, honest.sink, nil)
	}
	a.sink.wait(t, "the honest peer", func(all []overlay.Event) bool { return from(all, honest.id()) == honestly })
	if got := from(a.all(), flooder.id()); got >= flood {
		t.Error("the flood passed at once")
	}
	if got := a.link(honest.id()).slowed.Load(); got != 0 {
		t.Errorf("%d packets of the honest peer had to wait", got)
	}
	if s := a.Stats(); s.Slowed == 0 || s.SlowedLinks != 1 || s.SlowedFor <= 0 {
		t.Errorf("stats are %+v", s)
	}
	if got := count[overlay.Disconnected](a.all()); got != 0 {
		t.Errorf("%d links ended", got)
	}
}

func TestPacketsOfAPeerThatIsSlowedAllArriveInOrder(t *testing.T) {
	const packets = 60
	a := start(t, func(c *Config) { c.PeerPacketsPerSecond, c.PeerBurstPackets = 100, 5 })
	b := start(t, static(a))
	expect(t, b.sink, with(a.id()))
	b.FromAbove(overlay.Send{Peer: a.id(), Packets: updates(packets)})
	for i := range packets {
		if got := expect[overlay.Arrived](t, a.sink, nil).Packet.(lasting).text; got != fmt.Sprint(i) {
			t.Fatalf("packet %d is %q", i, got)
		}
	}
	if got := a.Stats().Slowed; got == 0 {
		t.Error("no packet had to wait")
	}
}

func TestLinkEndsWhileItsPeerIsSlowed(t *testing.T) {
	a := start(t, func(c *Config) { c.PeerPacketsPerSecond, c.PeerBurstPackets = minPacketsPerSecond, 1 })
	r := dialRaw(t, a, nil).greetings()
	expect(t, a.sink, with(r.id()))
	for range 20 * minPacketsPerSecond {
		r.say(codeText, "x")
	}
	a.sink.wait(t, "a packet that waited", func(all []overlay.Event) bool { return count[overlay.Arrived](all) > 1 })
	a.FromAbove(overlay.Drop{Peer: r.id(), Reason: "enough"})
	if got := expect[overlay.Disconnected](t, a.sink, nil); got.Reason != "enough" {
		t.Errorf("got %+v", got)
	}
	a.settled(t)
}

func TestPacketsOfAPeerThatIsSlowedTakeNothingOfTheBudget(t *testing.T) {
	a := start(t, func(c *Config) { c.PeerPacketsPerSecond, c.PeerBurstPackets = minPacketsPerSecond, 1 })
	r := dialRaw(t, a, nil).greetings()
	expect(t, a.sink, with(r.id()))
	for range 3 {
		r.say(codeText, "x")
	}
	a.sink.wait(t, "two packets", func(all []overlay.Event) bool { return count[overlay.Arrived](all) == 2 })
	a.settled(t) // while the third waits
}

func TestRatesAreChecked(t *testing.T) {
	for _, tt := range []struct {
		set  func(*Config)
		good bool
	}{
		{func(c *Config) { c.PeerBytesPerSecond, c.PeerBurstBytes = 0, 0 }, true},
		{func(c *Config) { c.PeerPacketsPerSecond, c.PeerBurstPackets = 0, 0 }, true},
		{func(c *Config) { c.PeerBurstBytes = 0 }, false},
		{func(c *Config) { c.PeerBurstPackets = 0 }, false},
		{func(c *Config) { c.PeerBytesPerSecond = minBytesPerSecond - 1 }, false},
		{func(c *Config) { c.PeerBytesPerSecond = -1 }, false},
		{func(c *Config) { c.PeerPacketsPerSecond = minPacketsPerSecond }, true},
		{func(c *Config) { c.PeerPacketsPerSecond = -1 }, false},
	} {
		c := DefaultConfig()
		tt.set(&c)
		if err := c.Validate(); (err == nil) != tt.good {
			t.Errorf("%d %d %d %d: %v", c.PeerBytesPerSecond, c.PeerBurstBytes, c.PeerPacketsPerSecond, c.PeerBurstPackets, err)
		}
	}
}
