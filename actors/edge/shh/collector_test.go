package shh

import (
	"maps"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestMetricsHaveFixedLabels(t *testing.T) {
	tb := newTable(t, nil)
	tb.add("one", filter{}, keyed{sym: symOf(1)})
	tb.add("two", filter{fresh: make(chan struct{}, 1)}, keyed{sym: symOf(1)})
	e := sealed(letter{sym: symOf(1)}, "x")
	tb.o.open(&waiting{e, false})
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(tb.api.Collector()); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	want := map[string]float64{
		"strata_shh_held keys": 0, "strata_shh_held filters": 2, "strata_shh_held subscriptions": 1,
		"strata_shh_stored_bytes":           float64(2 * (messageOverhead + 253 + 1)), // payload and padding, in both
		"strata_shh_waiting_envelopes":      0,
		"strata_shh_envelopes_total opened": 1, "strata_shh_envelopes_total malformed": 0, "strata_shh_envelopes_total overflowed": 0,
		"strata_shh_dropped_messages_total": 0, "strata_shh_lapsed_filters_total": 0,
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
