package plugin

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/transport"
)

// hang waits for the end of the call.
func hang(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func TestFailureOfAnyKindEndsTheLife(t *testing.T) {
	publish := func(r *rig) { r.publish(1, time.Minute) }
	subscribe := func(r *rig) { r.edge.FromAbove(slot.Subscribe{Topics: []slot.Topic{topicA}}) }
	nothing := func(*rig) {}
	for _, c := range []struct {
		name  string
		set   func(*fake)
		do    func(*rig)
		after time.Duration
		want  string
	}{
		{"publish late", func(f *fake) {
			f.publish = func(ctx context.Context, _ []transport.Envelope) []error { return []error{hang(ctx)} }
		}, publish, publishLimit, "Publish did not return within 5s"},
		{"publish late in a process", func(f *fake) {
			f.pid = 7
			f.publish = func(ctx context.Context, _ []transport.Envelope) []error { return []error{hang(ctx)} }
		}, publish, publishLimit + callSlack, "Publish did not return within 5s"},
		{"publish panics", func(f *fake) {
			f.publish = func(context.Context, []transport.Envelope) []error { panic("ouch\a") }
		}, publish, 0, "Publish panicked: ouch?"},
		{"publish on a closed one", func(f *fake) { f.publish = results(transport.ErrClosed) }, publish, 0, "Publish: closed"},
		{"publish on a cut pipe", func(f *fake) {
			f.pid = 7
			f.publish = results(errors.New("cut"))
		}, publish, 0, "Publish: cut"},
		{"subscribe late", func(f *fake) {
			f.subscribe = func(ctx context.Context, _ transport.Filter) error { return hang(ctx) }
		}, subscribe, subscribeLimit, "Subscribe did not return within 5s"},
		{"subscribe fails", func(f *fake) {
			f.subscribe = func(context.Context, transport.Filter) error { return errors.New("no") }
		}, subscribe, 0, "Subscribe: no"},
		{"receive fails", func(f *fake) {
			f.receive = func(context.Context) (transport.Report, error) { return transport.Report{}, errors.New("gone") }
		}, nothing, 0, "Receive: gone"},
		{"receive panics", func(f *fake) {
			f.receive = func(context.Context) (transport.Report, error) { panic(1) }
		}, nothing, 0, "Receive panicked: 1"},
		{"no answer to pings", func(f *fake) {
			f.ping = hang
		}, nothing, 2*pingEvery + pingLimit, "does not answer"},
		{"stats late", func(f *fake) {
			f.info.Abilities.Stats = true
			f.stats = func() ([]transport.Stat, error) { time.Sleep(3 * time.Second); return nil, nil }
		}, nothing, statsEvery + statsLimit, "Stats did not return within 2s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, c.set).begin()
				c.do(r)
				if c.after > 0 {
					time.Sleep(c.after - time.Millisecond)
					synctest.Wait()
					if fails := r.sink.failures(); len(fails) != 0 {
						t.Errorf("failed too early: %v", fails)
					}
					time.Sleep(2 * time.Millisecond)
				}
				time.Sleep(3 * drainLimit) // for calls that do not return
				r.failed("fake-slot: " + c.want)
				r.skip()
				r.edge.FromAbove(slot.Attach{})
				r.publish(2, time.Minute)
				r.expect() // it is over
				r.edge.Close()
				if r.fake.closed+r.fake.killed == 0 {
					t.Error("the transport was neither closed nor killed")
				}
				time.Sleep(3 * time.Second) // for the call that ignores its context
			})
		})
	}
}

func TestOneMissedPingIsForgiven(t *testing.T) {
	n := 0
	run(t, func(f *fake) {
		f.ping = func(ctx context.Context) error {
			if n++; n%2 == 0 {
				return nil
			}
			return hang(ctx)
		}
	}, func(t *testing.T, r *rig) {
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if fails := r.sink.failures(); len(fails) != 0 || n < 60 {
			t.Errorf("after %d pings: %v", n, fails)
		}
	})
}

// atBreakpoint is a fake under a debugger.
type atBreakpoint struct{ *fake }

func (atBreakpoint) Patient() bool { return true }

func TestTransportAtABreakpointIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.pid = 7
		f.info.Receipts = false
		f.ping = hang
		f.publish = func(context.Context, []transport.Envelope) []error { time.Sleep(time.Hour); return nil }
		r := &rig{t: t, sink: &sink{}, fake: f}
		r.home = NewResident("x", DefaultConfig(), func(context.Context) (Running, error) { return atBreakpoint{f}, nil }, quiet)
		r.begin()
		r.skip()
		r.publish(1, time.Minute)
		time.Sleep(time.Hour)
		r.expect(accept(1), relay(1))
		if fails := r.sink.failures(); len(fails) != 0 {
			t.Errorf("failed: %v", fails)
		}
		r.edge.Close()
	})
}

func TestCrashIsReportedWithItsCause(t *testing.T) {
	run(t, func(f *fake) { f.pid = 7 }, func(t *testing.T, r *rig) {
		n := 4
		r.fake.reports <- transport.Report{Peers: &n}
		r.skip()
		time.Sleep(time.Second)
		r.skip()
		r.fake.crash(errCrash)
		r.failed("fake-slot: signal: killed")
		r.expect(slot.Peers{Count: 0})
		if d := r.home.Describe(); d.Open || d.LastError != "fake-slot: signal: killed" || d.Lives != 1 || d.Counts.Breaks != 1 {
			t.Errorf("described as %+v", d)
		}
		r.again()
		if d := r.home.Describe(); !d.Open || d.Lives != 2 || d.PID != 7 || d.Kind != "process" {
			t.Errorf("after the next start described as %+v", d)
		}
	})
}

func TestOpenThatFailsSaysWhy(t *testing.T) {
	for _, c := range []struct {
		set  func(*fake, context.Context)
		want string
	}{
		{func(f *fake, _ context.Context) {
			f.opening = func(context.Context, transport.Options) error {
				return transport.Invalid("listen", "%q is no port", "x")
			}
		}, `fake-slot: config.listen: "x" is no port`},
		{func(f *fake, _ context.Context) {
			f.opening = func(context.Context, transport.Options) error { return errors.New("no network") }
		}, "fake-slot: Open: no network"},
		{func(f *fake, stuck context.Context) {
			f.opening = func(context.Context, transport.Options) error { return hang(stuck) }
		}, "fake-slot: Open did not return in time"},
		{func(f *fake, _ context.Context) {
			f.opening = func(context.Context, transport.Options) error { panic("oh") }
		}, "fake-slot: Open panicked: oh"},
		{func(f *fake, stuck context.Context) {
			f.opening = func(context.Context, transport.Options) error { f.crash(errCrash); return hang(stuck) }
		}, "fake-slot: ended: signal: killed"},
		{func(f *fake, _ context.Context) { f.info.MaxData = 0 }, "fake-slot: Open: Info.MaxData: 0 is below 1"},
		{func(f *fake, _ context.Context) { f.info.MaxTTL = time.Second }, "fake-slot: Open: Info.MaxTTL: 1s is below 10s"},
	} {
		synctest.Test(t, func(t *testing.T) {
			stuck, release := context.WithCancel(context.Background())
			r := newRig(t, func(f *fake) { c.set(f, stuck) })
			e := r.home.Edge(r.sink)
			begun := time.Now()
			err := e.Open()
			if err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if took := time.Since(begun); took > openLimit {
				t.Errorf("Open took %v", took)
			}
			e.Close()
			if r.fake.closed != 1 || r.fake.killed == 0 {
				t.Errorf("closed %d times, killed %d times", r.fake.closed, r.fake.killed)
			}
			r.expect()
			if d := r.home.Describe(); d.Open || d.LastError != c.want {
				t.Errorf("described as %+v", d)
			}
			release()
		})
	}
}

func TestStartThatHangsIsGivenUpAndCleanedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := newFake()
		home := NewResident("slow", DefaultConfig(), func(context.Context) (Running, error) {
			time.Sleep(time.Minute) // ignores its context
			return late, nil
		}, quiet)
		e := home.Edge(&sink{})
		if err := e.Open(); err == nil || err.Error() != "slow: start: not done within start_timeout, 10s" {
			t.Errorf("got %v", err)
		}
		e.Close()
		time.Sleep(time.Minute)
		synctest.Wait()
		if late.killed != 1 {
			t.Errorf("what started too late was killed %d times, want once", late.killed)
		}
	})
}

func TestCloseIsBoundedAndSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck, release := context.WithCancel(context.Background())
		r := newRig(t, func(f *fake) {
			ignore := func() error { <-stuck.Done(); return nil }
			f.publish = func(context.Context, []transport.Envelope) []error { return []error{ignore()} }
			f.subscribe = func(context.Context, transport.Filter) error { return ignore() }
			f.receive = func(context.Context) (transport.Report, error) {
				ignore()
				return transport.Report{Envelopes: []transport.Envelope{envelope(1)}, Receipts: []transport.Receipt{{ID: 1, Outcome: 1}}}, nil
			}
			f.closing = func(context.Context) error { return ignore() }
		}).begin()
		r.publish(1, time.Minute)
		r.subscribe(topicA)
		r.skip()
		begun := time.Now()
		r.edge.Close()
		if took := time.Since(begun); took > 3*time.Second+drainLimit {
			t.Errorf("Close took %v", took)
		}
		release()
		r.expect() // the late results are nobody's
		if fails := r.sink.failures(); len(fails) != 0 {
			t.Errorf("failed: %v", fails)
		}
	})
}

func TestTransportIsClosedOnce(t *testing.T) {
	run(t, nil, func(t *testing.T, r *rig) {
		r.edge.Close()
		if r.fake.closed != 1 {
			t.Errorf("closed %d times", r.fake.closed)
		}
	})
}

func TestLatestSubscriptionWins(t *testing.T) {
	release := make(chan struct{})
	set := func(f *fake) {
		f.subscribe = func(context.Context, transport.Filter) error { <-release; return nil }
	}
	synctest.Test(t, func(t *testing.T) {
		release = make(chan struct{})
		r := newRig(t, set).begin()
		for i := range 100 {
			r.subscribe(slot.Topic{byte(i)}, slot.Topic{200}, slot.Topic{byte(i)})
		}
		close(release)
		synctest.Wait()
		got := fmt.Sprint(r.fake.filters)
		if want := "[{[00000000 c8000000] false} {[63000000 c8000000] false}]"; got != want {
			t.Errorf("asked for %s, want %s", got, want)
		}
		r.edge.Close()
	})
}

func TestMoreTopicsThanAllowedBecomeAll(t *testing.T) {
	run(t, nil, func(t *testing.T, r *rig) {
		var many []slot.Topic
		for i := range transport.MaxTopics + 1 {
			many = append(many, slot.Topic{1, byte(i >> 16), byte(i >> 8), byte(i)})
		}
		r.subscribe(many...)
		foreign := envelope(1)
		foreign.Topic = transport.Topic(topicB)
		wanted := envelope(2)
		wanted.Topic = transport.Topic(many[77])
		r.deliver(foreign, wanted)
		if got := r.received(); len(got) != 1 || got[0] != "in 2" {
			t.Errorf("got %q", got)
		}
		if f := r.fake.filters[0]; !f.All || len(f.Topics) != 0 {
			t.Errorf("asked for all: %v, and %d topics", f.All, len(f.Topics))
		}
	})
}

func TestOptionsReachTheTransport(t *testing.T) {
	var got transport.Options
	run(t, func(f *fake) {
		f.opening = func(_ context.Context, o transport.Options) error { got = o; return nil }
	}, func(t *testing.T, r *rig) {
		if string(got.Config) != `{"port":7}` || got.Dir != "/there" || got.Log == nil || got.Now == nil || got.Rand == nil {
			t.Errorf("got %s, %s", got.Config, got.Dir)
		}
	}, func(c *Config) { c.Config, c.Dir = map[string]any{"port": 7}, "/there" })
}
