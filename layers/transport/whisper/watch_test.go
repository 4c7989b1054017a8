package whisper

import (
	"bytes"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

// acks returns how many packets a step acknowledges to a peer.
func acks(out output, to overlay.PeerID) (count int) {
	for _, c := range out.Down {
		if s, ok := c.(overlay.Send); ok && s.Peer == to {
			for _, p := range s.Packets {
				if p.Code == codeAcknowledged {
					count++
				}
			}
		}
	}
	return count
}

func TestWatcherHearsOfEveryEnvelopeOnceAndOfThePoolAtOnce(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	a, b, c := sealed(t0, 15, chat, "a"), sealed(t0, 15, other, "b"), sealed(t0, 15, chat, "c")
	if got := ups[transport.Admitted](below(t, n, t0, arrival(t, alice, a))); got != nil {
		t.Errorf("reported %v before anybody watched", got)
	}
	first := ups[transport.Admitted](above(t, n, t0, transport.Watch{}))
	if len(first) != 1 || len(first[0].Envelopes) != 1 || !bytes.Equal(first[0].Envelopes[0].Raw, a) {
		t.Fatalf("at Watch: %v, want what is pooled", first)
	}
	next := ups[transport.Admitted](below(t, n, t0, arrival(t, alice, a, b, c)))
	if len(next) != 1 || len(next[0].Envelopes) != 2 || next[0].Mark <= first[0].Mark {
		t.Fatalf("next: %v, want one event of two with a greater mark", next)
	}
	for i, raw := range [][]byte{b, c} {
		e, d := next[0].Envelopes[i], decoded(t, raw)
		if !bytes.Equal(e.Raw, raw) || e.Hash != d.Hash || e.Topic != d.Topic || !bytes.Equal(e.Data, d.Data) ||
			e.PoW != d.PoW(0) || !e.Sent.Equal(t0) || e.TTL != 15*time.Second {
			t.Errorf("envelope %d: %+v", i, e)
		}
	}
	own := ups[transport.Admitted](above(t, n, t0, publish))
	if len(own) != 1 || own[0].Mark <= next[0].Mark || own[0].Envelopes[0].PoW < statusPoW {
		t.Errorf("published: %v, want it reported", own)
	}
}

func decoded(t testing.TB, raw []byte) Envelope {
	t.Helper()
	e, err := DecodeEnvelope(raw)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestReceivedHasNothingOfWhatOnlyWatchersGet(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	above(t, n, t0, transport.Subscribe{All: true})
	above(t, n, t0, transport.Watch{})
	got := ups[transport.Received](below(t, n, t0, arrival(t, alice, sealed(t0, 15, chat, "a"))))
	if e := got[0].Envelopes[0]; e.Raw != nil || e.PoW != 0 || string(e.Data) != "a" {
		t.Errorf("received %+v", e)
	}
}

func TestMarksGrowOverRestarts(t *testing.T) {
	var last uint64
	for i := range 3 {
		now := t0.Add(time.Duration(i) * time.Millisecond)
		n := New(DefaultConfig())
		n.Wake(now)
		connect(t, n, now, alice)
		above(t, n, now, transport.Watch{Keeps: true})
		for _, data := range []string{"a", "b", "c"} {
			got := ups[transport.Admitted](below(t, n, now, arrival(t, alice, sealed(t0, 15, chat, data))))
			if got[0].Mark <= last {
				t.Errorf("life %d: mark %d after %d", i, got[0].Mark, last)
			}
			last = got[0].Mark
		}
	}
}

func TestConfirmationWaitsUntilAllOfThePacketIsKept(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	connect(t, n, t0, bob)
	above(t, n, t0, transport.Watch{Keeps: true})
	a, b := sealed(t0, 60, chat, "a"), sealed(t0, 60, chat, "b")
	bad := EncodeEnvelope(Envelope{Expiry: uint32(t0.Unix()) + 10, Topic: chat})
	out := below(t, n, t0, arrival(t, alice, a, bad))
	markA := ups[transport.Admitted](out)[0].Mark
	if sent := sends(out)[alice]; sent[codeAcknowledged] != nil || sent[codeResponse] != nil {
		t.Fatal("confirmed before it was kept")
	}
	below(t, n, t0, overlay.Written{Peer: bob})
	out = below(t, n, t0, arrival(t, bob, a, b)) // a is a duplicate that is not kept yet either
	markB := ups[transport.Admitted](out)[0].Mark
	below(t, n, t0, overlay.Written{Peer: alice})

	if out = above(t, n, t0, transport.Kept{Mark: markA - 1}); len(out.Down) != 0 {
		t.Errorf("kept nothing of it: %v", out.Down)
	}
	out = above(t, n, t0, transport.Kept{Mark: markA})
	if sent := sends(out)[alice]; sent[codeAcknowledged] == nil || sent[codeResponse] == nil {
		t.Errorf("kept: %v, want both confirmations to alice", out.Down)
	}
	if acks(out, bob) != 0 {
		t.Error("half of bob's packet is confirmed as the whole")
	}
	below(t, n, t0, overlay.Written{Peer: alice})
	if out = above(t, n, t0, transport.Kept{Mark: markB}); acks(out, bob) != 1 {
		t.Errorf("kept: %v, want bob's packet confirmed", out.Down)
	}
	below(t, n, t0, overlay.Written{Peer: bob})
	if out = below(t, n, t0, arrival(t, bob, a, b)); acks(out, bob) != 1 {
		t.Errorf("duplicates of what is kept: %v, want them confirmed at once", out.Down)
	}
}

func TestArchiveThatIsToComeIsWaitedForFromTheBeginning(t *testing.T) {
	n := NewWith(DefaultConfig(), Tools{Archive: true})
	n.Wake(t0)
	connect(t, n, t0, alice)
	if out := below(t, n, t0, arrival(t, alice, sealed(t0, 60, chat, "a"))); acks(out, alice) != 0 {
		t.Error("confirmed although nobody has kept it")
	}
	got := ups[transport.Admitted](above(t, n, t0, transport.Watch{Keeps: true}))
	if len(got) != 1 {
		t.Fatalf("reported %v", got)
	}
	if out := above(t, n, t0, transport.Kept{Mark: got[0].Mark}); acks(out, alice) != 1 {
		t.Errorf("kept: %v, want it confirmed", out.Down)
	}
}

func TestRestartedKeeperHearsAgainOfWhatItHasNotKept(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	above(t, n, t0, transport.Watch{Keeps: true})
	var marks []uint64
	for i, ttl := range []uint32{60, 10, 60, 60} {
		out := below(t, n, t0, arrival(t, alice, sealed(t0, ttl, chat, string(rune('a'+i)))))
		marks = append(marks, ups[transport.Admitted](out)[0].Mark)
	}
	if out := above(t, n, t0, transport.Kept{Mark: marks[0]}); acks(out, alice) != 1 {
		t.Fatalf("kept the first: %v", out.Down)
	}
	below(t, n, t0, overlay.Written{Peer: alice})

	// The second has expired when the keeper comes back: nobody can keep it, and
	// so its confirmation never goes out.
	later := t0.Add(20 * time.Second)
	got := ups[transport.Admitted](above(t, n, later, transport.Watch{Keeps: true}))
	if len(got) != 1 || len(got[0].Envelopes) != 2 || string(got[0].Envelopes[0].Data) != "c" {
		t.Fatalf("reported %v, want the last two", got)
	}
	// The keeper may have read an old event in its new life, and answers it.
	if out := above(t, n, later, transport.Kept{Mark: marks[3]}); acks(out, alice) != 0 {
		t.Error("an answer of before the restart counts for what it does not know of")
	}
	if out := above(t, n, later, transport.Kept{Mark: got[0].Mark}); acks(out, alice) != 2 {
		t.Errorf("kept: %v, want two packets confirmed", out.Down)
	}
	// Others may watch too; the keeper's business is not touched by that.
	if got := ups[transport.Admitted](above(t, n, later, transport.Watch{})); len(got) != 1 || len(got[0].Envelopes) != 3 {
		t.Errorf("another watcher hears %v, want all that is pooled", got)
	}
}

func TestEvictedEnvelopeIsConfirmedOnceItIsKept(t *testing.T) {
	n := opened(t, func(c *Config) {
		c.PoolBytes, c.MaxMessageSize, c.BundleBytes = 1<<20, 1<<18, 1<<18
		c.PoW, c.MinPoW = 0, 0
	})
	connect(t, n, t0, alice)
	above(t, n, t0, transport.Watch{Keeps: true})
	var mark uint64
	for i := range 200 {
		e := Envelope{Expiry: uint32(t0.Unix()) + 3600, TTL: 3600, Data: append(make([]byte, 1<<14), byte(i)), Nonce: uint64(i)}
		out := below(t, n, t0, arrival(t, alice, EncodeEnvelope(e)))
		for _, a := range ups[transport.Admitted](out) {
			mark = a.Mark
		}
		below(t, n, t0, overlay.Written{Peer: alice})
	}
	if n.pool.len() > 70 {
		t.Fatalf("%d pooled: nothing was evicted", n.pool.len())
	}
	waiting := len(n.peers[alice].held.list)
	if out := above(t, n, t0, transport.Kept{Mark: mark}); acks(out, alice) != waiting || waiting < 100 {
		t.Errorf("%d confirmed of %d", acks(out, alice), waiting)
	}
	if h := n.peers[alice].held; h.bytes != 0 || len(h.list) != 0 {
		t.Errorf("%d bytes counted for %d that wait", h.bytes, len(h.list))
	}
}

func TestConfirmationsThatWaitForTheKeeperAreBounded(t *testing.T) {
	n := opened(t, func(c *Config) { c.MinPoW, c.PoW = 0, 0 })
	connect(t, n, t0, alice)
	above(t, n, t0, transport.Watch{Keeps: true})
	for i := range 12_000 {
		e := Envelope{Expiry: uint32(t0.Unix()) + 60, TTL: 60, Topic: chat, Nonce: uint64(i)}
		below(t, n, t0, arrival(t, alice, EncodeEnvelope(e)))
	}
	h := n.peers[alice].held
	total := 0
	for _, x := range h.list {
		total += x.cost()
	}
	if total != h.bytes || total > maxConfirmations || total < maxConfirmations/2 {
		t.Errorf("%d bytes wait (counted %d), at most %d may", total, h.bytes, maxConfirmations)
	}
	if got := state(t, n).Limited["confirmations"]; got != uint64(12_000-len(h.list)) {
		t.Errorf("%d counted as dropped, want %d", got, 12_000-len(h.list))
	}
	if out := above(t, n, t0, transport.Kept{Mark: n.watch.base + n.pool.next}); acks(out, alice) != len(h.list) {
		t.Errorf("%d confirmed, want %d", acks(out, alice), len(h.list))
	}
}

func TestKeptOfWhatWasNeverReportedIsCutToWhatWas(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	above(t, n, t0, transport.Watch{Keeps: true})
	above(t, n, t0, transport.Kept{Mark: 1 << 63})
	if out := below(t, n, t0, arrival(t, alice, sealed(t0, 60, chat, "a"))); acks(out, alice) != 0 {
		t.Error("confirmed although it was reported after Kept")
	}
}

func TestWatchedTopicsArePartOfAClientsInterest(t *testing.T) {
	n := opened(t, func(c *Config) { c.Interest = Subscribed })
	connect(t, n, t0, alice, confirming())
	var b Bloom
	b.Add(chat)
	out := above(t, n, t0, transport.Watch{Topics: []transport.Topic{chat}})
	if got := sends(out)[alice][codeBloomFilter]; !bytes.Equal(got, encodeBloom(b).Payload) {
		t.Errorf("bloom filter %x, want that of the topic", got)
	}
	below(t, n, t0, overlay.Written{Peer: alice})
	b.Add(other)
	out = above(t, n, t0, transport.Subscribe{Topics: []transport.Topic{other}})
	if got := sends(out)[alice][codeBloomFilter]; !bytes.Equal(got, encodeBloom(b).Payload) {
		t.Errorf("bloom filter %x, want that of both", got)
	}
	below(t, n, t0, overlay.Written{Peer: alice})
	if out = above(t, n, t0, transport.Watch{}); len(out.Down) != 0 {
		t.Errorf("the interest has shrunk: %v", out.Down)
	}
	if got := ups[transport.Received](below(t, n, t0, arrival(t, alice, sealed(t0, 15, chat, "x")))); got != nil {
		t.Errorf("reported to the stack, which has not asked for it: %v", got)
	}
	if out = connect(t, n, t0, bob); sends(out)[bob][codeBloomFilter] == nil {
		t.Error("a link with an older greeting is not told")
	}
}

func state(t testing.TB, n *Node) transport.State {
	t.Helper()
	got := ups[transport.Described](above(t, n, t0, transport.Describe{Ref: layers.Ref{7}}))
	if len(got) != 1 || got[0].Ref != (layers.Ref{7}) {
		t.Fatalf("answer to Describe: %v", got)
	}
	return got[0].State
}
