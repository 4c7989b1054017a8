package whisper

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

var publish = transport.Publish{Ref: layers.Ref{1}, Topic: chat, Data: []byte("hello")}

// finals returns the final events about a Ref.
func finals(out output, ref layers.Ref) (list []transport.Event) {
	for _, e := range out.Up {
		switch e := e.(type) {
		case transport.Relayed:
			if e.Ref == ref {
				list = append(list, e)
			}
		case transport.Expired:
			if e.Ref == ref {
				list = append(list, e)
			}
		case transport.Refused:
			if e.Ref == ref {
				list = append(list, e)
			}
		}
	}
	return list
}

func TestPublishedEnvelopeIsWhatPeersTake(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	above(t, n, t0, transport.Subscribe{Topics: []transport.Topic{chat}})
	out := above(t, n, t0, publish)
	accepted := ups[transport.Accepted](out)
	if len(accepted) != 1 || len(finals(out, publish.Ref)) != 0 {
		t.Fatalf("answer %v, want Accepted alone", out.Up)
	}
	if len(ups[transport.Received](out)) != 0 {
		t.Error("the own envelope is reported as received")
	}
	envelopes, err := parseMessages(sends(out)[alice][codeMessages])
	if err != nil || len(envelopes) != 1 {
		t.Fatalf("sent %d envelopes, %v", len(envelopes), err)
	}
	e := envelopes[0]
	if e.Topic != chat || string(e.Data) != "hello" || e.TTL != 15 || e.Expiry != uint32(t0.Unix())+15 {
		t.Errorf("envelope %+v", e)
	}
	if hashOf(e.raw) != accepted[0].Hash || e.PoW(0) < 0.002 {
		t.Errorf("hash %s, PoW %v", hashOf(e.raw), e.PoW(0))
	}
}

func TestRelayedIsReportedOnceAPeerHasTheEnvelope(t *testing.T) {
	var (
		raw   []byte
		batch transport.Hash
	)
	refusal := func() []Refusal { return []Refusal{{hashOf(raw), 36, "envelope from future"}} }
	tests := []struct {
		name  string
		peer  Status
		event func(t *testing.T) overlay.Event
		want  bool
	}{
		{"batch acknowledged", confirming(), func(t *testing.T) overlay.Event {
			return incoming(t, alice, codeAcknowledged, encodeAcknowledged(batch).Payload)
		}, true},
		{"response without errors", confirming(), func(t *testing.T) overlay.Event {
			return incoming(t, alice, codeResponse, encodeResponse(batch, nil).Payload)
		}, true},
		{"response with an error", confirming(), func(t *testing.T) overlay.Event {
			return incoming(t, alice, codeResponse, encodeResponse(batch, refusal()).Payload)
		}, false},
		{"another batch acknowledged", confirming(), func(t *testing.T) overlay.Event {
			return incoming(t, alice, codeAcknowledged, encodeAcknowledged(transport.Hash{9}).Payload)
		}, false},
		{"acknowledged by another", confirming(), func(t *testing.T) overlay.Event {
			return incoming(t, bob, codeAcknowledged, encodeAcknowledged(batch).Payload)
		}, false},
		{"written to a peer that confirms", confirming(), func(*testing.T) overlay.Event { return overlay.Written{Peer: alice} }, false},
		{"written to a peer that does not", Status{Bloom: FullBloom()}, func(*testing.T) overlay.Event { return overlay.Written{Peer: alice} }, true},
		{"came back", confirming(), func(t *testing.T) overlay.Event { return arrival(t, bob, raw) }, true},
		{"link ended", confirming(), func(*testing.T) overlay.Event { return overlay.Disconnected{Peer: alice} }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := opened(t, nil)
			connect(t, n, t0, alice, tt.peer)
			connect(t, n, t0, bob, Status{})
			payload := sends(above(t, n, t0, publish))[alice][codeMessages]
			envelopes, err := parseMessages(payload)
			if err != nil {
				t.Fatal(err)
			}
			raw, batch = bytes.Clone(envelopes[0].raw), hashOf(payload)

			out := below(t, n, t0, tt.event(t))
			want := transport.Relayed{Ref: publish.Ref, Hash: hashOf(raw)}
			got := finals(out, publish.Ref)
			if tt.want && (len(got) != 1 || got[0] != want) || !tt.want && got != nil {
				t.Errorf("final events %v, want Relayed: %v", got, tt.want)
			}
			if got := finals(below(t, n, t0, tt.event(t)), publish.Ref); got != nil {
				t.Errorf("a second final event: %v", got)
			}
			out = n.Wake(t0.Add(16 * time.Second))
			if got := finals(out, publish.Ref); tt.want && got != nil || !tt.want && (len(got) != 1 || got[0] != transport.Expired{Ref: publish.Ref}) {
				t.Errorf("final events at expiry %v", got)
			}
			if len(n.refs)+len(n.own) != 0 {
				t.Error("the publication is remembered after its expiry")
			}
		})
	}
}

func TestOneRefusalDoesNotHideThatTheOthersAreRelayed(t *testing.T) {
	n := opened(t, nil)
	a := transport.Publish{Ref: layers.Ref{1}, Topic: chat, Data: []byte("a")}
	b := transport.Publish{Ref: layers.Ref{2}, Topic: chat, Data: []byte("b")}
	hash := ups[transport.Accepted](above(t, n, t0, a))[0].Hash
	above(t, n, t0, b)
	payload := sends(connect(t, n, t0, alice))[alice][codeMessages]
	response := encodeResponse(hashOf(payload), []Refusal{{hash, 37, "no"}})
	out := below(t, n, t0, incoming(t, alice, codeResponse, response.Payload))
	if finals(out, a.Ref) != nil || len(finals(out, b.Ref)) != 1 {
		t.Errorf("final events %v, want Relayed for the second alone", out.Up)
	}
}

func TestRepeatedPublishIsTheSameCommand(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	payload := sends(above(t, n, t0, publish))[alice][codeMessages]
	if out := above(t, n, t0.Add(time.Second), publish); len(out.Up)+len(out.Down) != 0 {
		t.Errorf("unanswered: %+v, want nothing", out)
	}
	below(t, n, t0, incoming(t, alice, codeAcknowledged, encodeAcknowledged(hashOf(payload)).Payload))
	out := above(t, n, t0.Add(2*time.Second), publish)
	if got := finals(out, publish.Ref); len(got) != 1 || n.pool.len() != 1 {
		t.Errorf("answered: %v and a pool of %d, want Relayed and 1", got, n.pool.len())
	}
	out = above(t, n, t0.Add(17*time.Second), publish)
	if got := ups[transport.Accepted](out); len(got) != 1 {
		t.Errorf("expired: %v, want a new envelope", out.Up)
	}
}

func TestSameEnvelopeUnderTwoRefsAnswersBoth(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice, Status{Bloom: FullBloom()})
	second := publish
	second.Ref = layers.Ref{2}
	above(t, n, t0, publish)
	above(t, n, t0, second)
	out := below(t, n, t0, overlay.Written{Peer: alice})
	if len(finals(out, publish.Ref)) != 1 || len(finals(out, second.Ref)) != 1 {
		t.Errorf("final events %v, want two", out.Up)
	}
	third := publish
	third.Ref = layers.Ref{3}
	if out := above(t, n, t0, third); len(finals(out, third.Ref)) != 1 {
		t.Errorf("what is relayed already: %v", out.Up)
	}
	if n.pool.len() != 1 {
		t.Errorf("pool of %d, want 1", n.pool.len())
	}
}

func TestPeersEnvelopePublishedAgainIsRelayed(t *testing.T) {
	n := opened(t, nil)
	hash := ups[transport.Accepted](above(t, n, t0, publish))[0].Hash
	raw := n.pool.raw(n.pool.byHash(hash))

	restarted := opened(t, nil)
	connect(t, restarted, t0, alice)
	below(t, restarted, t0, arrival(t, alice, raw))
	out := above(t, restarted, t0, publish)
	if len(ups[transport.Accepted](out)) != 1 || len(finals(out, publish.Ref)) != 1 {
		t.Errorf("answer %v, want Accepted and Relayed", out.Up)
	}
	if restarted.Wake(t0.Add(time.Minute)); len(restarted.refs)+len(restarted.own) != 0 || restarted.pool.owned != 0 {
		t.Error("the publication is remembered after its expiry")
	}
}

func TestTTLIsClamped(t *testing.T) {
	tests := []struct {
		ttl  time.Duration
		want uint32
	}{
		{0, 15}, {time.Nanosecond, 10}, {-time.Hour, 10}, {10 * time.Second, 10}, {10*time.Second + 1, 11},
		{time.Minute, 60}, {time.Hour, 60}, {1 << 62, 60},
	}
	for _, tt := range tests {
		n := opened(t, func(c *Config) { c.MaxTTL = time.Minute })
		above(t, n, t0, transport.Publish{Ref: layers.Ref{1}, TTL: tt.ttl})
		if got := n.pool.log[0].expiry - uint32(t0.Unix()); got != tt.want {
			t.Errorf("TTL %v becomes %d s, want %d", tt.ttl, got, tt.want)
		}
	}
}

func TestLongestDataFitsAPacketAndLongerIsRefused(t *testing.T) {
	n := opened(t, func(c *Config) { c.PoW, c.MinPoW = 0, 0 })
	connect(t, n, t0, alice)
	long := transport.Publish{Ref: layers.Ref{1}, Topic: chat, Data: make([]byte, n.ready().Info.MaxData), TTL: 48 * time.Hour}
	payload := sends(above(t, n, t0, long))[alice][codeMessages]
	if len(payload) <= n.maxData() || len(payload) > n.cfg.MaxMessageSize {
		t.Errorf("packet of %d bytes, want at most %d", len(payload), n.cfg.MaxMessageSize)
	}
	long.Ref, long.Data = layers.Ref{2}, append(long.Data, 0)
	out := above(t, n, t0, long)
	if got := finals(out, long.Ref); len(got) != 1 || !strings.Contains(got[0].(transport.Refused).Reason, "longer than") {
		t.Errorf("answer %v, want Refused", out.Up)
	}
}

func TestCostlyMiningGoesOnInWakesAndOthersAreNotKept(t *testing.T) {
	n := opened(t, func(c *Config) { c.PoWTime = time.Hour })
	costly := transport.Publish{Ref: layers.Ref{1}, Topic: chat, Data: make([]byte, 8<<10), TTL: 20 * time.Hour}
	if zeros := n.newWork(t0, costly).zeros; zeros < 19 {
		t.Fatalf("%d bits are not costly", zeros)
	}
	out := above(t, n, t0, costly)
	if !out.Wake.Equal(t0) {
		t.Fatalf("wake at %v, want at once", out.Wake)
	}
	if out := above(t, n, t0, publishAs(2)); len(ups[transport.Accepted](out)) != 1 {
		t.Errorf("a cheap one in between: %v", out.Up)
	}
	if out := above(t, n, t0, costly); len(out.Up) != 0 || len(n.mining) != 1 {
		t.Errorf("repeated while it is mined: %v, %d at work", out.Up, len(n.mining))
	}
	wakes := 0
	for len(n.mining) > 0 {
		if wakes++; wakes > 1<<12 {
			t.Fatal("no nonce found")
		}
		out = n.Wake(t0)
	}
	if len(ups[transport.Accepted](out)) != 1 || wakes < 2 {
		t.Errorf("after %d wakes: %v", wakes, out.Up)
	}
}

func publishAs(ref byte) transport.Publish {
	return transport.Publish{Ref: layers.Ref{ref}, Topic: chat, Data: []byte{ref}}
}

func TestMiningIsGivenUpAfterPoWTime(t *testing.T) {
	n := opened(t, nil)
	hopeless := transport.Publish{Ref: layers.Ref{1}, Topic: chat, Data: make([]byte, 1<<19), TTL: 48 * time.Hour}
	above(t, n, t0, hopeless)
	n.mining[0].work.zeros = 200 // not even by chance
	if out := n.Wake(t0.Add(4 * time.Second)); len(out.Up) != 0 {
		t.Fatalf("after 4 s: %v", out.Up)
	}
	out := n.Wake(t0.Add(5 * time.Second))
	if got := finals(out, hopeless.Ref); len(got) != 1 || !strings.Contains(got[0].(transport.Refused).Reason, "pow_time") {
		t.Errorf("after 5 s: %v, want Refused", out.Up)
	}
	if len(n.mining)+len(n.refs) != 0 || !out.Wake.IsZero() {
		t.Error("something of it is left")
	}
}

func TestOwnEnvelopesGetHalfThePoolAndAreNotEvicted(t *testing.T) {
	n := opened(t, func(c *Config) {
		c.PoolBytes, c.MaxMessageSize, c.BundleBytes = 1<<20, 1<<18, 1<<18
		c.PoW, c.MinPoW = 0, 0
	})
	connect(t, n, t0, alice, Status{})
	accepted, refused := 0, 0
	for i := range 8 {
		p := publishAs(byte(i))
		p.Data = append(make([]byte, 100_000), byte(i))
		out := above(t, n, t0, p)
		accepted += len(ups[transport.Accepted](out))
		refused += len(ups[transport.Refused](out))
	}
	if accepted != 5 || refused != 3 {
		t.Errorf("%d accepted, %d refused, want 5 and 3", accepted, refused)
	}
	for i := range 10 {
		below(t, n, t0, arrival(t, alice, mined(0.0001, uint32(t0.Unix())+10, 10, chat, append(make([]byte, 100_000), byte(i)))))
	}
	own := 0
	for _, x := range n.pool.lookup.first {
		if x.own() {
			own++
		}
	}
	if own != 5 || n.pool.bytes > n.cfg.PoolBytes {
		t.Errorf("%d own envelopes in %d bytes, want 5 in at most %d", own, n.pool.bytes, n.cfg.PoolBytes)
	}
}
