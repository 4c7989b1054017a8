package bridge

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
)

// The model: some media, each of which brings what is published in it to all who
// are on it, late and in any order, until it ends; and bridges between them. A
// medium knows nothing of identities: the same data with another time is another
// envelope to it.

// slowest is how long a medium takes to bring an envelope to somebody.
const slowest = 900 * time.Millisecond

type world struct {
	t       *rapid.T
	now     time.Time
	media   []*medium
	bridges []*crossing
	mail    []mail
}

type medium struct {
	info   transport.Info
	pool   []posted
	copies map[string]int // envelopes of a text that were published
}

type posted struct {
	transport.Envelope
	by   *crossing // nil for a client
	side side
}

func (p posted) ends() time.Time { return p.Sent.Add(p.TTL) }

// crossing is a bridge between two media.
type crossing struct {
	core  *Core
	on    [2]*medium
	refs  [2]map[layers.Ref]bool // what each medium was given by it
	alarm time.Time
}

// mail is an event on its way to a bridge.
type mail struct {
	at    time.Time
	to    *crossing
	side  side
	event transport.Event
}

func newWorld(t *rapid.T, media int, ends [][2]int) *world {
	w := &world{t: t, now: t0}
	for i := range media {
		info := transport.Info{Name: fmt.Sprint("medium ", i), MaxData: 1000, MaxTTL: time.Hour}
		info.MinTTL = rapid.SampledFrom([]time.Duration{0, time.Second, 10 * time.Second}).Draw(t, "least TTL")
		w.media = append(w.media, &medium{info: info, copies: map[string]int{}})
	}
	for _, e := range ends {
		cfg := DefaultConfig()
		x := &crossing{core: NewCore(cfg), on: [2]*medium{w.media[e[0]], w.media[e[1]]}}
		x.refs = [2]map[layers.Ref]bool{{}, {}}
		w.bridges = append(w.bridges, x)
		w.after(x, x.core.Open())
	}
	return w
}

func (w *world) delay(what string) time.Duration {
	return time.Duration(rapid.IntRange(0, int(slowest/time.Millisecond)).Draw(w.t, what)) * time.Millisecond
}

func (w *world) send(x *crossing, s side, e transport.Event) {
	w.mail = append(w.mail, mail{w.now.Add(w.delay("delay")), x, s, e})
}

// publish puts an envelope into a medium, which brings it to all bridges but the
// one it is from.
func (w *world) publish(m *medium, p posted) {
	p.Sent = w.now.Truncate(time.Second)
	p.TTL = min(max(p.TTL, m.info.MinTTL), m.info.MaxTTL)
	m.pool = append(m.pool, p)
	m.copies[string(p.Data)]++
	for _, x := range w.bridges {
		for s := range x.on {
			if x.on[s] == m && (p.by != x || p.side != side(s)) {
				w.send(x, side(s), transport.Received{Envelopes: []transport.Envelope{p.Envelope}})
			}
		}
	}
}

func (w *world) after(x *crossing, out Output) {
	for s, commands := range [2][]transport.Command{out.Near, out.Far} {
		for _, c := range commands {
			w.command(x, side(s), c)
		}
	}
	if !out.Wake.IsZero() {
		x.alarm = out.Wake
	}
}

func (w *world) command(x *crossing, s side, c transport.Command) {
	m := x.on[s]
	switch c := c.(type) {
	case transport.Attach:
		w.send(x, s, transport.Ready{Info: m.info})
	case transport.Subscribe: // all that is alive is reported, once more
		for _, p := range m.pool {
			if p.ends().After(w.now) && (p.by != x || p.side != s) {
				w.send(x, s, transport.Received{Envelopes: []transport.Envelope{p.Envelope}})
			}
		}
	case transport.Publish:
		if len(c.Data) > m.info.MaxData || c.TTL < time.Second {
			w.t.Fatalf("published %d bytes for %v, more than %+v takes", len(c.Data), c.TTL, m.info)
		}
		if !x.refs[s][c.Ref] {
			x.refs[s][c.Ref] = true
			w.publish(m, posted{transport.Envelope{Topic: c.Topic, Data: c.Data, TTL: c.TTL}, x, s})
		}
		w.send(x, s, transport.Accepted{Ref: c.Ref})
		if rapid.Bool().Draw(w.t, "answered") {
			w.send(x, s, transport.Relayed{Ref: c.Ref})
		}
	}
}

// run lets the time pass until there is nothing more to do, or until an end.
func (w *world) run(end time.Time) {
	for {
		next, what := end, -1
		for i, m := range w.mail {
			if m.at.Before(next) {
				next, what = m.at, i
			}
		}
		var due *crossing
		for _, x := range w.bridges {
			if !x.alarm.IsZero() && x.alarm.Before(next) {
				next, due = x.alarm, x
			}
		}
		if next == end {
			w.now = end
			return
		}
		if next.After(w.now) {
			w.now = next
		}
		if due != nil {
			due.alarm = time.Time{}
			w.after(due, due.core.Wake(w.now))
			continue
		}
		m := w.mail[what]
		w.mail = slices.Delete(w.mail, what, what+1)
		step := m.to.core.FromNear
		if m.side == far {
			step = m.to.core.FromFar
		}
		w.after(m.to, step(w.now, m.event))
	}
}

// check is what holds at any time: every envelope that was seen is accounted
// for, in both directions of every bridge.
func (w *world) check() {
	for i, x := range w.bridges {
		r := x.core.Report()
		for _, c := range []Counts{r.NearToFar, r.FarToNear} {
			sum := c.Carried + c.Duplicate + c.Expired + c.TooLarge + c.OffTopic + c.OverBudget + uint64(c.Waiting)
			if c.Seen != sum {
				w.t.Fatalf("bridge %d: seen %d, accounted for %d: %+v", i, c.Seen, sum, c)
			}
			if answered := c.Relayed + c.Unrelayed + c.Refused + uint64(c.Unanswered); c.Carried != answered {
				w.t.Fatalf("bridge %d: carried %d, answered or not %d: %+v", i, c.Carried, answered, c)
			}
		}
	}
}

// TestEveryEnvelopeReachesEveryMediumAndNoneCirculates plays bridges beside each
// other, in a chain and in a ring, whose sides restart.
func TestEveryEnvelopeReachesEveryMediumAndNoneCirculates(t *testing.T) {
	for _, tt := range []struct {
		name  string
		media int
		ends  [][2]int
	}{
		{"one bridge", 2, [][2]int{{0, 1}}},
		{"two in parallel", 2, [][2]int{{0, 1}, {0, 1}}},
		{"two in parallel, the other way round", 2, [][2]int{{0, 1}, {1, 0}}},
		{"three in parallel", 2, [][2]int{{0, 1}, {1, 0}, {0, 1}}},
		{"a chain", 3, [][2]int{{0, 1}, {1, 2}}},
		{"a ring", 3, [][2]int{{0, 1}, {1, 2}, {2, 0}}},
		{"a ring with a double side", 3, [][2]int{{0, 1}, {1, 2}, {2, 0}, {0, 2}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { converse(newWorld(t, tt.media, tt.ends)) })
		})
	}
}

func converse(w *world) {
	t := w.t
	w.run(w.now.Add(2 * slowest)) // all sides are ready
	n := rapid.IntRange(1, 12).Draw(t, "envelopes")
	// Every hop takes time and a part of a second, and the least time to live
	// may be 10 s, of which a half must be left.
	enough := 5*time.Second + time.Duration(len(w.bridges))*(slowest+time.Second) + time.Second
	for i := range n {
		m := w.media[rapid.IntRange(0, len(w.media)-1).Draw(t, "medium")]
		data := bytes.Repeat([]byte{byte(i)}, rapid.IntRange(1, 100).Draw(t, "length"))
		ttl := enough + time.Duration(rapid.IntRange(0, 30).Draw(t, "TTL"))*time.Second
		w.publish(m, posted{Envelope: transport.Envelope{Topic: chat, Data: data, TTL: ttl.Truncate(time.Second)}})
		if rapid.IntRange(0, 3).Draw(t, "restart") == 0 { // a side of some bridge is open again
			x := rapid.SampledFrom(w.bridges).Draw(t, "bridge")
			s := side(rapid.IntRange(0, 1).Draw(t, "side"))
			w.send(x, s, transport.Ready{Info: x.on[s].info})
		}
		w.run(w.now.Add(w.delay("pause")))
		w.check()
	}
	// Whatever was raised on its way ends by the greatest of the least times.
	end := w.now.Add(enough + 30*time.Second + time.Duration(len(w.bridges))*10*time.Second)
	w.run(end)
	w.check()
	for i := range n {
		for j, m := range w.media {
			copies := 0
			for text, c := range m.copies {
				if text[0] == byte(i) {
					copies += c
				}
			}
			if copies < 1 || copies > 1+len(w.bridges) {
				t.Errorf("medium %d has %d copies of envelope %d, want 1 to %d", j, copies, i, 1+len(w.bridges))
			}
		}
	}
	for i, m := range w.media {
		for _, p := range m.pool {
			if p.ends().After(end) {
				t.Errorf("medium %d: envelope %d lives until %v after the end", i, p.Data[0], p.ends().Sub(end))
			}
		}
	}
	if len(w.mail) > 0 {
		t.Errorf("%d events are still on their way", len(w.mail))
	}
	for i, x := range w.bridges {
		r := x.core.Report()
		if r.NearToFar.Waiting+r.FarToNear.Waiting > 0 {
			t.Errorf("bridge %d: envelopes wait: %v", i, r)
		}
		if carried := r.NearToFar.Carried + r.FarToNear.Carried; carried > uint64(n) {
			t.Errorf("bridge %d carried %d times, want each of %d envelopes at most once", i, carried, n)
		}
	}
}
