package libp2p

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

var topic = transport.Topic{1, 2, 3, 4}

func TestTwoNodesTalk(t *testing.T) {
	for name, listen := range map[string][]string{"tcp": tcpOnly, "quic": quicOnly} {
		t.Run(name, func(t *testing.T) {
			a := start(t, settings{"listen": listen})
			began := time.Now()
			b := start(t, settings{"listen": listen, "peers": a.Addrs()})
			t.Logf("open took %v", time.Since(began))
			a.subscribe(t, topic)
			b.subscribe(t, topic)
			a.say(t, 7, topic, "hello")
			b.awaitEnvelopes(t, 1)
			t.Logf("first envelope after %v", time.Since(began))
			b.say(t, 8, topic, "hello yourself")
			a.awaitEnvelopes(t, 1)
			a.awaitReceipt(t, 7, transport.OutcomeRelayed)
			b.awaitReceipt(t, 8, transport.OutcomeRelayed)
			if got := b.envelopes[0]; got.Topic != topic || got.TTL != time.Minute || time.Since(got.Sent) > 10*time.Second {
				t.Errorf("envelope: got %+v", got)
			}
			if got := a.got(); len(got) != 1 || got["hello yourself"] != 1 {
				t.Errorf("a got %v, want only what b said", got)
			}
		})
	}
}

func TestRelayInTheMiddleCarriesWhatItDoesNotWant(t *testing.T) {
	relay := start(t, settings{"relay": true})
	a := start(t, settings{"peers": relay.Addrs()})
	b := start(t, settings{"peers": relay.Addrs()})
	b.subscribe(t, topic)
	b.awaitPeers(t, 1)
	relay.awaitPeers(t, 1)
	a.say(t, 1, topic, "through")
	b.awaitEnvelopes(t, 1)
	if n := len(relay.got()); n != 0 {
		t.Errorf("the relay reported %d envelopes, want none", n)
	}
}

func TestEnvelopeWaitsForTheFirstPeer(t *testing.T) {
	a := start(t, nil)
	a.say(t, 1, topic, "is there anybody")
	if n := a.counts(t)["held"]; n != 1 {
		t.Errorf("held: got %v, want 1", n)
	}
	b := start(t, settings{"peers": a.Addrs()})
	b.subscribe(t, topic)
	b.awaitEnvelopes(t, 1)
	a.awaitReceipt(t, 1, transport.OutcomeRelayed)
}

func TestEnvelopeThatNobodyTookExpires(t *testing.T) {
	a := start(t, nil)
	e := envelope(1, topic, "nobody")
	e.TTL = time.Second
	if err := a.try(e); err != nil {
		t.Fatal(err)
	}
	a.awaitReceipt(t, 1, transport.OutcomeExpired)
	b := start(t, settings{"peers": a.Addrs()})
	b.subscribe(t, topic)
	b.awaitPeers(t, 0)
	a.say(t, 2, topic, "after")
	b.awaitEnvelopes(t, 1)
	if got := b.got(); got["nobody"] != 0 {
		t.Errorf("got %v, want nothing expired", got)
	}
}

func TestLateComerGetsEverythingOnce(t *testing.T) {
	a := start(t, nil)
	b := start(t, settings{"peers": a.Addrs()})
	a.subscribe(t, topic)
	b.subscribe(t, topic)
	const many = 300
	for i := range many {
		a.say(t, uint64(i+1), topic, fmt.Sprint("early ", i))
	}
	b.awaitEnvelopes(t, many)
	// The late comer knows both, so that each could give it everything.
	c := start(t, settings{"peers": append(a.Addrs(), b.Addrs()...)})
	c.subscribe(t, topic)
	c.awaitEnvelopes(t, many)
	a.say(t, 9999, topic, "last")
	c.awaitEnvelopes(t, many+1)
	got := c.got()
	for text, n := range got {
		if n != 1 {
			t.Errorf("%q came %d times", text, n)
		}
	}
	if len(got) != many+1 {
		t.Errorf("got %d different envelopes, want %d", len(got), many+1)
	}
}

func TestWhatIsFetchedReachesTheNextNode(t *testing.T) {
	// a has it and is gone from gossip's memory; b comes between a and c, where c
	// was connected to b before b had it.
	b := start(t, nil)
	c := start(t, settings{"peers": b.Addrs()})
	b.subscribe(t, topic)
	c.subscribe(t, topic)
	b.awaitPeers(t, 1)
	c.awaitPeers(t, 1)
	origin := start(t, nil)
	a := start(t, settings{"peers": origin.Addrs()})
	a.subscribe(t, topic)
	origin.say(t, 1, topic, "passed on")
	a.awaitEnvelopes(t, 1)
	origin.stop(t)
	infoOfB := infos(b.Addrs())[0]
	if !a.dial(context.Background(), infoOfB) {
		t.Fatal("a does not reach b")
	}
	c.awaitEnvelopes(t, 1)
	if n := c.counts(t)["recents_fetched_total"]; n != 1 {
		t.Errorf("fetched: got %v, want 1: it should have come by request, not by gossip", n)
	}
}

func TestNewTopicGetsWhatIsHereAlready(t *testing.T) {
	a := start(t, nil)
	b := start(t, settings{"peers": a.Addrs(), "relay": true})
	other := topicIn(shardOf(topic, 8), 8)
	b.subscribe(t, topic)
	a.say(t, 1, other, "for later")
	a.say(t, 2, topic, "for now")
	b.awaitEnvelopes(t, 1)
	b.subscribe(t, topic, other)
	b.awaitEnvelopes(t, 2)
	b.subscribe(t, other)
	b.subscribe(t, other, topic)
	a.say(t, 3, topic, "again")
	b.awaitEnvelopes(t, 3)
	if got := b.got(); got["for now"] != 1 || got["for later"] != 1 || got["again"] != 1 {
		t.Errorf("got %v, want each once", got)
	}
}

func TestNewShardIsAskedFor(t *testing.T) {
	first, second := topicIn(0, 8), topicIn(1, 8)
	a := start(t, nil)
	b := start(t, settings{"peers": a.Addrs()})
	c := start(t, settings{"peers": b.Addrs()})
	b.subscribe(t, first, second)
	c.subscribe(t, first)
	b.awaitPeers(t, 1)
	a.say(t, 1, second, "second shard")
	b.awaitEnvelopes(t, 1)
	a.say(t, 2, first, "first shard")
	c.awaitEnvelopes(t, 1)
	if got := c.got(); got["second shard"] != 0 {
		t.Errorf("got %v, want only the first shard", got)
	}
	c.subscribe(t, first, second)
	c.awaitEnvelopes(t, 2)
}

func TestOtherNetworkIsNotHeard(t *testing.T) {
	a := start(t, settings{"network": "one"})
	stranger := start(t, settings{"network": "two", "peers": a.Addrs()})
	friend := start(t, settings{"network": "one", "peers": a.Addrs()})
	for _, n := range []*node{a, stranger, friend} {
		n.subscribe(t, topic)
	}
	a.say(t, 1, topic, "for one")
	friend.awaitEnvelopes(t, 1)
	a.awaitCount(t, "recents_refused_total", 1) // the stranger has asked
	if n := len(stranger.got()); n != 0 {
		t.Errorf("the stranger got %d envelopes", n)
	}
	if stranger.peers != 0 {
		t.Errorf("the stranger counts %d peers, want 0", stranger.peers)
	}
}

func TestBadEnvelopesAreRefused(t *testing.T) {
	a := start(t, nil)
	change := func(f func(*transport.Envelope)) transport.Envelope {
		e := envelope(1, topic, "x")
		f(&e)
		return e
	}
	for name, c := range map[string]struct {
		e    transport.Envelope
		want transport.Code
	}{
		"too large":      {change(func(e *transport.Envelope) { e.Data = make([]byte, a.info.MaxData+1) }), transport.CodeTooLarge},
		"empty":          {change(func(e *transport.Envelope) { e.Data = nil }), transport.CodeInvalid},
		"expired":        {change(func(e *transport.Envelope) { e.Sent = e.Sent.Add(-time.Hour) }), transport.CodeExpired},
		"from tomorrow":  {change(func(e *transport.Envelope) { e.Sent = e.Sent.Add(24 * time.Hour) }), transport.CodeInvalid},
		"no TTL":         {change(func(e *transport.Envelope) { e.TTL = 0 }), transport.CodeInvalid},
		"TTL too long":   {change(func(e *transport.Envelope) { e.TTL = a.info.MaxTTL + time.Second }), transport.CodeInvalid},
		"half a second":  {change(func(e *transport.Envelope) { e.TTL = 1500 * time.Millisecond }), transport.CodeInvalid},
		"cover traffic":  {change(func(e *transport.Envelope) { e.Privacy = transport.PrivacyCover }), transport.CodeUnsupported},
		"before 1970":    {change(func(e *transport.Envelope) { e.Sent = time.Unix(-5, 0) }), transport.CodeInvalid},
		"the zero times": {change(func(e *transport.Envelope) { e.Sent = time.Time{} }), transport.CodeInvalid},
	} {
		var e *transport.Error
		if err := a.try(c.e); !errors.As(err, &e) || e.Code != c.want {
			t.Errorf("%s: got %v, want code %v", name, err, c.want)
		}
	}
}

func TestLongestEnvelopeArrives(t *testing.T) {
	a := start(t, nil)
	b := start(t, settings{"peers": a.Addrs()})
	b.subscribe(t, topic)
	e := envelope(1, topic, "")
	e.Data = make([]byte, a.info.MaxData)
	e.Data[0], e.Data[len(e.Data)-1] = 1, 2
	if err := a.try(e); err != nil {
		t.Fatal(err)
	}
	b.awaitEnvelopes(t, 1)
	a.awaitReceipt(t, 1, transport.OutcomeRelayed)
	late := start(t, settings{"peers": b.Addrs()}) // and by request
	late.subscribe(t, topic)
	late.awaitEnvelopes(t, 1)
	if got := late.envelopes[0].Data; string(got) != string(e.Data) {
		t.Errorf("got %d bytes, want the same %d", len(got), len(e.Data))
	}
}

func TestSameEnvelopeTwiceTravelsOnce(t *testing.T) {
	a := start(t, nil)
	b := start(t, settings{"peers": a.Addrs()})
	b.subscribe(t, topic)
	e := envelope(1, topic, "twice")
	again := e
	again.ID = 2
	for _, e := range []transport.Envelope{e, again} {
		if err := a.try(e); err != nil {
			t.Fatal(err)
		}
	}
	a.awaitReceipt(t, 1, transport.OutcomeRelayed)
	a.awaitReceipt(t, 2, transport.OutcomeRelayed)
	a.say(t, 3, topic, "after")
	b.awaitEnvelopes(t, 2)
	if got := b.got(); got["twice"] != 1 {
		t.Errorf("got %v, want it once", got)
	}
}

func TestPeersAreListed(t *testing.T) {
	a := start(t, nil)
	b := start(t, settings{"peers": a.Addrs()})
	a.subscribe(t, topic)
	b.awaitPeers(t, 1)
	list, err := b.Peers(context.Background())
	if err != nil || len(list) != 1 || list[0].ID != a.ID() || list[0].Inbound || list[0].Address == "" {
		t.Errorf("got %v, %v; want a, outbound", list, err)
	}
}

func TestStaticPeerIsDialledUntilItIsThere(t *testing.T) {
	dir := t.TempDir()
	a := startIn(t, dir, nil)
	addrs := a.Addrs()
	listen := infos(addrs)[0].Addrs[0].String()
	a.stop(t)
	b := start(t, settings{"peers": addrs})
	b.awaitCount(t, "dial_failures_total", 1)
	b.say(t, 1, topic, "waited for you")
	again := startIn(t, dir, settings{"listen": []string{listen}})
	again.subscribe(t, topic)
	again.awaitEnvelopes(t, 1)
	// And after it has gone once more.
	again.stop(t)
	b.await(t, "no peers", func() bool { return b.peers == 0 })
	b.say(t, 2, topic, "waited again")
	third := startIn(t, dir, settings{"listen": []string{listen}})
	third.subscribe(t, topic)
	third.awaitEnvelopes(t, 2)
}
