package devp2p

import (
	"net/netip"
	"testing"
	"time"
)

var (
	nowhere  netip.Addr // nobody took the connection
	loopback = netip.MustParseAddr("127.0.0.1")
	far      = netip.MustParseAddr("198.51.100.7")
)

func TestDelayDoublesUpToThirtySeconds(t *testing.T) {
	for attempts, want := range map[int]time.Duration{
		1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 4: 8 * time.Second, 5: 16 * time.Second,
		6: 30 * time.Second, 7: 30 * time.Second, 1 << 40: 30 * time.Second,
	} {
		if got := delay(attempts); got != want {
			t.Errorf("after %d attempts %v, want %v", attempts, got, want)
		}
	}
}

func TestNextAttemptFollowsFromWhatBecameOfTheLast(t *testing.T) {
	t0 := time.Unix(1_600_000_000, 0)
	at := func(seconds float64) time.Time { return t0.Add(time.Duration(seconds * float64(time.Second))) }
	const even = 0.5 // a chance that leaves delays as they are
	for _, tt := range []struct {
		name string
		do   func(*pace)
		want time.Time
	}{
		{"nothing tried", func(*pace) {}, time.Time{}},
		{"refused", func(p *pace) { p.tried(t0, nowhere, time.Time{}, even) }, at(1)},
		{"refused three times", func(p *pace) {
			for range 3 {
				p.tried(t0, nowhere, time.Time{}, even)
			}
		}, at(4)},
		{"turned away near", func(p *pace) { p.tried(at(5), loopback, t0, even) }, at(6)},
		{"turned away near, as 4in6", func(p *pace) { p.tried(at(5), netip.MustParseAddr("::ffff:192.168.1.1"), t0, even) }, at(6)},
		{"turned away far", func(p *pace) { p.tried(at(5), far, t0, 0) }, at(31)},
		{"turned away far, after many", func(p *pace) {
			for range 9 {
				p.tried(at(15), far, t0, even)
			}
		}, at(45)},
		{"turned away far, on IPv6", func(p *pace) { p.tried(at(5), netip.MustParseAddr("2001:db8::1"), t0, even) }, at(31.5)},
		{"long link lost", func(p *pace) { p.tried(t0, far, t0, 0); p.lost(at(60), 60*time.Second, false, 0) }, at(60)},
		{"long link lost, with spread", func(p *pace) { p.tried(t0, far, t0, 0); p.lost(at(60), 60*time.Second, false, even) }, at(60.1)},
		{"short link lost near", func(p *pace) { p.tried(t0, loopback, t0, even); p.lost(at(10), 10*time.Second, false, 0) }, at(10)},
		{"very short link lost near", func(p *pace) { p.tried(t0, loopback, t0, even); p.lost(at(0.1), 100*time.Millisecond, false, 0) }, at(1)},
		{"short link lost far", func(p *pace) { p.tried(t0, far, t0, 0); p.lost(at(10), 10*time.Second, false, 0) }, at(31)},
		{"link lost that the node had made", func(p *pace) { p.lost(at(60), 60*time.Second, true, even) }, at(61)},
		{"refused after a long link", func(p *pace) {
			for range 5 {
				p.tried(t0, loopback, t0, even)
			}
			p.lost(at(60), longLived, false, 0)
			p.tried(at(60), nowhere, time.Time{}, even)
		}, at(61)},
		{"refused after short links", func(p *pace) {
			for range 3 {
				p.tried(t0, loopback, t0, even)
				p.lost(at(9), longLived-1, false, 0)
			}
			p.tried(at(20), nowhere, time.Time{}, even)
		}, at(28)},
		{"moved", func(p *pace) { p.tried(t0, far, t0, even); p.moved() }, at(1)},
		{"moved before it was tried", func(p *pace) { p.moved() }, time.Time{}},
	} {
		var p pace
		if tt.do(&p); !p.next.Equal(tt.want) {
			t.Errorf("%s: next after %v, want %v", tt.name, p.next.Sub(t0), tt.want.Sub(t0))
		}
	}
}

func TestSpreadStaysWithinAQuarter(t *testing.T) {
	for chance, want := range map[float64]time.Duration{0: 750 * time.Millisecond, 0.5: time.Second, 1: 1250 * time.Millisecond} {
		if got := spread(time.Second, chance); got != want {
			t.Errorf("%v: %v, want %v", chance, got, want)
		}
	}
}
