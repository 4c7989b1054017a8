//go:build linux

package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stratanode/strata/plugins/transport"
)

// countTheCounters has a plugin report thousands of counters, others each time,
// and looks at what is there for /metrics.
func countTheCounters(t *testing.T, program string) {
	node := start(t, fmt.Sprintf(siegeText, program, "stats", "metrics", ""), bootOptions{})
	resident := node.residents.plugin(string(transportSlot))
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(resident.Collector()); err != nil {
		t.Fatal(err)
	}
	counters := map[string]float64{}
	eventually(t, "the second report", func() bool {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		clear(counters)
		for _, f := range families {
			if !strings.HasSuffix(f.GetName(), "_stat") {
				continue
			}
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					if l.GetName() == "name" {
						counters[l.GetValue()] = m.GetUntyped().GetValue()
					}
				}
			}
		}
		return counters["calls"] >= 2
	})
	if len(counters) > transport.MaxStats || len(counters) < 2 {
		t.Errorf("%d counters, want 2 to %d", len(counters), transport.MaxStats)
	}
	for name := range counters {
		if name != "calls" && !strings.HasPrefix(name, "call_1_counter_") {
			t.Errorf("there is a counter %q, want those of the first report only", name)
		}
	}
	node.healthy(t)
}
