package plugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/transport"
)

// What the transport of the model does when it is asked to publish.
const (
	takes = iota
	isBusy
	refuses
	isShort // answers for the first only
	isLong  // answers for more than it was asked
	hangs
	dies
	closesItself
	panics
	behaviours
)

// model is the layer above and the kernel, as simply as they can be said.
type model struct {
	*rig
	next       int
	unanswered map[int]bool
	finals     map[int]int
	mode       atomic.Int32
}

func (m *model) behave(f *fake) {
	f.calls = 2
	f.publish = func(ctx context.Context, batch []transport.Envelope) []error {
		switch m.mode.Load() {
		case isBusy:
			return slices.Repeat([]error{transport.ErrBusy}, len(batch))
		case refuses:
			return slices.Repeat([]error{errors.New("no")}, len(batch))
		case isShort:
			return []error{transport.ErrTooLarge}
		case isLong:
			return slices.Repeat([]error{nil, transport.ErrExpired}, len(batch))
		case hangs:
			return []error{hang(ctx)}
		case dies:
			f.crash(errCrash)
			return slices.Repeat([]error{errCrash}, len(batch))
		case closesItself:
			return slices.Repeat([]error{transport.ErrClosed}, len(batch))
		case panics:
			panic("model")
		}
		return nil
	}
}

// hear takes every event, and repeats what is not answered after a Ready. It
// takes the answers first: how an answer and a repetition cross is told by
// TestRepeatedPublishChangesNothing.
func (m *model) hear(rt *rapid.T) {
	for again := true; again; {
		synctest.Wait()
		again = false
		ready := false
		for _, e := range m.sink.take() {
			switch e := e.(type) {
			case slot.Ready:
				ready = true
			case slot.Accepted:
				m.known(rt, e.Ref)
			case slot.Relayed:
				m.final(rt, e.Ref)
			case slot.Expired:
				m.final(rt, e.Ref)
			case slot.Refused:
				m.final(rt, e.Ref)
			}
		}
		if ready {
			m.edge.FromAbove(slot.Subscribe{Topics: []slot.Topic{topicA}})
			m.repeat()
			again = true
		}
		if len(m.sink.failures()) > 0 {
			m.sink.mu.Lock()
			m.sink.fails = nil
			m.sink.mu.Unlock()
			m.again()
			again = true
		}
		if m.mode.Load() >= hangs {
			m.mode.Store(takes) // a transport that breaks for ever is never heard out
		}
	}
}

func (m *model) repeat() {
	for _, n := range slices.Sorted(maps.Keys(m.unanswered)) {
		m.publish(n, time.Minute)
	}
}

func (m *model) known(rt *rapid.T, ref [32]byte) {
	if !m.unanswered[number(ref)] {
		rt.Fatalf("accepted %q, which is answered", ref)
	}
}

func (m *model) final(rt *rapid.T, ref [32]byte) {
	m.known(rt, ref)
	delete(m.unanswered, number(ref))
	m.finals[number(ref)]++
}

func TestEveryPublishHasOneFinalAnswerWhateverHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(noDeadline{t}, func(rt *rapid.T) {
			m := &model{unanswered: map[int]bool{}, finals: map[int]int{}}
			receipts := rapid.Bool().Draw(rt, "receipts")
			m.rig = newRig(t, func(f *fake) {
				f.info.Receipts = receipts
				m.behave(f)
			})
			m.begin()
			defer func() { m.edge.Close() }()
			for range rapid.IntRange(1, 60).Draw(rt, "steps") {
				m.step(rt)
				m.hear(rt)
			}
			m.mode.Store(takes)
			for range 10 {
				time.Sleep(time.Minute)
				m.hear(rt)
			}
			m.edge.Close()
			for n := range m.next {
				if m.finals[n] != 1 {
					rt.Fatalf("publication %d has %d final answers", n, m.finals[n])
				}
			}
			if n := len(m.edge.(*Edge).box.byRef); n != 0 {
				rt.Fatalf("%d publications are left", n)
			}
			if n := m.edge.(*Edge).box.unsent; n != 0 {
				rt.Fatalf("%d bytes are left", n)
			}
		})
	})
}

// noDeadline hides that of the test, which may not be asked for in virtual time.
type noDeadline struct{ rapid.TB }

// step does one thing.
func (m *model) step(rt *rapid.T) {
	switch rapid.IntRange(0, 7).Draw(rt, "step") {
	case 0, 1:
		for range rapid.SampledFrom([]int{1, 2, 300}).Draw(rt, "count") {
			m.unanswered[m.next] = true
			m.publish(m.next, time.Minute)
			m.next++
		}
	case 2:
		m.mode.Store(int32(rapid.IntRange(0, behaviours-1).Draw(rt, "behaviour")))
	case 3:
		time.Sleep(time.Duration(rapid.IntRange(1, 20_000).Draw(rt, "ms")) * time.Millisecond)
	case 4:
		var report transport.Report
		for range rapid.IntRange(1, 20).Draw(rt, "receipts") {
			report.Receipts = append(report.Receipts, transport.Receipt{
				ID:      rapid.Uint64Range(0, uint64(m.next)+1).Draw(rt, "id"),
				Outcome: transport.Outcome(rapid.IntRange(0, 4).Draw(rt, "outcome")),
				Reason:  "because",
			})
		}
		select {
		case m.fake.reports <- report:
		case <-m.fake.done:
		}
	case 5:
		m.fake.crash(fmt.Errorf("crash at %d", m.next))
	case 6:
		m.repeat() // for no reason
	case 7:
		m.edge.FromAbove(slot.Attach{})
	}
}
