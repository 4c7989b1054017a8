package plugin

import (
	"context"
	"errors"
	"fmt"
	"os"
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

// asPlugin makes the test's own program a plugin if it was started as one.
func asPlugin() {
	host.Shim()
	if os.Getenv(transport.Handshake.MagicCookieKey) != "" {
		transport.Serve(func() transport.Transport { return &parrot{make(chan transport.Report, 8)} })
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
