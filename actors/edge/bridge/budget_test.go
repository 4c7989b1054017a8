package bridge

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// play wakes a bridge for as long as told and answers all it publishes on the
// far side; it returns when what was published.
func play(c *Core, now time.Time, out Output, until time.Time) (at []time.Duration, all []transport.Publish) {
	for {
		for list := published(out.Far); len(list) > 0; list = published(out.Far) {
			for _, p := range list {
				at, all = append(at, now.Sub(t0)), append(all, p)
			}
			out.Far = relay(c.FromFar, now, out.Far).Far
		}
		o := c.Wake(now)
		if o.Wake.IsZero() || o.Wake.After(until) {
			return at, all
		}
		if len(published(o.Far)) == 0 {
			now = o.Wake
			o = c.Wake(now)
		}
		out = o
	}
}

func TestEnvelopesASecondAreBounded(t *testing.T) {
	c := opened(t, func(c *Config) { c.NearToFar.EnvelopesPerSecond = 5 })
	at, all := play(c, t0, c.FromNear(t0, many(t0, time.Hour, 40)), t0.Add(time.Minute))
	if len(all) != 40 {
		t.Fatalf("%d published, want 40", len(all))
	}
	for i, got := range at {
		// Ten are saved up, and then one comes every 200 ms.
		want := max(0, time.Duration(i-9)*200*time.Millisecond)
		if d := got - want; d < 0 || d > time.Millisecond {
			t.Errorf("envelope %d after %v, want %v", i, got, want)
		}
		if string(all[i].Data) != fmt.Sprint("envelope ", i) {
			t.Errorf("envelope %d is %q: out of order", i, all[i].Data)
		}
	}
}

func TestKiBASecondAreBoundedAndLargeEnvelopesPassAllTheSame(t *testing.T) {
	c := opened(t, func(c *Config) { c.NearToFar.KiBPerSecond = 4 })
	r := many(t0, time.Hour, 3)
	for i := range r.Envelopes {
		r.Envelopes[i].Data = append(make([]byte, 32<<10-1), byte(i)) // four times what is saved up
	}
	at, _ := play(c, t0, c.FromNear(t0, r), t0.Add(time.Minute))
	for i, want := range []time.Duration{0, 6250 * time.Millisecond, 14250 * time.Millisecond} {
		if len(at) != 3 || at[i] < want || at[i] > want+time.Millisecond {
			t.Fatalf("published after %v, want the first at once and then by the rate", at)
		}
	}
}

func TestLongAndLongLivedEnvelopeLivesShorter(t *testing.T) {
	c := opened(t, func(c *Config) { c.FarToNear.WorkPerSecond = 1000 }) // so 2000 are saved up
	var got []time.Duration
	for i, size := range []int{10<<10 - parcelCost, 10<<10 - parcelCost, 1<<20 - 64} {
		r := heard(t0, time.Hour, "")
		r.Envelopes[0].Data = append(make([]byte, size-1), byte(i))
		for _, p := range published(c.FromFar(t0, r).Near) {
			got = append(got, p.TTL)
		}
	}
	// Of 10 KiB the first gets 1000, the second half of the rest; the third gets
	// what Whisper gives at least.
	if want := []time.Duration{100 * time.Second, 50 * time.Second, 10 * time.Second}; !slices.Equal(got, want) {
		t.Errorf("times to live %v, want %v", got, want)
	}
	now := t0.Add(5 * time.Second)
	out := c.FromFar(now, heard(now, 15*time.Second, "next"))
	// 500 were left of which 10 s of 1 MiB and 192 B were taken; 5 s have passed.
	debt := 10*(1<<20-64+parcelCost)/1024.0 - 500 - 5000 + 1
	if due := now.Add(time.Duration(debt * float64(time.Millisecond))); len(out.Near) != 0 || out.Wake.Sub(due).Abs() > time.Millisecond {
		t.Errorf("%+v, want the next at %v", out, due)
	}
}

// TestLongLivedFloodDoesNotStopADirection floods with few envelopes that would
// use up the work of minutes each.
func TestLongLivedFloodDoesNotStopADirection(t *testing.T) {
	c := opened(t, nil)
	taken := 0.0 // KiB times seconds
	for i := range 600 {
		now := t0.Add(time.Duration(i) * 100 * time.Millisecond)
		r := heard(now, 48*time.Hour, "")
		r.Envelopes[0].Data = append(make([]byte, 10<<10), byte(i), byte(i>>8))
		r.Envelopes = append(r.Envelopes, heard(now, 15*time.Second, fmt.Sprint("honest ", i)).Envelopes...)
		out := c.FromFar(now, r)
		list := published(out.Near)
		if len(list) != 2 || list[1].TTL < 10*time.Second {
			t.Fatalf("after %v: published %d, want the honest one at once, too", now.Sub(t0), len(list))
		}
		for _, p := range list {
			taken += occupied(len(p.Data)) * p.TTL.Seconds()
		}
		relay(c.FromNear, now, out.Near)
	}
	if most := float64(DefaultConfig().FarToNear.WorkPerSecond) * 62; taken > most {
		t.Errorf("taken %v KiB times seconds in a minute, want at most %v", taken, most)
	}
}

func TestFloodInOneDirectionLeavesTheOtherAlone(t *testing.T) {
	c := opened(t, nil)
	for i := range 20 {
		now := t0.Add(time.Duration(i) * 100 * time.Millisecond)
		r := many(now, time.Hour, 1000)
		for j := range r.Envelopes {
			r.Envelopes[j].Data = append(r.Envelopes[j].Data, byte(i))
		}
		c.FromNear(now, r)
		out := c.FromFar(now, heard(now, 15*time.Second, fmt.Sprint("quiet ", i)))
		if got := texts(out.Near); len(got) != 1 || got[0] != fmt.Sprint("quiet ", i) {
			t.Fatalf("under a flood of the other direction published %q, want it at once", got)
		}
		relay(c.FromNear, now, out.Near)
	}
	r := c.Report()
	if r.FarToNear.Carried != 20 || r.FarToNear.OverBudget != 0 {
		t.Errorf("quiet direction: %+v", r.FarToNear)
	}
	if n := r.NearToFar; n.Carried == 0 || n.OverBudget < 15_000 || n.Waiting != DefaultConfig().NearToFar.Queue {
		t.Errorf("flooded direction: %+v", n)
	}
}

func TestFloodOfHeardEnvelopesDoesNotMakeTheBridgeForgetWhatItCarried(t *testing.T) {
	c := opened(t, nil)
	c.FromFar(t0, heard(t0, time.Hour, "carried"))
	for i := range 300 {
		r := many(t0, time.Hour, 1000)
		for j := range r.Envelopes {
			r.Envelopes[j].Data = append(r.Envelopes[j].Data, byte(i), byte(i>>8))
		}
		c.FromNear(t0, r)
	}
	if n := len(c.heard.marks); n > maxHeard {
		t.Errorf("%d heard envelopes are remembered, want at most %d", n, maxHeard)
	}
	before := c.ways[near].counts.Duplicate
	c.FromNear(t0, heard(t0, time.Hour, "carried"))
	if c.ways[near].counts.Duplicate != before+1 {
		t.Error("the flood has made the bridge forget an envelope it has carried")
	}
}

func TestOldestOfTheQueueIsDroppedAndMayComeAgain(t *testing.T) {
	c := NewCore(func() Config { c := DefaultConfig(); c.NearToFar.Queue = 2; return c }())
	c.FromNear(t0, transport.Ready{Info: whisperInfo})
	c.FromNear(t0, many(t0, time.Hour, 3)) // far is not ready
	if n := c.Report().NearToFar; n.OverBudget != 1 || n.Waiting != 2 {
		t.Fatalf("counts %+v, want one of three dropped", n)
	}
	out := c.FromFar(t0, transport.Ready{Info: farInfo})
	if got := texts(out.Far); len(got) != 2 || got[0] != "envelope 1" {
		t.Errorf("published %q, want all but the oldest", got)
	}
	if got := texts(c.FromNear(t0, heard(t0, time.Hour, "envelope 0")).Far); len(got) != 1 {
		t.Errorf("heard again where it came from: published %q, want it", got)
	}
}

func TestDroppedEnvelopeThatAnotherBridgeCarriedDoesNotComeBack(t *testing.T) {
	c := NewCore(func() Config { c := DefaultConfig(); c.NearToFar.Queue = 2; return c }())
	c.FromNear(t0, transport.Ready{Info: whisperInfo})
	c.FromNear(t0, many(t0, time.Hour, 3))
	c.FromFar(t0, transport.Ready{Info: farInfo})
	if out := c.FromFar(t0, heard(t0, time.Hour, "envelope 0")); len(out.Near) != 0 {
		t.Errorf("%+v, want nothing: near is where it is from", out)
	}
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	c := NewCore(DefaultConfig())
	c.FromFar(t0, transport.Ready{Info: farInfo})
	for i := range 100 {
		r := heard(t0, time.Hour, "")
		r.Envelopes[0].Data = append(make([]byte, 1<<20), byte(i))
		c.FromFar(t0, r)
	}
	if w := &c.ways[far]; w.bytes > maxQueueBytes || w.waiting != 15 || len(c.parcels) != 15 {
		t.Errorf("%d bytes in %d envelopes wait (%d), want at most %d", w.bytes, w.waiting, len(c.parcels), maxQueueBytes)
	}
}

func TestUnacceptedPublishesAreBoundedAndTimeOut(t *testing.T) {
	c := opened(t, nil)
	out := c.FromFar(t0, many(t0, time.Hour, 3*maxSlots))
	first := published(out.Near)
	if len(first) != maxSlots {
		t.Fatalf("%d published at once, want %d", len(first), maxSlots)
	}
	if due := t0.Add(slotTime); !out.Wake.Equal(due) {
		t.Errorf("wake at %v, want %v", out.Wake, due)
	}
	for _, answer := range []transport.Event{
		transport.Accepted{Ref: first[7].Ref}, transport.Relayed{Ref: first[8].Ref},
		transport.Refused{Ref: first[9].Ref}, transport.Expired{Ref: first[10].Ref},
	} {
		if p := published(c.FromNear(t0, answer).Near); len(p) != 1 {
			t.Errorf("%T: published %d, want the next one", answer, len(p))
		}
	}
	if p := published(c.FromNear(t0, transport.Relayed{Ref: first[7].Ref}).Near); len(p) != 0 {
		t.Errorf("published %d for an answer after Accepted, want none", len(p))
	}
	// The silent ones give up their slots, the four later ones with them.
	if p := published(c.Wake(t0.Add(slotTime)).Near); len(p) != maxSlots {
		t.Errorf("published %d after %v of silence, want %d", len(p), slotTime, maxSlots)
	}
}

func TestBucketSurvivesAClockThatIsSetBack(t *testing.T) {
	b := bucket{rate: 10}
	b.wait(t0)
	b.pay(25)
	if wait := b.wait(t0.Add(-time.Hour)); wait < 600*time.Millisecond || wait > 601*time.Millisecond {
		t.Errorf("wait %v, want 600ms: what was paid stays paid", wait)
	}
	if wait := b.wait(t0.Add(-time.Hour + 601*time.Millisecond)); wait != 0 {
		t.Errorf("wait %v after 601 ms, want none", wait)
	}
}
