package bridge

import (
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
)

func TestBridgeAttachesAndSubscribesToEverything(t *testing.T) {
	c := NewCore(DefaultConfig())
	attach := []transport.Command{transport.Attach{}}
	if out := c.Open(); !reflect.DeepEqual(out.Near, attach) || !reflect.DeepEqual(out.Far, attach) {
		t.Errorf("first step: %+v, want an Attach on both sides", out)
	}
	all := []transport.Command{transport.Subscribe{All: true}}
	if out := c.FromNear(t0, transport.Ready{Info: whisperInfo}); !reflect.DeepEqual(out.Near, all) || out.Far != nil {
		t.Errorf("near is ready: %+v, want %v on it alone", out, all)
	}
	if out := c.FromFar(t0, transport.Ready{Info: farInfo}); !reflect.DeepEqual(out.Far, all) || out.Near != nil {
		t.Errorf("far is ready: %+v, want %v on it alone", out, all)
	}
}

func TestOnlyListedTopicsAreAskedForAndCarried(t *testing.T) {
	c := opened(t, func(c *Config) { c.Topics = []string{"0xcd423760"} })
	out := c.FromNear(t0, transport.Ready{Info: whisperInfo})
	if want := (transport.Subscribe{Topics: []transport.Topic{chat}}); !reflect.DeepEqual(out.Near[0], want) {
		t.Errorf("subscribed %+v, want %+v", out.Near[0], want)
	}
	r := heard(t0, time.Minute, "x")
	r.Envelopes[0].Topic = transport.Topic{1}
	if out := c.FromNear(t0, r); out.Far != nil || c.ways[near].counts.OffTopic != 1 {
		t.Errorf("%+v and %+v, want the foreign topic dropped", out, c.ways[near].counts)
	}
	if out := c.FromNear(t0, heard(t0, time.Minute, "x")); len(published(out.Far)) != 1 {
		t.Errorf("%+v, want the listed topic carried", out)
	}
}

func TestEnvelopeIsPublishedOnTheOtherSideUnderItsIdentity(t *testing.T) {
	want := layers.Ref(sha256.Sum256([]byte(string(chat[:]) + "hello")))
	for s, step := range map[side]func(*Core, time.Time, transport.Event) Output{near: (*Core).FromNear, far: (*Core).FromFar} {
		c := opened(t, nil)
		out := step(c, t0, heard(t0, 15*time.Second, "hello"))
		there, here := out.Far, out.Near
		if s == far {
			there, here = here, there
		}
		p := published(there)
		if len(p) != 1 || here != nil {
			t.Fatalf("from %d: %+v, want one publish on the other side", s, out)
		}
		if p[0].Ref != want || p[0].Topic != chat || string(p[0].Data) != "hello" || p[0].TTL != 15*time.Second {
			t.Errorf("published %+v", p[0])
		}
	}
}

func TestTTLIsWhatIsLeft(t *testing.T) {
	sec := time.Second
	for _, tt := range []struct {
		name      string
		sent, ttl time.Duration // sent after t0
		far, near time.Duration // what the publish there says; zero: expired
	}{
		{"new", 0, 15 * sec, 15 * sec, 15 * sec},
		{"under way for 4 s", -4 * sec, 15 * sec, 11 * sec, 11 * sec},
		{"a part of a second is not given", -4*sec - sec/2, 15 * sec, 10 * sec, 10 * sec},
		{"below the least of Whisper", -9 * sec, 15 * sec, 6 * sec, 10 * sec},
		{"half of the least is still raised", -10 * sec, 15 * sec, 5 * sec, 10 * sec},
		{"less is as good as over", -11 * sec, 15 * sec, 4 * sec, 0},
		{"one second", -14 * sec, 15 * sec, 1 * sec, 0},
		{"half a second", -14*sec - sec/2, 15 * sec, 0, 0},
		{"over", -16 * sec, 15 * sec, 0, 0},
		{"no time to live", 0, 0, 0, 0},
		{"negative time to live", 0, -1, 0, 0},
		{"from the future", 20 * sec, 15 * sec, 15 * sec, 15 * sec},
		{"longer than far takes", 0, 2 * time.Hour, time.Hour, 2 * time.Hour},
		{"longer than both take", 0, 1000 * time.Hour, time.Hour, 48 * time.Hour},
		{"endless", 0, 1<<63 - 1, time.Hour, 48 * time.Hour},
	} {
		got := func(s side, commands []transport.Command, c *Core) time.Duration {
			if p := published(commands); len(p) > 0 {
				return p[0].TTL
			}
			if c.ways[s].counts.Expired != 1 {
				t.Errorf("%s: not published and not expired: %+v", tt.name, c.ways[s].counts)
			}
			return 0
		}
		c := opened(t, func(c *Config) { c.FarToNear.WorkPerSecond = 0 })
		if ttl := got(near, c.FromNear(t0, heard(t0.Add(tt.sent), tt.ttl, "a")).Far, c); ttl != tt.far {
			t.Errorf("%s: to far: %v, want %v", tt.name, ttl, tt.far)
		}
		if ttl := got(far, c.FromFar(t0, heard(t0.Add(tt.sent), tt.ttl, "b")).Near, c); ttl != tt.near {
			t.Errorf("%s: to near: %v, want %v", tt.name, ttl, tt.near)
		}
	}
}

func TestNothingIsCarriedTwiceOrBack(t *testing.T) {
	c := opened(t, nil)
	c.FromNear(t0, heard(t0, 15*time.Second, "x"))
	again := []struct {
		name string
		at   time.Duration
		step func(time.Time, transport.Event) Output
		ttl  time.Duration
	}{
		{"the same", 0, c.FromNear, 15 * time.Second},
		{"the copy, as an echo", time.Second, c.FromFar, 15 * time.Second},
		{"the copy of another bridge on the side it came from", 2 * time.Second, c.FromNear, 13 * time.Second},
		{"one that was raised by others, at its end", 70 * time.Second, c.FromFar, 10 * time.Second},
		{"and again, as that is remembered", 130 * time.Second, c.FromNear, 10 * time.Second},
	}
	for _, tt := range again {
		now := t0.Add(tt.at)
		if out := tt.step(now, heard(now, tt.ttl, "x")); out.Near != nil || out.Far != nil {
			t.Errorf("%s: %+v, want nothing", tt.name, out)
		}
	}
	a, b := c.ways[near].counts, c.ways[far].counts
	if a.Duplicate != 3 || b.Duplicate != 2 {
		t.Errorf("duplicates %d and %d, want 3 and 2", a.Duplicate, b.Duplicate)
	}
	end := t0.Add(140*time.Second + afterlife + time.Second)
	if out := c.FromNear(end, heard(end, 15*time.Second, "x")); len(published(out.Far)) != 1 {
		t.Errorf("after its afterlife: %+v, want it taken for a new one", out)
	}
}

func TestWhatTheOtherSideHasByItselfIsNotCarried(t *testing.T) {
	c := opened(t, nil)
	big := strings.Repeat("x", farInfo.MaxData+1)
	c.FromNear(t0, heard(t0, time.Minute, big))
	if n := c.ways[near].counts.TooLarge; n != 1 {
		t.Fatalf("too large: %d, want 1", n)
	}
	if out := c.FromFar(t0, heard(t0, time.Minute, big)); out.Near != nil || c.ways[far].counts.Duplicate != 1 {
		t.Errorf("%+v, want nothing: near has it", out)
	}
}

func TestEnvelopeThatAnotherBridgeCarriedIsTakenOutOfTheQueue(t *testing.T) {
	c := NewCore(DefaultConfig())
	c.FromNear(t0, transport.Ready{Info: whisperInfo})
	c.FromNear(t0, heard(t0, time.Minute, "x")) // far is not ready yet
	c.FromNear(t0, heard(t0, time.Minute, "y"))
	c.FromFar(t0, heard(t0, time.Minute, "x"))
	out := c.FromFar(t0, transport.Ready{Info: farInfo})
	if got := texts(out.Far); !slices.Equal(got, []string{"y"}) || out.Near != nil {
		t.Errorf("published %q and %v, want y alone", got, out.Near)
	}
	if out := c.FromNear(t0, heard(t0, time.Minute, "x")); out.Far != nil {
		t.Errorf("heard again: %+v, want nothing", out)
	}
}

func TestEnvelopesWaitForASideThatIsNotReady(t *testing.T) {
	c := NewCore(DefaultConfig())
	c.FromNear(t0, transport.Ready{Info: whisperInfo})
	c.FromNear(t0, heard(t0, 15*time.Second, "short"))
	c.FromNear(t0, heard(t0, time.Minute, "long"))
	c.FromNear(t0, heard(t0, time.Minute, strings.Repeat("x", farInfo.MaxData+1)))
	if got := c.Report().NearToFar.Waiting; got != 3 {
		t.Errorf("%d wait, want 3", got)
	}
	out := c.FromFar(t0.Add(30*time.Second), transport.Ready{Info: farInfo})
	if p := published(out.Far); len(p) != 1 || string(p[0].Data) != "long" || p[0].TTL != 30*time.Second {
		t.Errorf("published %+v, want the long-lived one with 30 s", p)
	}
	if n := c.Report().NearToFar; n.Expired != 1 || n.TooLarge != 1 || n.Waiting != 0 {
		t.Errorf("counts %+v", n)
	}
}

func TestRestartedSideIsGivenTheUnansweredAgain(t *testing.T) {
	c := opened(t, nil)
	ready := transport.Ready{Info: farInfo}
	c.FromNear(t0, heard(t0, 15*time.Second, "short"))
	for _, data := range []string{"relayed", "refused", "expired", "accepted", "silent"} {
		c.FromNear(t0, heard(t0, time.Minute, data))
	}
	c.FromFar(t0, transport.Relayed{Ref: ref(chat, "relayed")})
	c.FromFar(t0, transport.Refused{Ref: ref(chat, "refused")})
	c.FromFar(t0, transport.Expired{Ref: ref(chat, "expired")})
	c.FromFar(t0, transport.Accepted{Ref: ref(chat, "accepted")})
	c.FromNear(t0, transport.Accepted{Ref: ref(chat, "silent")}) // the wrong side

	p := published(c.FromFar(t0.Add(20*time.Second), ready).Far)
	if len(p) != 2 || string(p[0].Data) != "accepted" || string(p[1].Data) != "silent" {
		t.Fatalf("published %+v, want what is alive and unanswered, in order", p)
	}
	if p[0].Ref != ref(chat, "accepted") || p[0].TTL != 40*time.Second {
		t.Errorf("published %+v, want the Ref of before and what is left of the time", p[0])
	}
	c.FromFar(t0.Add(21*time.Second), transport.Relayed{Ref: p[0].Ref})
	if p := published(c.FromFar(t0.Add(22*time.Second), ready).Far); len(p) != 1 {
		t.Errorf("after another restart %+v, want the last one", p)
	}
	n := c.Report().NearToFar
	want := Counts{Seen: 6, Carried: 6, Repeated: 3, Relayed: 2, Unrelayed: 2, Refused: 1, Unanswered: 1}
	if n != want {
		t.Errorf("counts %+v, want %+v", n, want)
	}
}

func TestRepeatsAreBounded(t *testing.T) {
	c := opened(t, func(c *Config) {
		c.NearToFar.EnvelopesPerSecond = 10_000
		c.NearToFar.Queue = maxQueue
		c.Remember = maxRemember
	})
	all := many(t0, time.Hour, maxUnanswered+100)
	var sent []transport.Publish
	out := c.FromNear(t0, all)
	for len(published(out.Far)) > 0 { // accepted and never answered
		list := published(out.Far)
		sent, out = append(sent, list...), Output{}
		for _, p := range list {
			out.Far = append(out.Far, c.FromFar(t0, transport.Accepted{Ref: p.Ref}).Far...)
		}
	}
	if len(sent) != len(all.Envelopes) {
		t.Fatalf("%d published, want %d", len(sent), len(all.Envelopes))
	}
	if n := c.Report().NearToFar.Unanswered; n != maxUnanswered || len(c.parcels) != maxUnanswered {
		t.Errorf("%d are remembered to be unanswered (%d), want %d", n, len(c.parcels), maxUnanswered)
	}
	p := published(c.FromFar(t0, transport.Ready{Info: farInfo}).Far)
	if len(p) != maxSlots || p[0].Ref != sent[100].Ref {
		t.Errorf("%d at once, from %v, want %d of the last", len(p), p[0].Ref, maxSlots)
	}
}

func TestDataOfAnsweredPublishesIsLetGo(t *testing.T) {
	c := opened(t, nil)
	c.FromNear(t0, heard(t0, time.Hour, "unanswered"))
	for i := range 300 {
		now := t0.Add(time.Duration(i) * time.Second)
		relay(c.FromFar, now, c.FromNear(now, heard(now, time.Hour, fmt.Sprint(i))).Far)
	}
	if len(c.parcels) != 1 || c.Report().NearToFar.Unanswered != 1 {
		t.Errorf("%d parcels, want the unanswered alone", len(c.parcels))
	}
	for _, p := range c.ways[near].sent.items {
		if p != nil && p.state == done && p.data != nil {
			t.Fatal("an answered publish holds on to its data")
		}
	}
}

func TestOnlyStrangeEventsPanic(t *testing.T) {
	c := opened(t, nil)
	for _, e := range []transport.Event{
		transport.Peers{Count: 3}, transport.Received{}, transport.Accepted{}, transport.Relayed{}, transport.Expired{}, transport.Refused{},
	} {
		if out := c.FromNear(t0, e); out.Near != nil || out.Far != nil {
			t.Errorf("%T: %+v, want nothing", e, out)
		}
	}
	if got := c.Report().Near.Peers; got != 3 {
		t.Errorf("peers %d, want 3", got)
	}
	defer func() {
		if recover() == nil {
			t.Error("no event at all: want a panic")
		}
	}()
	c.FromNear(t0, nil)
}

func TestWhatIsForOthersOnTheSlotIsNotCarried(t *testing.T) {
	for name, step := range map[string]func(*Core, time.Time, transport.Event) Output{"near": (*Core).FromNear, "far": (*Core).FromFar} {
		c := opened(t, nil)
		before := c.Report()
		some := heard(t0, time.Minute, "not new").Envelopes
		for _, e := range []transport.Event{
			transport.Archives{Servers: []string{"x"}}, transport.History{Envelopes: some}, transport.Queried{},
			transport.Admitted{Mark: 1, Envelopes: some}, transport.Asked{Ask: 1}, transport.Taken{Ask: 1}, transport.Abandoned{Ask: 1},
			transport.Done{}, transport.Described{}, transport.Explained{},
		} {
			if out := step(c, t0, e); !reflect.DeepEqual(out, Output{}) {
				t.Errorf("%s: %T: %+v, want nothing", name, e, out)
			}
		}
		if after := c.Report(); !reflect.DeepEqual(after, before) {
			t.Errorf("%s: became %+v, was %+v", name, after, before)
		}
		if out := step(c, t0, heard(t0, time.Minute, "not new")); len(published(out.Near))+len(published(out.Far)) != 1 {
			t.Errorf("%s: %+v, want what is received carried, though it was history before", name, out)
		}
	}
}
