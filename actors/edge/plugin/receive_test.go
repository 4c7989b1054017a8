package plugin

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/transport"
)

// envelope is a good one of topicA, as the transport delivers it.
func envelope(n int) transport.Envelope {
	return transport.Envelope{
		Topic: transport.Topic(topicA), Data: []byte(fmt.Sprintf("in %d", n)),
		Sent: time.Now().Truncate(time.Second), TTL: 30 * time.Second,
	}
}

// deliver has the transport report envelopes.
func (r *rig) deliver(es ...transport.Envelope) {
	r.fake.reports <- transport.Report{Envelopes: es}
	synctest.Wait()
}

// received returns the data of what went up.
func (r *rig) received() (data []string) {
	r.t.Helper()
	synctest.Wait()
	for _, e := range r.sink.take() {
		in, ok := e.(slot.Received)
		if !ok {
			continue
		}
		for _, x := range in.Envelopes {
			if x.Hash != hashOf(x.Topic, x.Data) {
				r.t.Errorf("%q has hash %v", x.Data, x.Hash)
			}
			data = append(data, string(x.Data))
		}
	}
	return data
}

func (r *rig) subscribe(topics ...slot.Topic) {
	r.edge.FromAbove(slot.Subscribe{Topics: topics})
	synctest.Wait()
}

func TestOnlyGoodEnvelopesGoUp(t *testing.T) {
	for _, c := range []struct {
		why  drop // drops: none
		make func(*transport.Envelope)
	}{
		{drops, func(*transport.Envelope) {}},
		{dropForeign, func(e *transport.Envelope) { e.Topic = transport.Topic(topicB) }},
		{dropSize, func(e *transport.Envelope) { e.Data = nil }},
		{dropSize, func(e *transport.Envelope) { e.Data = make([]byte, fine.MaxData+1) }},
		{drops, func(e *transport.Envelope) { e.Data = make([]byte, fine.MaxData) }},
		{dropTTL, func(e *transport.Envelope) { e.TTL = 0 }},
		{dropTTL, func(e *transport.Envelope) { e.TTL = -time.Hour }},
		{dropTTL, func(e *transport.Envelope) { e.TTL = fine.MaxTTL + time.Second }},
		{dropTTL, func(e *transport.Envelope) { e.TTL = math.MaxInt64 }},
		{dropExpired, func(e *transport.Envelope) { e.Sent = e.Sent.Add(-51 * time.Second) }},
		{drops, func(e *transport.Envelope) { e.Sent = e.Sent.Add(-49 * time.Second) }},
		{dropExpired, func(e *transport.Envelope) { e.Sent = time.Time{} }},
		{dropExpired, func(e *transport.Envelope) { e.Sent = time.Unix(math.MinInt64, 0) }},
		{dropFuture, func(e *transport.Envelope) { e.Sent = e.Sent.Add(21 * time.Second) }},
		{drops, func(e *transport.Envelope) { e.Sent = e.Sent.Add(20 * time.Second) }},
		{dropFuture, func(e *transport.Envelope) { e.Sent = time.Unix(1<<55, 0) }},
	} {
		run(t, nil, func(t *testing.T, r *rig) {
			r.subscribe(topicA)
			e := envelope(1)
			c.make(&e)
			r.deliver(e)
			want, name := 1, "none"
			if c.why != drops {
				want, name = 0, dropNames[c.why]
			}
			if got := len(r.received()); got != want {
				t.Errorf("%s: %d went up, want %d", name, got, want)
			}
			for reason, n := range r.home.Describe().Counts.Dropped {
				if (n == 1) != (reason == name) || n > 1 {
					t.Errorf("%s: counted %d as %s", name, n, reason)
				}
			}
		})
	}
}

func TestNothingGoesUpBeforeTheFirstSubscribe(t *testing.T) {
	run(t, nil, func(t *testing.T, r *rig) {
		r.deliver(envelope(1))
		if got := r.received(); len(got) != 0 {
			t.Errorf("got %q", got)
		}
	})
}

func TestAllMeansEveryTopic(t *testing.T) {
	run(t, nil, func(t *testing.T, r *rig) {
		r.edge.FromAbove(slot.Subscribe{All: true})
		e := envelope(1)
		e.Topic = transport.Topic(topicB)
		r.deliver(envelope(1), e)
		if got := len(r.received()); got != 2 {
			t.Errorf("%d went up, want 2", got)
		}
		if f := r.fake.filters; len(f) != 1 || !f[0].All || len(f[0].Topics) != 0 {
			t.Errorf("the transport was asked for %v", f)
		}
	})
}

func TestReplaysAndOwnEnvelopesAreDroppedAlsoInTheNextLife(t *testing.T) {
	run(t, nil, func(t *testing.T, r *rig) {
		r.subscribe(topicA)
		r.publish(1, time.Minute)
		synctest.Wait()
		own := r.fake.asked()[0][0]
		for life := range 2 {
			r.deliver(envelope(1), envelope(1), own)
			r.deliver(envelope(1))
			want := 1 - life
			if got := len(r.received()); got != want {
				t.Errorf("life %d: %d went up, want %d", life, got, want)
			}
			r.again()
			r.subscribe(topicA)
		}
		is := r.home.Describe().Counts.Dropped
		if is["own"] != 2 || is["replayed"] != 5 {
			t.Errorf("counted %v, want 2 own and 5 replayed", is)
		}
	})
}

func TestReportBeyondTheBatchIsCut(t *testing.T) {
	run(t, nil, func(t *testing.T, r *rig) {
		r.subscribe(topicA)
		var es []transport.Envelope
		for i := range transport.MaxBatch + 44 {
			es = append(es, envelope(i))
		}
		r.deliver(es...)
		if got := len(r.received()); got != transport.MaxBatch {
			t.Errorf("%d went up, want %d", got, transport.MaxBatch)
		}
		if got := r.home.Describe().Counts.Dropped["beyond_batch"]; got != 44 {
			t.Errorf("%d counted, want 44", got)
		}
	})
}

// flood reports fresh envelopes of 1000 bytes for ever.
func flood(f *fake) {
	n := 0
	f.info.MaxData = transport.MaxEnvelope
	f.receive = func(ctx context.Context) (transport.Report, error) {
		var r transport.Report
		for range transport.MaxBatch {
			e := envelope(n)
			e.Data = append(e.Data, make([]byte, 1000)...)
			r.Envelopes = append(r.Envelopes, e)
			n++
		}
		return r, ctx.Err()
	}
}

func TestFloodStaysInTheTransportWhileTheLayersAreStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, flood, func(c *Config) { c.InFlight = 4 << 20 })
		r.sink.hold = true
		r.begin()
		r.subscribe(topicA)
		inside := func() (bytes int) {
			r.sink.mu.Lock()
			defer r.sink.mu.Unlock()
			for _, e := range r.sink.events {
				if in, ok := e.(slot.Received); ok {
					for _, x := range in.Envelopes {
						bytes += len(x.Data) + costOfEnvelope
					}
				}
			}
			return bytes
		}
		first := inside()
		if first > 4<<20 || first < 3<<20 {
			t.Errorf("%d bytes inside the node, want nearly 4 MiB", first)
		}
		time.Sleep(time.Minute)
		if got := inside(); got != first {
			t.Errorf("after a minute %d bytes inside the node, want %d as before", got, first)
		}
		if fails := r.sink.failures(); len(fails) != 0 {
			t.Errorf("the edge failed: %v", fails)
		}
		r.edge.Close() // while the receiver waits for credit

		r.sink.mu.Lock()
		for _, c := range r.sink.held {
			c.Return()
		}
		r.sink.held, r.sink.events, r.sink.hold = nil, nil, true
		r.sink.mu.Unlock()
		r.begin()
		r.subscribe(topicA)
		if got := inside(); got < 3<<20 {
			t.Errorf("%d bytes inside the node after the credits came back, want nearly 4 MiB", got)
		}
		r.edge.Close()
	})
}

func TestMemoryOfEnvelopesIsBounded(t *testing.T) {
	s := newHashes(100, time.Hour)
	at := time.Now()
	for i := range 100_000 {
		s.add(hashOf(topicA, fmt.Append(nil, i)), at)
	}
	if n := len(s.young) + len(s.old); n > 200 {
		t.Errorf("remembers %d, want at most 200", n)
	}
	for i := 99_900; i < 100_000; i++ {
		if !s.has(hashOf(topicA, fmt.Append(nil, i))) {
			t.Fatalf("has forgotten number %d of 100000", i)
		}
	}
}

func TestEmptyReportsCostLittle(t *testing.T) {
	n := 0
	run(t, func(f *fake) {
		f.receive = func(ctx context.Context) (transport.Report, error) {
			n++
			return transport.Report{Receipts: []transport.Receipt{{ID: uint64(n)}}}, ctx.Err()
		}
	}, func(t *testing.T, r *rig) {
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if want := uselessBurst + 10*uselessRate; n > want+10 || n < want-10 {
			t.Errorf("asked %d times in 10 s, want %d", n, want)
		}
	})
}

func TestPeersAreReportedTenTimesASecond(t *testing.T) {
	run(t, nil, func(t *testing.T, r *rig) {
		peers := func(n int) { r.fake.reports <- transport.Report{Peers: &n} }
		time.Sleep(time.Second)
		peers(1)
		r.expect(slot.Peers{Count: 1})
		for i := range 500 {
			peers(i)
			time.Sleep(2 * time.Millisecond)
		}
		synctest.Wait()
		if got := len(r.sink.take()); got < 8 || got > 11 {
			t.Errorf("%d reports in a second, want about 10", got)
		}
		time.Sleep(time.Second)
		r.skip()
		peers(499)
		r.expect() // no change
		peers(-5)
		r.expect(slot.Peers{Count: 0})
		peers(math.MaxInt)
		time.Sleep(time.Second)
		r.expect(slot.Peers{Count: maxPeerCount})
		r.edge.FromAbove(slot.Attach{})
		synctest.Wait()
		if got := r.sink.take(); len(got) != 2 || got[1] != (slot.Peers{Count: maxPeerCount}) {
			t.Errorf("Attach is answered by %v", got)
		}
	})
}

func TestTransportThatDeliversMostlyGarbageIsToldOf(t *testing.T) {
	run(t, nil, func(t *testing.T, r *rig) {
		r.subscribe(topicB)
		for i := range 1001 {
			if r.home.Describe().Misbehaves {
				t.Fatalf("told after %d", i)
			}
			r.deliver(envelope(i))
		}
		if !r.home.Describe().Misbehaves {
			t.Error("not told after 1001 foreign envelopes")
		}
		r.subscribe(topicA)
		for range 2 {
			time.Sleep(conductWindow)
			r.deliver(envelope(2000))
		}
		if r.home.Describe().Misbehaves {
			t.Error("still told in a window without garbage")
		}
		if fails := r.sink.failures(); len(fails) != 0 {
			t.Errorf("the edge failed: %v", fails)
		}
	})
}

func TestReportsAllocateByWhatIsThere(t *testing.T) {
	run(t, nil, func(t *testing.T, r *rig) {
		r.subscribe(topicA)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 100 {
			r.fake.reports <- transport.Report{Receipts: make([]transport.Receipt, 1<<16)}
		}
		synctest.Wait()
		runtime.ReadMemStats(&after)
		own := 100 * (1 << 16) * uint64(unsafe.Sizeof(transport.Receipt{})) // what the test itself allocates
		if got := after.TotalAlloc - before.TotalAlloc; got > own+1<<20 {
			t.Errorf("100 reports of receipts for nothing cost %d bytes beside their own %d", got-own, own)
		}
	})
}
