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

	queries int // made so far
	queried map[int]int
	fetch   atomic.Int32 // what the transport does with a query
}

func (m *model) behave(f *fake) {
	f.calls = 2
	f.info.Abilities.Query = true
	f.query = func(ctx context.Context, _ transport.Query) (transport.Page, error) {
		switch m.fetch.Load() {
		case refuses:
			return transport.Page{}, errors.New("no")
		case isShort:
			return transport.Page{}, nil
		case isLong:
			return transport.Page{Envelopes: slices.Repeat([]transport.Envelope{past(1, time.Minute)}, transport.MaxBatch+1)}, nil
		case isBusy:
			time.Sleep(10 * time.Second)
		case hangs:
			return transport.Page{}, hang(ctx)
		case dies:
			f.crash(errCrash)
			return transport.Page{}, errCrash
		case closesItself:
			return transport.Page{}, transport.ErrClosed
		case panics:
			panic("model")
		}
		return transport.Page{Envelopes: []transport.Envelope{past(1, time.Minute)}, Cursor: []byte("next")}, nil
	}
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
			case slot.History:
				if n := queryNumber(e.Ref); m.queried[n] > 0 {
					rt.Fatalf("history for query %d, which is answered", n)
				}
			case slot.Queried:
				m.queried[queryNumber(e.Ref)]++
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
		if m.fetch.Load() >= hangs {
			m.fetch.Store(takes)
		}
	}
}

// queryRef names a query; publications have other names.
func queryRef(n int) [32]byte { return ref(1_000_000 + n) }

func queryNumber(r [32]byte) int { return number(r) - 1_000_000 }

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

func TestEveryPublishAndEveryQueryHasOneFinalAnswerWhateverHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(noDeadline{t}, func(rt *rapid.T) {
			m := &model{unanswered: map[int]bool{}, finals: map[int]int{}, queried: map[int]int{}}
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
			m.fetch.Store(takes)
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
			for n := range m.queries {
				if m.queried[n] != 1 {
					rt.Fatalf("query %d has %d answers", n, m.queried[n])
				}
			}
			if q := &m.edge.(*Edge).queries; len(q.byRef)+len(q.waiting)+q.running != 0 {
				rt.Fatalf("queries are left: %+v", q)
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
	switch rapid.IntRange(0, 11).Draw(rt, "step") {
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
	case 8:
		for range rapid.SampledFrom([]int{1, 2, maxQueries + maxWaiting + 1}).Draw(rt, "queries") {
			m.edge.FromAbove(slot.Query{Ref: queryRef(m.queries), From: time.Now().Add(-time.Hour), Topics: []slot.Topic{topicA}})
			m.queries++
		}
	case 9:
		m.fetch.Store(int32(rapid.IntRange(0, behaviours-1).Draw(rt, "fetch")))
	case 10:
		if m.queries > 0 {
			m.edge.FromAbove(slot.Cancel{Ref: queryRef(rapid.IntRange(0, m.queries-1).Draw(rt, "cancel"))})
		}
	case 11: // replaced
		m.edge.Close()
		m.begin()
	}
}
