package plugin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/host"
	"github.com/stratanode/strata/plugins/transport"
)

// parrot is what the test's own program is as a plugin: it takes everything and
// reports one envelope after each Subscribe.
type parrot struct{ reports chan transport.Report }

func (p *parrot) Open(context.Context, transport.Options) (transport.Info, error) {
	return transport.Info{Name: "parrot", Version: "1", MaxData: 1000, MaxTTL: time.Minute}, nil
}

func (p *parrot) Subscribe(_ context.Context, f transport.Filter) error {
	e := envelope(int(time.Now().UnixNano()))
	e.Topic = f.Topics[0]
	p.reports <- transport.Report{Envelopes: []transport.Envelope{e}}
	return nil
}

func (p *parrot) Publish(_ context.Context, batch []transport.Envelope) []error {
	for _, e := range batch {
		if string(e.Data) == "die" {
			os.Exit(3)
		}
	}
	return nil
}

func (p *parrot) Receive(ctx context.Context) (transport.Report, error) {
	select {
	case r := <-p.reports:
		return r, nil
	case <-ctx.Done():
		return transport.Report{}, ctx.Err()
	}
}

func (p *parrot) Close(context.Context) error { return nil }

// mirror is a parrot that asks its own node's archive what it is asked.
type mirror struct {
	*parrot
	archive chan transport.Archive
}

// mirroring is the variable of the environment that makes a mirror.
const mirroring = "MIRROR"

func (m *mirror) Subscribe(context.Context, transport.Filter) error { return nil }

func (m *mirror) Query(ctx context.Context, q transport.Query) (transport.Page, error) {
	select {
	case a := <-m.archive:
		m.archive <- a
		return a(ctx, transport.Ask{Query: q, Peer: "mirror"})
	case <-ctx.Done():
		return transport.Page{}, ctx.Err()
	}
}

func (m *mirror) Serve(ctx context.Context, a transport.Archive) error {
	m.archive <- a
	<-ctx.Done()
	<-m.archive
	return ctx.Err()
}

// asPlugin makes the test's own program a plugin if it was started as one.
func asPlugin() {
	host.Shim()
	if os.Getenv(transport.Handshake.MagicCookieKey) != "" {
		p := &parrot{make(chan transport.Report, 8)}
		transport.Serve(func() transport.Transport {
			if os.Getenv(mirroring) != "" {
				return &mirror{parrot: p, archive: make(chan transport.Archive, 1)}
			}
			return p
		})
		os.Exit(0)
	}
}

// await waits for an event of the type.
func await[E slot.Event](t *testing.T, events <-chan slot.Event) E {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case e := <-events:
			if e, ok := e.(E); ok {
				return e
			}
		case <-deadline:
			t.Fatalf("no %T in 30 s", *new(E))
		}
	}
}

func TestProcessThatDiesIsStartedAgainAndThePoisonRefused(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := DefaultConfig()
	c.Dir, c.Confine = t.TempDir(), ConfineOff
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	s := &failing{sink: sink{}, failed: make(chan error, 1)}
	events := make(chan slot.Event, 1000)
	s.heard = func(e slot.Event) { events <- e }
	home := NewResident("parrot", c, Process("parrot", c, []string{self}, quiet), quiet)
	for life := range 3 {
		e := home.Edge(s)
		if err := e.Open(); err != nil {
			t.Fatal(err)
		}
		await[slot.Ready](t, events)
		if d := home.Describe(); d.PID == 0 || d.Kind != "process" || d.Protocol == 0 || d.Transport != "parrot" {
			t.Errorf("described as %+v", d)
		}
		e.FromAbove(slot.Subscribe{Topics: []slot.Topic{topicA}})
		if got := await[slot.Received](t, events); len(got.Envelopes) != 1 {
			t.Errorf("received %v", got)
		}
		e.FromAbove(slot.Publish{Ref: ref(life), Topic: topicA, Data: fmt.Append(nil, "fine ", life), TTL: time.Minute})
		if got := await[slot.Relayed](t, events); got.Ref != ref(life) {
			t.Errorf("relayed %v", got)
		}
		e.FromAbove(slot.Publish{Ref: ref(99), Topic: topicA, Data: []byte("die"), TTL: time.Minute})
		if life < 2 {
			if err := <-s.failed; !strings.HasPrefix(err.Error(), "parrot: ") {
				t.Errorf("failed with %v", err)
			} else {
				t.Log(err)
			}
		} else if got := await[slot.Refused](t, events); got.Ref != ref(99) {
			t.Errorf("refused %v", got)
		}
		e.Close()
	}
}

// failing tells of failures.
type failing struct {
	sink
	failed chan error
}

func (f *failing) Fail(err error) { f.failed <- err }

func TestProgramThatIsNotThereIsAnErrorOfOpen(t *testing.T) {
	c := DefaultConfig()
	c.Dir, c.Confine = t.TempDir(), ConfineOff
	home := NewResident("none", c, Process("none", c, []string{"/nowhere/none"}, quiet), quiet)
	e := home.Edge(&sink{})
	err := e.Open()
	if err == nil || !errors.Is(err, os.ErrNotExist) && !strings.Contains(err.Error(), "/nowhere/none") {
		t.Errorf("got %v", err)
	}
	e.Close()
}

func TestHistoryGoesThroughAProcessBothWays(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := DefaultConfig()
	c.Dir, c.Confine, c.Env = t.TempDir(), ConfineOff, map[string]string{mirroring: "1"}
	s := &failing{sink: sink{}, failed: make(chan error, 1)}
	events := make(chan slot.Event, 1000)
	s.heard = func(e slot.Event) { events <- e }
	home := NewResident("mirror", c, Process("mirror", c, []string{self}, quiet), quiet)
	for life := range 2 {
		e := home.Edge(s)
		if err := e.Open(); err != nil {
			t.Fatal(err)
		}
		if got := await[slot.Archives](t, events); !slices.Equal(got.Servers, []string{"mirror"}) {
			t.Errorf("got %+v", got)
		}
		e.FromAbove(slot.Watch{Keeps: true, Serves: true})
		q := lastHour(life)
		q.Cursor, q.Limit = []byte("at"), 7
		e.FromAbove(q)
		a := await[slot.Asked](t, events)
		if a.Peer != "mirror:mirror" || a.Limit != 7 || string(a.Cursor) != "at" || !slices.Equal(a.Topics, q.Topics) || a.From.Unix() != q.From.Unix() {
			t.Errorf("asked %+v, want %+v", a, q)
		}
		stored := kept(1, 100, time.Minute)
		e.FromAbove(slot.Page{Ask: a.Ask, Envelopes: []slot.Envelope{stored}})
		await[slot.Taken](t, events)
		e.FromAbove(slot.Page{Ask: a.Ask, Last: true, Cursor: []byte("next")})
		if got := await[slot.History](t, events); got.Ref != ref(life) || len(got.Envelopes) != 1 || string(got.Envelopes[0].Data) != string(stored.Data) {
			t.Errorf("got %+v", got)
		}
		if got := await[slot.Queried](t, events); got.Ref != ref(life) || got.End != slot.QueryDone || got.Count != 1 || string(got.Cursor) != "next" {
			t.Errorf("got %+v", got)
		}
		e.FromAbove(slot.Query{Ref: ref(100 + life)}) // is under way when the process dies
		a = await[slot.Asked](t, events)
		home.life.running.Kill()
		// Both ends of the process notice its death, in no order.
		queried, abandoned := false, false
		for !queried || !abandoned {
			switch got := await[slot.Event](t, events).(type) {
			case slot.Queried:
				queried = true
				if got.Ref != ref(100+life) || got.End != slot.QueryGone {
					t.Errorf("of a process that died: %+v", got)
				}
			case slot.Abandoned:
				abandoned = true
				if got.Ask != a.Ask {
					t.Errorf("abandoned %d, want %d", got.Ask, a.Ask)
				}
			}
		}
		t.Log(<-s.failed)
		e.Close()
	}
}
