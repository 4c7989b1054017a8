package devp2p

import (
	"io"
	"log/slog"
	"sync"
	"testing"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers/overlay"
)

const slot = actors.Slot[overlay.Command, overlay.Event]("overlay")

// user is a top that greets and keeps what it hears.
type user struct {
	*sink
	inlet actors.Inlet[overlay.Command]
	edge  *Edge
}

func (u *user) Open() error {
	u.inlet.Send(overlay.Attach{})
	u.inlet.Send(overlay.Greet{Packet: overlay.Outgoing{Code: codeHello, Payload: []byte("hello stack")}})
	return nil
}
func (u *user) Close() {}

// run runs an edge under the real actors.
func run(t *testing.T, set func(*Config)) *user {
	t.Helper()
	c := testConfig()
	set(&c)
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	key := newKey(t)
	u := &user{sink: newSink()}
	k := kernel.New(quiet)
	s := actors.NewStack(k, nil, nil, quiet)
	var once sync.Mutex
	actors.StandEdge(s, slot, func(out actors.Outlet[overlay.Event]) actors.Edge[overlay.Command] {
		once.Lock()
		defer once.Unlock()
		u.edge = New(c, key, toy{"toy"}, quiet, out)
		return u.edge
	})
	top := actors.NewTop(s, "user")
	u.inlet = actors.Hear(top, slot, func(e overlay.Event) { u.sink.Send(e) })
	top.Run(u)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Stop)
	return u
}

func TestEdgesTalkUnderTheRealActors(t *testing.T) {
	a := run(t, func(*Config) {})
	at := expect[overlay.Ready](t, a.sink, nil)
	b := run(t, func(c *Config) { c.StaticNodes = []string{at.Enode} })
	to := expect[overlay.Connected](t, b.sink, nil)
	if to.Peer != at.ID {
		t.Errorf("linked to %v, want %v", to.Peer, at.ID)
	}
	for _, text := range []string{"one", "two"} {
		b.inlet.Send(overlay.Send{Peer: to.Peer, Packets: []overlay.Outgoing{{Code: codeText, Payload: []byte(text)}}})
		expect[overlay.Written](t, b.sink, nil)
		if got := expect[overlay.Arrived](t, a.sink, nil); got.Packet != (packet{codeText, text}) {
			t.Errorf("got %v", got.Packet)
		}
	}
}
