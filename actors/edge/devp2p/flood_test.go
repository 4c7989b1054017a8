package devp2p

import (
	"crypto/rand"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p"
	"github.com/golang/snappy"

	"github.com/stratanode/strata/layers/overlay"
)

func TestFloodIsBoundedAndHonestPeersGoOn(t *testing.T) {
	const flood = 10_000
	a := start(t, func(c *Config) { c.InFlightBytes = 1 << 20 })
	flooder, honest := start(t, static(a)), start(t, static(a))
	expect(t, flooder.sink, with(a.id()))
	expect(t, honest.sink, with(a.id()))
	a.sink.wait(t, "both links", func(all []overlay.Event) bool { return count[overlay.Connected](all) == 2 })
	a.settled(t) // the greetings need credit too

	share := a.flight.share
	if share != 256<<10 {
		t.Fatalf("the share of a peer is %d", share)
	}
	a.sink.mu.Lock()
	a.sink.peak = 0
	a.sink.hold = func(e overlay.Event) bool { p, ok := e.(overlay.Arrived); return ok && p.Peer == flooder.id() }
	a.sink.mu.Unlock()
	packets := make([]overlay.Outgoing, flood)
	for i := range packets {
		packets[i] = text(strings.Repeat("x", 1000) + fmt.Sprint(i))
	}
	flooder.FromAbove(overlay.Send{Peer: a.id(), Packets: packets})
	from := func(all []overlay.Event, id overlay.PeerID) (n int) {
		for _, e := range all {
			if p, ok := e.(overlay.Arrived); ok && p.Peer == id {
				n++
			}
		}
		return n
	}
	most := int(share / minWeight)
	a.sink.wait(t, "a full share", func(all []overlay.Event) bool { return from(all, flooder.id()) == most })

	for i := range 200 {
		honest.FromAbove(overlay.Send{Peer: a.id(), Packets: []overlay.Outgoing{text(fmt.Sprint(i))}})
		expect[overlay.Written](t, honest.sink, nil)
	}
	a.sink.wait(t, "the honest peer", func(all []overlay.Event) bool { return from(all, honest.id()) == 200 })
	if got := from(a.all(), flooder.id()); got != most {
		t.Errorf("%d packets of the flooder are in flight, want %d", got, most)
	}
	a.sink.release()
	a.sink.wait(t, "the rest", func(all []overlay.Event) bool { return from(all, flooder.id()) == flood })
	expect[overlay.Written](t, flooder.sink, nil)
	if a.sink.peak > a.flight.size {
		t.Errorf("%d bytes were in flight, at most %d", a.sink.peak, a.flight.size)
	}
	a.settled(t)
}

func TestAllPeersTogetherAreBounded(t *testing.T) {
	const peers, each = 8, 400
	a := start(t, func(c *Config) { c.InFlightBytes = 256 << 10 })
	for range peers {
		b := start(t, static(a))
		expect(t, b.sink, with(a.id()))
		defer func() { expect[overlay.Written](t, b.sink, nil) }()
		packets := make([]overlay.Outgoing, each)
		for i := range packets {
			packets[i] = text(strings.Repeat("x", 5000))
		}
		b.FromAbove(overlay.Send{Peer: a.id(), Packets: packets})
	}
	a.sink.wait(t, "all packets", func(all []overlay.Event) bool { return count[overlay.Arrived](all) == peers*each })
	if a.sink.peak > 256<<10 || a.sink.peak == 0 {
		t.Errorf("%d bytes were in flight", a.sink.peak)
	}
}

func TestLinkEndsWhileItWaitsForCredit(t *testing.T) {
	a := start(t, func(c *Config) { c.InFlightBytes = minInFlightBytes })
	r := dialRaw(t, a, nil).greetings()
	expect(t, a.sink, with(r.id()))
	a.settled(t)
	a.sink.mu.Lock()
	a.sink.hold = func(overlay.Event) bool { return true }
	a.sink.mu.Unlock()
	for range minInFlightBytes/minWeight + 1 {
		r.say(codeText, "x")
	}
	a.sink.wait(t, "a full budget", func(all []overlay.Event) bool { return count[overlay.Arrived](all) == minInFlightBytes/minWeight })
	a.FromAbove(overlay.Drop{Peer: r.id(), Reason: "enough"})
	if got := expect[overlay.Disconnected](t, a.sink, nil); got.Reason != "enough" {
		t.Errorf("got %+v", got)
	}
	a.sink.release()
	a.settled(t)
}

// onlooker checks after the test that an honest link has lived through it.
func onlooker(t *testing.T, a *peer) {
	t.Helper()
	b := start(t, static(a))
	expect(t, b.sink, with(a.id()))
	t.Cleanup(func() {
		b.FromAbove(overlay.Send{Peer: a.id(), Packets: []overlay.Outgoing{text("alive")}})
		expect(t, a.sink, func(e overlay.Arrived) bool { return e.Peer == b.id() })
	})
}

func TestGarbageHarmsNobody(t *testing.T) {
	a := start(t, nil)
	onlooker(t, a)
	random := func(n int) []byte {
		b := make([]byte, n)
		if _, err := rand.Read(b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	unpacked := func(r *raw, code uint64, data []byte) { r.SetSnappy(false); r.write(code, data) }
	for name, attack := range map[string]func(t *testing.T){
		"instead of the handshake": func(t *testing.T) {
			r := connect(t, a, nil)
			if _, err := r.fd.Write(random(4096)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, r.fd); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Error(err)
			}
		},
		"a handshake that is only its length": func(t *testing.T) {
			r := connect(t, a, nil)
			if _, err := r.fd.Write([]byte{0xff, 0xff}); err != nil {
				t.Fatal(err)
			}
			r.fd.Close()
		},
		"instead of a frame": func(t *testing.T) {
			r := dialRaw(t, a, nil).greetings()
			if _, err := r.fd.Write(random(512)); err != nil {
				t.Fatal(err)
			}
			r.gone()
		},
		"truncated snappy": func(t *testing.T) {
			r := dialRaw(t, a, nil).greetings()
			whole := snappy.Encode(nil, random(2000))
			unpacked(r, 16+codeText, whole[:1000])
			r.gone()
		},
		"snappy that claims 4 GiB": func(t *testing.T) {
			r := dialRaw(t, a, nil).greetings()
			unpacked(r, 16+codeText, []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0})
			r.gone()
		},
		"empty snappy": func(t *testing.T) {
			r := dialRaw(t, a, nil).greetings()
			unpacked(r, 16+codeText, nil)
			r.gone()
		},
		"snappy bomb of 15 MiB": func(t *testing.T) {
			r := dialRaw(t, a, nil).greetings()
			r.write(16+codeText, make([]byte, 15<<20))
			if got := r.gone(); got != int(p2p.DiscProtocolError) {
				t.Errorf("told reason %d", got)
			}
		},
		"packet code beyond the protocol": func(t *testing.T) {
			r := dialRaw(t, a, nil).greetings()
			r.write(16+128, []byte{0xc0})
			r.gone()
		},
		"hello again": func(t *testing.T) {
			r := dialRaw(t, a, nil).greetings()
			r.write(0, random(100))
			r.say(codeText, "goes on")
			expect(t, a.sink, func(e overlay.Arrived) bool { return e.Peer == r.id() })
		},
	} {
		t.Run(name, attack)
	}
}

func TestPingFloodStartsNoGoroutines(t *testing.T) {
	const pings = 20_000
	a := start(t, nil)
	onlooker(t, a)
	r := dialRaw(t, a, nil).greetings()
	expect(t, a.sink, with(r.id()))
	before, most := runtime.NumGoroutine(), 0
	pongs := make(chan error, 1)
	go func() {
		for n := 0; n < pings; {
			code, _, _, err := r.Read()
			if err != nil {
				pongs <- err
				return
			}
			if code == 3 {
				n++
			}
		}
		pongs <- nil
	}()
	for i := range pings {
		r.write(2, []byte{0xc0})
		if i%100 == 0 {
			most = max(most, runtime.NumGoroutine())
		}
	}
	if err := <-pongs; err != nil {
		t.Fatal(err)
	}
	if most > before+10 {
		t.Errorf("goroutines rose from %d to %d", before, most)
	}
}

func TestNodeOfAnotherNetworkIsRefused(t *testing.T) {
	a := start(t, nil)
	for _, c := range []p2p.Cap{{Name: "other", Version: 1}, {Name: "toy", Version: 2}} {
		if got := dialRaw(t, a, nil, c).gone(); got != int(p2p.DiscUselessPeer) {
			t.Errorf("%v was told reason %d", c, got)
		}
	}
	if got := a.Stats().Links; got != 0 {
		t.Errorf("%d links", got)
	}
}

func TestOwnKeyIsRefused(t *testing.T) {
	a := start(t, nil)
	r := connect(t, a, a.key.ECDSA())
	if _, err := r.Handshake(r.key); err == nil {
		if got := r.gone(); got != int(p2p.DiscSelf) && got != -1 {
			t.Errorf("told reason %d", got)
		}
	}
	a.log.until(t, "a failed handshake", func() bool { return a.Stats().Handshakes == 1 })
}

func TestCloseDoesNotWaitForStrangersOrStuckPeers(t *testing.T) {
	a := start(t, nil)
	stuck(t, a)
	connect(t, a, nil) // says nothing
	half := connect(t, a, nil)
	if _, err := half.Handshake(half.key); err != nil { // and then nothing
		t.Fatal(err)
	}
	begin := time.Now()
	a.Close()
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("Close took %v", took)
	}
	if got := expect[overlay.Disconnected](t, a.sink, nil); got.Reason != "the node stops" {
		t.Errorf("got %+v", got)
	}
}

func TestCloseTellsPeers(t *testing.T) {
	a := start(t, nil)
	r := dialRaw(t, a, nil).greetings()
	expect(t, a.sink, with(r.id()))
	a.Close()
	if got := r.gone(); got != int(p2p.DiscQuitting) {
		t.Errorf("told reason %d", got)
	}
}

func TestCloseAfterAFailedOpenIsHarmless(t *testing.T) {
	a := start(t, nil)
	c := testConfig()
	c.Listen = a.listener.Addr().String()
	b := newEdge(c, newKey(t), toy{"toy"}, a.Edge.log, newSink())
	if err := b.Open(); err == nil || !strings.HasPrefix(err.Error(), "devp2p: ") {
		t.Errorf("Open on a port in use: %v", err)
	}
	b.Close()
}
