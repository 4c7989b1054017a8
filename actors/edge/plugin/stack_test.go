package plugin

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/actortest"
	"github.com/stratanode/strata/kernel"
	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/transport"
)

// TestEdgeUnderTheRealActorsComesBackAfterACrash runs an edge in a kernel, with
// a loop in place of the network.
func TestEdgeUnderTheRealActorsComesBackAfterACrash(t *testing.T) {
	var (
		mu    sync.Mutex
		fakes []*fake
	)
	r := newRig(t, func(f *fake) {
		f.pid = 7
		f.info.Receipts = false
		mu.Lock()
		defer mu.Unlock()
		fakes = append(fakes, f)
	})
	k := kernel.New(quiet)
	s := actors.NewStack(k, nil, nil, quiet)
	const place = actors.Slot[slot.Command, slot.Event]("transport")
	actors.StandEdge(s, place, func(out actors.Outlet[slot.Event]) actors.Edge[slot.Command] { return r.home.Edge(out) })
	roof := actortest.NewRoof(s, place)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer k.Stop()
	latest := func() *fake {
		mu.Lock()
		defer mu.Unlock()
		return fakes[len(fakes)-1]
	}
	for life := range 2 {
		until(t, roof, "ready", func(e slot.Event) bool { _, ok := e.(slot.Ready); return ok }, life+1)
		roof.Send(slot.Subscribe{Topics: []slot.Topic{topicA}})
		roof.Send(slot.Publish{Ref: ref(life), Topic: topicA, Data: fmt.Append(nil, life), TTL: time.Minute})
		until(t, roof, "relayed", func(e slot.Event) bool { _, ok := e.(slot.Relayed); return ok }, life+1)
		latest().reports <- transport.Report{Envelopes: []transport.Envelope{envelope(life)}}
		until(t, roof, "received", func(e slot.Event) bool { _, ok := e.(slot.Received); return ok }, life+1)
		latest().crash(errCrash)
	}
	until(t, roof, "ready", func(e slot.Event) bool { _, ok := e.(slot.Ready); return ok }, 3)
}

// until waits until n of the events so far are wanted.
func until(t *testing.T, roof *actortest.Roof[slot.Command, slot.Event], what string, wanted func(slot.Event) bool, n int) {
	t.Helper()
	for least := n; ; least++ {
		have := 0
		for _, e := range roof.Wait(t, least) {
			if wanted(e) {
				have++
			}
		}
		if have >= n {
			return
		}
	}
}
