package libp2p

import (
	"fmt"
	"testing"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// clock is a pool with a time of its own.
type clock struct {
	*pool
	at time.Time
}

func newClock(limit poolLimits) *clock {
	c := &clock{at: time.Unix(1_600_000_000, 0)}
	c.pool = newPool(func() time.Time { return c.at }, limit, &counters{})
	return c
}

func (c *clock) arrive(text string, ttl time.Duration) verdict {
	e := transport.Envelope{Topic: topic, Data: []byte(text), Sent: c.at, TTL: ttl}
	wire := plain{}.encode(e)
	got, err := plain{}.decode(wire)
	if err != nil {
		panic(err)
	}
	return c.admit(got, wire, idOf(wire), 0, true)
}

func (c *clock) texts() []string {
	var list []string
	for {
		r, ok := c.report()
		if !ok {
			return list
		}
		for _, e := range r.Envelopes {
			list = append(list, string(e.Data))
		}
	}
}

var roomy = poolLimits{recent: 1 << 20, own: 8, ownBytes: 1 << 20}

func TestPoolForgetsTheOldestFirst(t *testing.T) {
	c := newClock(poolLimits{recent: 10 * (entryCost + headerSize + 5), own: 8, ownBytes: 1 << 20})
	for i := range 25 {
		c.arrive(fmt.Sprintf("no %02d", i), time.Hour)
		c.at = c.at.Add(time.Second)
	}
	list := c.recent([]bool{true}, time.Time{}, 100)
	if len(list) != 10 || string(list[0].wire[headerSize:]) != "no 15" {
		t.Errorf("kept %d from %q, want 10 from no 15", len(list), list[0].wire[headerSize:])
	}
	if n := c.count.recentEvicted.Load(); n != 15 {
		t.Errorf("evicted: got %d, want 15", n)
	}
	c.at = c.at.Add(-25 * time.Second)
	if got := c.arrive("no 00", time.Hour); got != replay {
		t.Errorf("one that is no longer kept: got %v, want replay", got)
	}
}

func TestPoolForgetsWhatHasExpired(t *testing.T) {
	c := newClock(roomy)
	c.want(transport.Filter{All: true})
	c.arrive("short", 10*time.Second)
	c.arrive("long", time.Hour)
	c.at = c.at.Add(10 * time.Second)
	if got := c.recent([]bool{true}, time.Time{}, 100); len(got) != 1 {
		t.Errorf("offered %d, want only the long one, before expire was called", len(got))
	}
	c.expire()
	if n, bytes, _ := c.size(); n != 1 || bytes != headerSize+4+entryCost || len(c.byID) != 1 {
		t.Errorf("left: %d of %d bytes, %d known; want the long one", n, bytes, len(c.byID))
	}
}

func TestPoolIsEmptyWhenEverythingHasExpired(t *testing.T) {
	c := newClock(roomy)
	for i := range 1000 {
		c.arrive(fmt.Sprint(i), time.Duration(1+i%50)*time.Second)
		if i%3 == 0 {
			e := transport.Envelope{ID: uint64(i), Topic: topic, Data: fmt.Append(nil, "own", i), Sent: c.at, TTL: 30 * time.Second}
			if err := c.take(e, plain{}.encode(e), 0); err != nil && len(c.outbox[0]) < roomy.own {
				t.Fatal(err)
			}
			if e, _ := c.next([]bool{true}); e != nil {
				c.relayed(e)
			}
		}
	}
	c.at = c.at.Add(time.Minute)
	c.expire()
	if n, bytes, own := c.size(); n != 0 || bytes != 0 || own != 0 || c.ownBytes != 0 || len(c.flight) != 0 || len(c.byID) != 0 {
		t.Errorf("left: %d of %d bytes, own %d of %d bytes, %d in flight, %d known; want nothing",
			n, bytes, own, c.ownBytes, len(c.flight), len(c.byID))
	}
	if len(c.kept.items) > 64 || len(c.known.items) > 64 {
		t.Errorf("queues hold %d and %d dead entries", len(c.kept.items), len(c.known.items))
	}
}

func TestFullInboxIsMadeUpForLater(t *testing.T) {
	c := newClock(poolLimits{recent: 64 << 20, own: 8, ownBytes: 1})
	c.want(transport.Filter{All: true})
	const many = maxInbox + 500
	for i := range many {
		c.arrive(fmt.Sprint(i), time.Hour)
	}
	if n := c.count.inboxFull.Load(); n != 500 {
		t.Errorf("found no room: got %d, want 500", n)
	}
	seen := map[string]int{}
	for _, text := range c.texts() {
		seen[text]++
	}
	for text, n := range seen {
		if n != 1 {
			t.Errorf("%q came %d times", text, n)
		}
	}
	if len(seen) != many {
		t.Errorf("got %d, want %d", len(seen), many)
	}
}

func TestReplayIsNotForwardedAgain(t *testing.T) {
	c := newClock(roomy)
	if got := c.arrive("x", time.Hour); got != fresh {
		t.Errorf("first: got %v, want fresh", got)
	}
	if got := c.arrive("x", time.Hour); got != replay {
		t.Errorf("second: got %v, want replay", got)
	}
	e := transport.Envelope{Topic: topic, Data: []byte("fetched"), Sent: c.at, TTL: time.Hour}
	wire := plain{}.encode(e)
	c.admit(e, wire, idOf(wire), 0, false)
	if got := c.arrive("fetched", time.Hour); got != spread {
		t.Errorf("fetched, then by gossip: got %v, want spread", got)
	}
	if got := c.arrive("fetched", time.Hour); got != replay {
		t.Errorf("once more: got %v, want replay", got)
	}
}

func TestReceiptsAreOneEach(t *testing.T) {
	c := newClock(roomy)
	for i := range 3 {
		e := transport.Envelope{ID: uint64(i), Topic: topic, Data: fmt.Append(nil, i), Sent: c.at, TTL: 10 * time.Second}
		if err := c.take(e, plain{}.encode(e), 0); err != nil {
			t.Fatal(err)
		}
	}
	first, wire := c.next([]bool{true})
	if got := c.flying([][]byte{wire}); len(got) != 1 || got[0] != first {
		t.Errorf("flying: got %v, want the first", got)
	}
	second, _ := c.next([]bool{true})
	c.relayed(first, first)
	c.failed(second, "for a reason")
	c.at = c.at.Add(10 * time.Second)
	c.expire()
	c.relayed(first, second)
	r, _ := c.report()
	want := []transport.Receipt{
		{ID: 0, Outcome: transport.OutcomeRelayed},
		{ID: 1, Outcome: transport.OutcomeFailed, Reason: "for a reason"},
		{ID: 2, Outcome: transport.OutcomeExpired},
	}
	if fmt.Sprint(r.Receipts) != fmt.Sprint(want) {
		t.Errorf("receipts: got %v, want %v", r.Receipts, want)
	}
}

func BenchmarkAdmit(b *testing.B) {
	c := newClock(poolLimits{recent: 16 << 20, own: 8, ownBytes: 1})
	data := make([]byte, 1024)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		copy(data, fmt.Sprint(i))
		e := transport.Envelope{Topic: topic, Data: data, Sent: c.at, TTL: time.Hour}
		wire := plain{}.encode(e)
		got, err := plain{}.decode(wire)
		if err != nil {
			b.Fatal(err)
		}
		c.admit(got, wire, idOf(wire), 0, true)
	}
}
