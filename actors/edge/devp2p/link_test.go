package devp2p

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
)

// pair returns two linked edges; the first was dialled by the second.
func pair(t *testing.T) (a, b *peer) {
	t.Helper()
	a = start(t, nil)
	b = start(t, static(a))
	expect(t, a.sink, with(b.id()))
	expect(t, b.sink, with(a.id()))
	return a, b
}

func TestPeersGreetAndExchangePackets(t *testing.T) {
	a := start(t, nil)
	b := start(t, static(a))

	at := expect(t, a.sink, with(b.id()))
	if !at.Inbound || at.Trusted || !strings.HasPrefix(at.Name, "Strata/") {
		t.Errorf("got %+v", at)
	}
	if got, want := at.State, (packet{codeHello, "hello from " + b.id().String()[:8]}); len(got) != 1 || got[0] != want {
		t.Errorf("state is %v, want the greeting %v", got, want)
	}
	if bt := expect(t, b.sink, with(a.id())); bt.Inbound {
		t.Errorf("got %+v", bt)
	}

	shared := []overlay.Outgoing{text("one"), text("two"), {Code: codeUnknown, Payload: []byte("?")}, text("three")}
	b.FromAbove(overlay.Send{Peer: a.id(), Packets: shared})
	for _, want := range []string{"one", "two", "three"} {
		got := expect[overlay.Arrived](t, a.sink, nil)
		if got.Peer != b.id() || got.Packet != (packet{codeText, want}) {
			t.Errorf("got %v, want %q of %v", got, want, b.id())
		}
	}
	if w := expect[overlay.Written](t, b.sink, nil); w.Peer != a.id() {
		t.Errorf("written to %v", w.Peer)
	}
	if got := a.Stats(); got.Ignored != 1 || got.PacketsIn != 5 || got.Links != 1 {
		t.Errorf("stats are %+v", got)
	}
}

func TestEverySendIsAnsweredInOrder(t *testing.T) {
	a, b := pair(t)
	const sends, each = 50, 7
	for i := range sends {
		var packets []overlay.Outgoing
		for j := range each {
			packets = append(packets, text(fmt.Sprint(i*each+j)))
		}
		b.FromAbove(overlay.Send{Peer: a.id(), Packets: packets})
		expect[overlay.Written](t, b.sink, nil)
	}
	b.FromAbove(overlay.Send{Peer: a.id()}) // nothing to write is written at once
	expect[overlay.Written](t, b.sink, nil)
	for i := range sends * each {
		if got := expect[overlay.Arrived](t, a.sink, nil).Packet.(packet).text; got != fmt.Sprint(i) {
			t.Fatalf("packet %d is %q", i, got)
		}
	}
}

func TestSendToAStrangerIsNoFault(t *testing.T) {
	a, _ := pair(t)
	a.FromAbove(overlay.Send{Peer: overlay.PeerID{1}, Packets: []overlay.Outgoing{text("x")}})
	a.FromAbove(overlay.Drop{Peer: overlay.PeerID{1}, Reason: "unknown"})
	a.FromAbove(overlay.ListPeers{})
	if got := expect[overlay.Listed](t, a.sink, nil); len(got.Peers) != 1 {
		t.Errorf("listed %v", got.Peers)
	}
}

func TestNoLinkIsCompletedBeforeTheFirstGreet(t *testing.T) {
	a := startSilent(t, nil)
	r := dialRaw(t, a, nil)
	r.say(codeHello, "hello early")
	a.FromAbove(overlay.ListPeers{})
	if got := expect[overlay.Listed](t, a.sink, nil); len(got.Peers) != 0 {
		t.Errorf("listed %v before the first Greet", got.Peers)
	}
	a.FromAbove(overlay.Greet{Packet: overlay.Outgoing{Code: codeHello, Payload: []byte("hello first")}})
	if _, data := r.read(); string(data) != "hello first" {
		t.Errorf("greeted with %q", data)
	}
	expect(t, a.sink, with(r.id()))

	a.FromAbove(overlay.Greet{Packet: overlay.Outgoing{Code: codeHello, Payload: []byte("hello second")}})
	if _, data := dialRaw(t, a, nil).read(); string(data) != "hello second" {
		t.Errorf("greeted with %q", data)
	}
}

func TestNodeWithoutAGreetingGivesItsLinksUp(t *testing.T) {
	a := startSilent(t, func(c *Config) { c.HandshakeTimeout = time.Second })
	if got := dialRaw(t, a, nil).gone(); got != int(p2p.DiscQuitting) {
		t.Errorf("told reason %d", got)
	}
	a.ended(t, notGreeted)
	if got := count[overlay.Connected](a.all()); got != 0 {
		t.Errorf("%d links reported", got)
	}
}

func TestPeerThatBreaksTheProtocolIsDropped(t *testing.T) {
	long := strings.Repeat("x", toyLimit+1)
	for _, tt := range []struct {
		name    string
		greets  bool
		code    uint64
		payload string
		cause   cause
		reason  string
	}{
		{"oversize packet", true, codeText, long, tooLarge, "65537 bytes"},
		{"oversize packet of a code that is ignored", true, codeUnknown, long, tooLarge, "65537 bytes"},
		{"oversize greeting", false, codeHello, "hello" + long, tooLarge, ""},
		{"bad packet", true, codeBad, "", badPacket, "toy: bad packet"},
		{"greeting with another code", false, codeText, "hello", badGreeting, ""},
		{"empty greeting", false, codeHello, "", badGreeting, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := start(t, nil)
			r := dialRaw(t, a, nil)
			if tt.greets {
				r.greetings()
				expect(t, a.sink, with(r.id()))
			}
			r.say(tt.code, tt.payload)
			if got := r.gone(); got != int(p2p.DiscProtocolError) {
				t.Errorf("told reason %d", got)
			}
			a.ended(t, tt.cause)
			if tt.greets {
				if got := expect[overlay.Disconnected](t, a.sink, nil); got.Peer != r.id() || !strings.Contains(got.Reason, tt.reason) {
					t.Errorf("got %+v", got)
				}
			}
			if got := count[overlay.Connected](a.all()) - count[overlay.Disconnected](a.all()); got != 0 {
				t.Errorf("%d more Connected than Disconnected", got)
			}
			if got := count[overlay.Arrived](a.all()); got != 0 {
				t.Errorf("%d packets arrived", got)
			}
		})
	}
}

func TestPacketAtTheLimitArrives(t *testing.T) {
	a := start(t, nil)
	r := dialRaw(t, a, nil).greetings()
	r.say(codeText, strings.Repeat("x", toyLimit))
	if got := expect[overlay.Arrived](t, a.sink, nil); got.Packet.Size() != toyLimit {
		t.Errorf("%d bytes arrived", got.Packet.Size())
	}
}

func TestSilentPeerKeepsItsLinkAndOneThatDoesNotGreetLosesIt(t *testing.T) {
	a := start(t, func(c *Config) { c.HandshakeTimeout = time.Second })
	silent := dialRaw(t, a, nil).greetings()
	expect(t, a.sink, with(silent.id()))
	// This one starts later, so its time is up after that of the silent one.
	if got := dialRaw(t, a, nil).gone(); got != int(p2p.DiscReadTimeout) {
		t.Errorf("told reason %d", got)
	}
	a.ended(t, noGreeting)
	silent.say(codeText, "still here")
	if got := expect[overlay.Arrived](t, a.sink, nil); got.Peer != silent.id() {
		t.Errorf("got %v", got)
	}
	if got := count[overlay.Disconnected](a.all()); got != 0 {
		t.Errorf("%d Disconnected", got)
	}
}

func TestPanicOfTheCodecCostsOnlyThePeer(t *testing.T) {
	a, b := pair(t)
	a.log.wantErrors()
	r := dialRaw(t, a, nil).greetings()
	expect(t, a.sink, with(r.id()))
	r.say(codePanic, "x")
	r.gone()
	if got := expect[overlay.Disconnected](t, a.sink, nil); got.Peer != r.id() {
		t.Errorf("got %+v", got)
	}
	if a.Stats().Ended["codec_broke"] != 1 || len(a.log.logged()) != 1 {
		t.Errorf("ended %v, logged %q", a.Stats().Ended, a.log.logged())
	}
	b.FromAbove(overlay.Send{Peer: a.id(), Packets: []overlay.Outgoing{text("on")}})
	expect[overlay.Arrived](t, a.sink, nil)
	a.settled(t)
}

func TestDropEndsTheLinkWithItsReason(t *testing.T) {
	a := start(t, nil)
	r := dialRaw(t, a, nil).greetings()
	expect(t, a.sink, with(r.id()))
	a.FromAbove(overlay.Drop{Peer: r.id(), Reason: "flooding"})
	a.FromAbove(overlay.Drop{Peer: r.id(), Reason: "again"})
	if got := r.gone(); got != int(p2p.DiscSubprotocolError) {
		t.Errorf("told reason %d", got)
	}
	if got := expect[overlay.Disconnected](t, a.sink, nil); got.Peer != r.id() || got.Reason != "flooding" {
		t.Errorf("got %+v", got)
	}
	if got := a.Stats(); got.Ended["asked"] != 1 || got.Dropped["flooding"] != 1 {
		t.Errorf("stats are %+v", got)
	}
}

func TestReasonsOfDropAreBounded(t *testing.T) {
	var c counters
	for i := range 10 * maxReasons {
		c.asked(fmt.Sprint(i))
	}
	if got := len(c.dropped); got != maxReasons+1 {
		t.Errorf("%d reasons are counted apart", got)
	}
}

func TestUpperNeighbourThatAttachesAgainIsToldEverything(t *testing.T) {
	a := start(t, nil)
	var peers []*raw
	for range 3 {
		r := dialRaw(t, a, nil).greetings()
		r.say(codeState2, "other")
		r.say(codeState, "old")
		r.say(codeState, "new")
		r.say(codeText, "passing")
		peers = append(peers, r)
	}
	a.sink.wait(t, "12 packets", func(all []overlay.Event) bool { return count[overlay.Arrived](all) == 12 })
	a.sink.next = len(a.all())
	a.FromAbove(overlay.Attach{})
	again := a.all()[a.sink.next:]
	if len(again) != 4 {
		t.Fatalf("told %s", describe(again))
	}
	ready, ok := again[0].(overlay.Ready)
	if url, record := a.Self(); !ok || ready != (overlay.Ready{ID: a.id(), Enode: url, ENR: record}) {
		t.Errorf("first is %v", again[0])
	}
	slices.SortFunc(peers, func(a, b *raw) int { return strings.Compare(a.id().String(), b.id().String()) })
	for i, e := range again[1:] {
		c, ok := e.(overlay.Connected)
		if !ok || c.Peer != peers[i].id() {
			t.Fatalf("event %d is %v", i, e)
		}
		want := []overlay.Packet{packet{codeHello, "hello raw"}, lasting{packet{codeState, "new"}}, lasting{packet{codeState2, "other"}}}
		if !slices.Equal(c.State, want) {
			t.Errorf("state is %v, want %v", c.State, want)
		}
	}
}

// stuck returns a link whose Send is being written and cannot end, because the
// peer reads one byte and no more.
func stuck(t *testing.T, a *peer) *raw {
	t.Helper()
	r := choked(t, a)
	if _, err := r.fd.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return r
}

// choked returns a link with a Send of one packet that is more than the buffers
// of a connection take.
func choked(t *testing.T, a *peer) *raw {
	t.Helper()
	r := dialRaw(t, a, nil).greetings()
	expect(t, a.sink, with(r.id()))
	b := make([]byte, 15<<20)
	x := uint32(1)
	for i := range b { // snappy can do nothing with it
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	a.FromAbove(overlay.Send{Peer: r.id(), Packets: []overlay.Outgoing{{Code: codeText, Payload: b}}})
	return r
}

func TestConnectedIsRepeatedAfterTheWrittenThatIsDue(t *testing.T) {
	a := start(t, nil)
	r := choked(t, a)
	a.FromAbove(overlay.Attach{})
	expect[overlay.Ready](t, a.sink, nil)
	mark := a.sink.next
	r.say(codeText, "meanwhile") // must not overtake the Connected
	if code, _ := r.read(); code != 16+codeText {
		t.Fatalf("read code %d", code)
	}
	expect[overlay.Arrived](t, a.sink, nil)
	var got []string
	for _, e := range a.all()[mark:] {
		got = append(got, strings.TrimPrefix(fmt.Sprintf("%T", e), "overlay."))
	}
	if want := []string{"Written", "Connected", "Arrived"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSecondSendIsAFaultOfTheSender(t *testing.T) {
	a := start(t, nil)
	a.log.wantErrors()
	r := stuck(t, a)
	a.FromAbove(overlay.Send{Peer: r.id(), Packets: []overlay.Outgoing{text("x")}})
	if got := expect[overlay.Disconnected](t, a.sink, nil); got.Peer != r.id() {
		t.Errorf("got %+v", got)
	}
	if len(a.log.logged()) != 1 || a.Stats().Ended["second_send"] != 1 {
		t.Errorf("logged %q, ended %v", a.log.logged(), a.Stats().Ended)
	}
	if got := count[overlay.Written](a.all()); got != 0 {
		t.Errorf("%d Written", got)
	}
}

func TestPeerThatReadsNothingIsRemovedSoon(t *testing.T) {
	a := start(t, nil)
	r := stuck(t, a)
	begin := time.Now()
	node := enode.NewV4(&r.key.PublicKey, net.IP{127, 0, 0, 1}, 1, 0)
	a.FromAbove(overlay.RemovePeer{Ref: layers.Ref{1}, Node: node.URLv4()})
	expect[overlay.Disconnected](t, a.sink, nil)
	expect[overlay.Done](t, a.sink, nil)
	if took := time.Since(begin); took > 10*time.Second { // go-ethereum alone takes 20
		t.Errorf("it took %v", took)
	}
}

func TestPacketCodeBeyondTheProtocolIsAFaultOfTheSender(t *testing.T) {
	a, b := pair(t)
	a.log.wantErrors()
	a.FromAbove(overlay.Send{Peer: b.id(), Packets: []overlay.Outgoing{{Code: 128}}})
	expect[overlay.Disconnected](t, a.sink, nil)
	if len(a.log.logged()) != 1 {
		t.Errorf("logged %q", a.log.logged())
	}
}

func TestLinkOfAPeerThatWentAwayIsReportedOnce(t *testing.T) {
	a := start(t, nil)
	r := dialRaw(t, a, nil).greetings()
	expect(t, a.sink, with(r.id()))
	r.fd.Close()
	expect[overlay.Disconnected](t, a.sink, nil)
	a.log.until(t, "the server to forget the peer", func() bool { return a.server.PeerCount() == 0 })
	again := dialRaw(t, a, r.key).greetings()
	expect(t, a.sink, with(again.id()))
	again.fd.Close()
	expect[overlay.Disconnected](t, a.sink, nil)
	if got := a.Stats().Ended["closed"]; got != 2 {
		t.Errorf("%d links ended by the peer", got)
	}
}
