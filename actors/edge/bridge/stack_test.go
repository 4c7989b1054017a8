package bridge

import (
	"errors"
	"io"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers/transport"
)

// up is what an edge of an ordinary transport slot wants to report to.
type up interface {
	Send(transport.Event)
	SendCredited(transport.Event, *actors.Credit)
	Fail(error)
}

var (
	_ up = Up{}
	_ up = actors.Outlet[transport.Event]{}
)

// fake is a transport that answers everything and records what it is given, over
// all of its lives.
type fake struct {
	info   transport.Info
	silent bool // no answers to publishes

	mu        sync.Mutex
	up        up
	lives     int
	attached  int
	subscribe []transport.Subscribe
	published []transport.Publish
}

func (f *fake) edge(u up) actors.Edge[transport.Command] {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.up = u
	f.lives++
	return f
}

func (f *fake) Open() error { f.outlet().Send(transport.Ready{Info: f.info}); return nil }
func (f *fake) Close()      {}

func (f *fake) outlet() up {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.up
}

func (f *fake) FromAbove(c transport.Command) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch c := c.(type) {
	case transport.Attach:
		f.attached++
		f.up.Send(transport.Ready{Info: f.info})
	case transport.Subscribe:
		f.subscribe = append(f.subscribe, c)
	case transport.Publish:
		f.published = append(f.published, c)
		if !f.silent {
			f.up.Send(transport.Accepted{Ref: c.Ref})
			f.up.Send(transport.Relayed{Ref: c.Ref})
		}
	}
}

func (f *fake) texts() (list []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.published {
		list = append(list, string(p.Data))
	}
	return list
}

// rig is a bridge under the real actors between two fakes.
type rig struct {
	near, far fake
	stack     *actors.Stack
	kernel    *kernel.Kernel
	bridge    *Bridge
}

const nearSlot = actors.Slot[transport.Command, transport.Event]("transport")

func start(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	r := &rig{kernel: kernel.New(quiet)}
	r.near.info, r.far.info = whisperInfo, farInfo
	r.stack = actors.NewStack(r.kernel, nil, nil, quiet)
	actors.StandEdge(r.stack, nearSlot, func(out actors.Outlet[transport.Event]) actors.Edge[transport.Command] {
		return r.near.edge(out)
	})
	actors.StandEdge(r.stack, FarSlot, func(out actors.Outlet[Far]) actors.Edge[transport.Command] {
		return r.far.edge(FarUp(out))
	})
	r.bridge = Stand(r.stack, nearSlot, FarSlot, cfg, quiet)
	if err := r.stack.Start(); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return r
}

// stop ends the rig within its bubble: protoactor has timers of its own.
func (r *rig) stop() {
	r.kernel.Stop()
	time.Sleep(2 * time.Second)
	synctest.Wait()
}

func TestEnvelopesCrossBothWaysUnderTheRealActors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, nil)
		defer r.stop()
		for name, f := range map[string]*fake{"near": &r.near, "far": &r.far} {
			if f.attached != 1 || len(f.subscribe) == 0 || !f.subscribe[0].All {
				t.Errorf("%s: attached %d times, subscribed %+v", name, f.attached, f.subscribe)
			}
		}
		credits := actors.NewCredits(10)
		for _, f := range []*fake{&r.near, &r.far} {
			credit, err := credits.Take(t.Context(), 10)
			if err != nil {
				t.Fatal(err)
			}
			f.outlet().SendCredited(heard(time.Now(), 15*time.Second, "from "+f.info.Name), credit)
			synctest.Wait()
		}
		if got := r.far.texts(); !slices.Equal(got, []string{"from whisper"}) {
			t.Errorf("far was given %q", got)
		}
		if got := r.near.texts(); !slices.Equal(got, []string{"from far"}) {
			t.Errorf("near was given %q", got)
		}
		if credits.TryTake(10) == nil {
			t.Error("the credit of the last envelope has not returned")
		}
		a, b := r.bridge.Counts()
		if want := (Counts{Seen: 1, Carried: 1, Relayed: 1}); a != want || b != want {
			t.Errorf("counts %+v and %+v, want %+v for both", a, b, want)
		}
		if d := r.bridge.Describe(); d.Near.Name != "whisper" || d.Far.Name != "far" || d.Remembered != 2 {
			t.Errorf("described as %+v", d)
		}
	})
}

func TestQueueGoesOnByTheAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, func(c *Config) { c.NearToFar.EnvelopesPerSecond = 1 })
		defer r.stop()
		r.near.outlet().Send(many(time.Now(), time.Hour, 5))
		for i, want := range []int{2, 3, 4, 5, 5} { // two are saved up
			synctest.Wait()
			if got := len(r.far.texts()); got != want {
				t.Errorf("after %d s and a bit: %d published, want %d", i, got, want)
			}
			time.Sleep(time.Second + time.Millisecond)
		}
	})
}

func TestRestartedTransportGetsTheUnansweredAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, nil)
		defer r.stop()
		r.far.silent = true
		r.near.outlet().Send(heard(time.Now(), time.Hour, "x"))
		synctest.Wait()
		r.far.outlet().Fail(errors.New("gone"))
		time.Sleep(time.Minute)
		synctest.Wait()
		if r.far.lives != 2 {
			t.Fatalf("%d lives, want 2", r.far.lives)
		}
		p := r.far.published
		if len(p) != 2 || p[0].Ref != p[1].Ref || p[1].TTL > p[0].TTL {
			t.Errorf("published %+v, want the same twice", p)
		}
		if a, _ := r.bridge.Counts(); a.Repeated != 1 || a.Unanswered != 1 {
			t.Errorf("counts %+v", a)
		}
	})
}

func TestBrokenBridgeComesBackAndGoesOnCounting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, func(c *Config) { c.FarToNear.EnvelopesPerSecond = 1 })
		defer r.stop()
		r.far.outlet().Send(many(time.Now(), time.Hour, 5)) // an alarm is set
		synctest.Wait()
		if !r.stack.Drill("bridge") {
			t.Fatal("no bridge in the stack")
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if r.near.attached != 2 || r.far.attached != 2 {
			t.Errorf("attached %d and %d times, want twice", r.near.attached, r.far.attached)
		}
		r.near.outlet().Send(heard(time.Now(), time.Hour, "after"))
		synctest.Wait()
		if got := r.far.texts(); !slices.Equal(got, []string{"after"}) {
			t.Errorf("far was given %q, want the envelope after the restart", got)
		}
		if a, b := r.bridge.Counts(); a.Seen != 1 || b.Seen != 5 || b.Carried != 2 {
			t.Errorf("counts %+v and %+v, want those of both lives", a, b)
		}
	})
}

func TestMetricsHaveFixedLabels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, nil)
		defer r.stop()
		r.near.outlet().Send(many(time.Now(), time.Hour, 3))
		r.near.outlet().Send(many(time.Now(), time.Hour, 3))
		synctest.Wait()
		reg := prometheus.NewPedanticRegistry()
		if err := reg.Register(r.bridge.Collector()); err != nil {
			t.Fatal(err)
		}
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			for _, m := range f.Metric {
				name := f.GetName()
				for _, l := range m.Label {
					name += " " + l.GetValue()
				}
				got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
		want := map[string]float64{"strata_bridge_remembered_envelopes": 3}
		for _, d := range []string{"near_to_far", "far_to_near"} {
			for _, o := range []string{"seen", "carried", "duplicate", "expired", "too_large", "off_topic", "over_budget"} {
				want["strata_bridge_envelopes_total "+d+" "+o] = 0
			}
			for _, a := range []string{"repeated", "relayed", "unrelayed", "refused"} {
				want["strata_bridge_answers_total "+a+" "+d] = 0
			}
			want["strata_bridge_waiting_envelopes "+d] = 0
			want["strata_bridge_unanswered_envelopes "+d] = 0
		}
		want["strata_bridge_envelopes_total near_to_far seen"] = 6
		want["strata_bridge_envelopes_total near_to_far carried"] = 3
		want["strata_bridge_envelopes_total near_to_far duplicate"] = 3
		want["strata_bridge_answers_total relayed near_to_far"] = 3
		if !maps.Equal(got, want) {
			t.Errorf("got %v\nwant %v", got, want)
		}
	})
}

func TestCountersMayBeReadWhileTheBridgeWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, nil)
		defer r.stop()
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 100 {
					r.bridge.Counts()
					_ = r.bridge.Describe().String()
				}
			})
		}
		r.near.outlet().Send(many(time.Now(), time.Hour, 50))
		all.Wait()
		synctest.Wait()
		if a, _ := r.bridge.Counts(); a.Carried != 50 {
			t.Errorf("%d carried, want 50", a.Carried)
		}
	})
}

func TestReportIsShortText(t *testing.T) {
	r := Report{NearToFar: Counts{Seen: 5, Carried: 1, Duplicate: 1, Expired: 1, Waiting: 2}, Near: End{Name: "whisper"}}
	want := "whisper -> (not ready): 5 seen, 1 carried, 1 duplicate, 1 dropped, 2 waiting\n" +
		"(not ready) -> whisper: 0 seen, 0 carried, 0 duplicate, 0 dropped, 0 waiting"
	if got := r.String(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
