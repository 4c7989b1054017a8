package plugin

import (
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/transport"
)

// heard returns the data of what was reported as received and as admitted, and
// wants marks that grow.
func (r *rig) heard(mark *uint64) (received, admitted []string) {
	r.t.Helper()
	synctest.Wait()
	for _, e := range r.sink.take() {
		switch e := e.(type) {
		case slot.Received:
			for _, x := range e.Envelopes {
				received = append(received, string(x.Data))
			}
		case slot.Admitted:
			if e.Mark < *mark+uint64(len(e.Envelopes)) {
				r.t.Errorf("%d envelopes up to mark %d, the one before was %d", len(e.Envelopes), e.Mark, *mark)
			}
			*mark = e.Mark
			for _, x := range e.Envelopes {
				if x.Hash != hashOf(x.Topic, x.Data) || x.TTL == 0 || x.Sent.IsZero() {
					r.t.Errorf("admitted %+v", x)
				}
				admitted = append(admitted, string(x.Data))
			}
		}
	}
	return received, admitted
}

func ofB(n int) transport.Envelope {
	e := envelope(n)
	e.Topic = transport.Topic(topicB)
	return e
}

func TestArchiveHearsEverythingAndTheOthersWhatTheySubscribedTo(t *testing.T) {
	for _, watch := range []slot.Watch{{Keeps: true}, {Serves: true}, {Keeps: true, Serves: true}} {
		run(t, nil, func(t *testing.T, r *rig) {
			var mark uint64
			r.subscribe(topicA)
			r.edge.FromAbove(watch)
			synctest.Wait()
			if got := r.fake.filters[len(r.fake.filters)-1]; !got.All {
				t.Errorf("asked the transport for %+v, want all", got)
			}
			r.deliver(envelope(1), ofB(2))
			received, admitted := r.heard(&mark)
			if !reflect.DeepEqual(received, []string{"in 1"}) || !reflect.DeepEqual(admitted, []string{"in 1", "in 2"}) {
				t.Errorf("received %q, admitted %q", received, admitted)
			}
			r.publish(3, time.Minute)
			if received, admitted = r.heard(&mark); received != nil || !reflect.DeepEqual(admitted, []string{"data 3"}) {
				t.Errorf("after a publication received %q, admitted %q", received, admitted)
			}
			r.deliver(envelope(1)) // again
			if received, admitted = r.heard(&mark); received != nil || admitted != nil {
				t.Errorf("after a repetition received %q, admitted %q", received, admitted)
			}
			r.edge.FromAbove(slot.Kept{Mark: mark})
			r.edge.FromAbove(slot.Kept{Mark: mark - 1})
			if got := r.home.Describe().Counts.Kept; got != mark {
				t.Errorf("kept up to %d, want %d", got, mark)
			}
			before := mark
			r.again()
			r.skip()
			r.subscribe(topicA)
			r.deliver(envelope(4))
			if received, admitted = r.heard(&mark); len(received) != 1 || admitted != nil {
				t.Errorf("in the next life, before a Watch, received %q, admitted %q", received, admitted)
			}
			r.edge.FromAbove(watch)
			synctest.Wait()
			r.deliver(ofB(5))
			if _, admitted = r.heard(&mark); len(admitted) != 1 || mark <= before {
				t.Errorf("admitted %q up to %d, want one beyond %d", admitted, mark, before)
			}
		})
	}
}

func TestWatchedTopicsAddUpBesideTheSubscription(t *testing.T) {
	run(t, nil, func(t *testing.T, r *rig) {
		var mark uint64
		topicC := slot.Topic{3}
		filter := func() transport.Filter { return r.fake.filters[len(r.fake.filters)-1] }
		r.subscribe(topicA)
		r.edge.FromAbove(slot.Watch{})
		synctest.Wait()
		if n := len(r.fake.filters); n != 1 {
			t.Errorf("the transport was told %d times, want once", n)
		}
		r.edge.FromAbove(slot.Watch{Topics: []slot.Topic{topicB}})
		r.edge.FromAbove(slot.Watch{Topics: []slot.Topic{topicC, topicA}})
		synctest.Wait()
		all := []transport.Topic{{1}, {2}, {3}}
		if got := filter(); got.All || !reflect.DeepEqual(got.Topics, all) {
			t.Errorf("asked the transport for %+v, want %v", got, all)
		}
		r.deliver(envelope(1), ofB(2))
		received, admitted := r.heard(&mark)
		if !reflect.DeepEqual(received, []string{"in 1"}) || len(admitted) != 2 {
			t.Errorf("received %q, admitted %q", received, admitted)
		}
		r.subscribe() // the watched ones stay
		if got := filter(); !reflect.DeepEqual(got.Topics, all) {
			t.Errorf("asked the transport for %+v, want %v", got, all)
		}
		r.deliver(envelope(3))
		if received, admitted = r.heard(&mark); received != nil || len(admitted) != 1 {
			t.Errorf("received %q, admitted %q", received, admitted)
		}
	})
}

func TestWhatDidNotReachAllIsReportedToAllInTheNextLife(t *testing.T) {
	run(t, nil, func(t *testing.T, r *rig) {
		r.subscribe(topicA)
		r.edge.FromAbove(slot.Watch{Keeps: true})
		synctest.Wait()
		e := envelope(1)
		room := int64(len(e.Data) + costOfEnvelope)
		credit, err := r.home.flight.Take(t.Context(), int64(r.home.cfg.InFlight)-room) // for one report only
		if err != nil {
			t.Fatal(err)
		}
		var mark uint64
		r.deliver(e)
		if received, admitted := r.heard(&mark); received != nil || admitted != nil {
			t.Errorf("received %q, admitted %q, want neither yet", received, admitted)
		}
		r.again()
		credit.Return()
		r.skip()
		r.subscribe(topicA)
		r.edge.FromAbove(slot.Watch{Keeps: true})
		synctest.Wait()
		r.deliver(e)
		if received, admitted := r.heard(&mark); len(received) != 1 || len(admitted) != 1 {
			t.Errorf("in the next life received %q, admitted %q, want both", received, admitted)
		}
	})
}

func TestArchiveThatIsBusyStopsTheTransport(t *testing.T) {
	run(t, nil, func(t *testing.T, r *rig) {
		r.subscribe(topicA)
		r.edge.FromAbove(slot.Watch{Keeps: true})
		synctest.Wait()
		r.sink.hold = true
		taken := 0
		big := make([]byte, fine.MaxData)
		for n := 0; ; n++ {
			e := envelope(n)
			e.Data = append(e.Data, big[:fine.MaxData-len(e.Data)]...)
			synctest.Wait()
			select {
			case r.fake.reports <- transport.Report{Envelopes: []transport.Envelope{e}}:
				taken++
				continue
			default:
			}
			break
		}
		if most := minInFlight / (fine.MaxData + costOfEnvelope) / 2; taken > most+2 || taken < most-2 {
			t.Errorf("took %d reports, there is room for %d", taken, most)
		}
		for _, c := range r.sink.held {
			c.Return()
		}
	}, func(c *Config) { c.InFlight = minInFlight })
}
