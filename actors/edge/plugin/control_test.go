package plugin

import (
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stratanode/strata/layers"
	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/transport"
)

func TestWhatAPluginCannotDoIsRefused(t *testing.T) {
	run(t, nil, func(t *testing.T, r *rig) {
		pow := 0.1
		for _, c := range []slot.Command{
			slot.Set{Ref: ref(1), MinPoW: &pow}, slot.Trust{Ref: ref(1), Node: "enode://x"},
			slot.Direct{Ref: ref(1), Node: "enode://x", Raw: []byte{1}},
			slot.Publish{Ref: ref(1), Raw: []byte{1}, Topic: topicA, Data: []byte("x")},
		} {
			r.edge.FromAbove(c)
			synctest.Wait()
			events := r.sink.take()
			if len(events) != 1 {
				t.Fatalf("%T: got %v, want one event", c, named(events))
			}
			if got, ok := events[0].(slot.Refused); !ok || got.Ref != ref(1) || !strings.HasPrefix(got.Reason, "fake-slot: ") {
				t.Errorf("%T: got %v", c, named(events))
			}
		}
		if n := len(r.fake.asked()); n != 0 {
			t.Errorf("%d batches were offered", n)
		}
	})
}

func TestTransportIsDescribedByWhatIsKnown(t *testing.T) {
	run(t, asking(nothing), func(t *testing.T, r *rig) {
		r.subscribe(topicA)
		r.deliver(envelope(1), envelope(1), ofB(2))
		r.publish(1, time.Minute)
		r.skip()
		r.edge.FromAbove(slot.Describe{Ref: ref(9)})
		r.expect(slot.Described{Ref: ref(9), State: slot.State{
			MaxMessage: fine.MaxData, Pooled: 1, PoolLimit: r.home.cfg.MaxUnsent,
			Admitted: 1, Duplicates: 1, Refused: map[string]uint64{"foreign_topic": 1}, Limited: map[string]uint64{},
			Servers: []string{"fake-slot"},
		}})
	})
}

func TestEnvelopeIsExplainedByWhenItCameAndWent(t *testing.T) {
	run(t, nil, func(t *testing.T, r *rig) {
		explain := func(h slot.Hash) []slot.Fact {
			t.Helper()
			r.skip()
			r.edge.FromAbove(slot.Explain{Ref: layers.Ref{7}, Hash: h})
			events := r.sink.take()
			got, ok := events[0].(slot.Explained)
			if len(events) != 1 || !ok || got.Ref != (layers.Ref{7}) || got.Hash != h {
				t.Fatalf("got %v", named(events))
			}
			return got.Facts
		}
		if got := explain(slot.Hash{1}); got != nil {
			t.Errorf("of an unknown one: %+v", got)
		}
		r.subscribe(topicA)
		at := time.Now()
		r.deliver(envelope(1))
		time.Sleep(time.Second)
		r.publish(2, time.Minute)
		for _, c := range []struct {
			hash slot.Hash
			deed slot.Deed
			at   time.Time
		}{
			{hashOf(topicA, []byte("in 1")), slot.Came, at},
			{hashFor(2), slot.Published, at.Add(time.Second)},
		} {
			got := explain(c.hash)
			want := []slot.Fact{{At: c.at, Deed: c.deed, Detail: "by way of the transport fake-slot"}}
			if len(got) != 1 || !got[0].At.Equal(c.at) {
				t.Errorf("got %+v, want %+v", got, want)
				continue
			}
			got[0].At = c.at
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		}
	})
}

var _ transport.Server = (*fake)(nil)
