package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stratanode/strata/plugins/transport"
)

func TestMetricsHaveFixedNamesAndReasons(t *testing.T) {
	run(t, func(f *fake) { f.info.Receipts = false }, func(t *testing.T, r *rig) {
		r.subscribe(topicA)
		e := envelope(1)
		e.Topic = transport.Topic(topicB)
		r.deliver(e, envelope(2))
		r.publish(1, time.Minute)
		n := 3
		time.Sleep(time.Second)
		r.fake.reports <- transport.Report{Peers: &n}
		synctest.Wait()
		const want = `
# HELP strata_plugin_answers_total Final answers to publications.
# TYPE strata_plugin_answers_total counter
strata_plugin_answers_total{answer="expired",transport="fake-slot"} 0
strata_plugin_answers_total{answer="refused",transport="fake-slot"} 0
strata_plugin_answers_total{answer="relayed",transport="fake-slot"} 1
# HELP strata_plugin_dropped_total Received envelopes that were dropped.
# TYPE strata_plugin_dropped_total counter
strata_plugin_dropped_total{reason="beyond_batch",transport="fake-slot"} 0
strata_plugin_dropped_total{reason="expired",transport="fake-slot"} 0
strata_plugin_dropped_total{reason="foreign_topic",transport="fake-slot"} 1
strata_plugin_dropped_total{reason="future",transport="fake-slot"} 0
strata_plugin_dropped_total{reason="own",transport="fake-slot"} 0
strata_plugin_dropped_total{reason="replayed",transport="fake-slot"} 0
strata_plugin_dropped_total{reason="size",transport="fake-slot"} 0
strata_plugin_dropped_total{reason="ttl",transport="fake-slot"} 0
strata_plugin_dropped_total{reason="unasked",transport="fake-slot"} 0
# HELP strata_plugin_open Whether the transport is open.
# TYPE strata_plugin_open gauge
strata_plugin_open{transport="fake-slot"} 1
# HELP strata_plugin_peers Peers that take envelopes from this node, as the transport says.
# TYPE strata_plugin_peers gauge
strata_plugin_peers{transport="fake-slot"} 3
# HELP strata_plugin_received_total Envelopes handed to the layers above.
# TYPE strata_plugin_received_total counter
strata_plugin_received_total{transport="fake-slot"} 1
`
		if err := testutil.CollectAndCompare(r.home.Collector(), strings.NewReader(want),
			"strata_plugin_answers_total", "strata_plugin_dropped_total", "strata_plugin_open",
			"strata_plugin_peers", "strata_plugin_received_total"); err != nil {
			t.Error(err)
		}
		if faults, err := testutil.CollectAndLint(r.home.Collector()); err != nil || len(faults) > 0 {
			t.Errorf("lint: %v %v", faults, err)
		}
	})
}

func TestCountersOfTheTransportAreBoundedAndChecked(t *testing.T) {
	round := 0
	set := func(f *fake) {
		f.info.Abilities.Stats = true
		f.stats = func() ([]transport.Stat, error) {
			round++
			if round == 3 {
				return nil, errors.New("not now")
			}
			all := []transport.Stat{
				{Name: "ok_total", Value: float64(round)}, {Name: "nan", Value: math.NaN()}, {Name: "inf", Value: math.Inf(1)},
				{Name: "", Value: 1}, {Name: "Upper", Value: 1}, {Name: "new\nline", Value: 1}, {Name: strings.Repeat("a", 65), Value: 1},
			}
			for i := range 1000 {
				all = append(all, transport.Stat{Name: fmt.Sprintf("r%d_%d", round, i), Value: 1})
			}
			return all, nil
		}
	}
	run(t, set, func(t *testing.T, r *rig) {
		time.Sleep(5 * statsEvery)
		synctest.Wait()
		if n := testutil.CollectAndCount(r.home.Collector(), "strata_plugin_stat"); n != transport.MaxStats {
			t.Errorf("%d time series, want %d", n, transport.MaxStats)
		}
		got := map[string]float64{}
		r.home.stats.each(func(name string, value float64) { got[name] = value })
		if got["ok_total"] != 5 {
			t.Errorf("ok_total is %v after %d rounds", got["ok_total"], round)
		}
		for name := range got {
			if !statName.MatchString(name) || name == "nan" || name == "inf" {
				t.Errorf("has %q", name)
			}
		}
		if fails := r.sink.failures(); len(fails) != 0 {
			t.Errorf("failed: %v", fails)
		}
	})
}

func TestDescriptionTellsWhatTheTransportClaims(t *testing.T) {
	run(t, func(f *fake) {
		f.info.Name, f.info.Version = "evil\x1b[2J", strings.Repeat("v", 1000)
		f.info.MaxData = math.MaxInt
		f.info.Sender, f.info.Receiver = transport.AnonymityNetwork, 99
		f.info.Storage = transport.StorageTTL
		f.info.Abilities.Query = true
	}, func(t *testing.T, r *rig) {
		d := r.home.Describe()
		if d.Transport != "evil?[2J" || len(d.Version) != transport.MaxText || d.Confinement != "none: a test?[31m" {
			t.Errorf("texts: %q %q %q", d.Transport, d.Version, d.Confinement)
		}
		want := Claims{"hidden among all nodes from a local observer", "none", "none", "until the time to live is over", true}
		if d.Claims != want || !d.Abilities.Query || d.Limits.MaxData != transport.MaxEnvelope {
			t.Errorf("claims %+v, abilities %+v, limits %+v", d.Claims, d.Abilities, d.Limits)
		}
		if _, err := json.Marshal(d); err != nil {
			t.Error(err)
		}
	})
}

func TestSettingsAreInNoErrorAndNoDescription(t *testing.T) {
	const secret = "hunter2"
	synctest.Test(t, func(t *testing.T) {
		c := DefaultConfig()
		c.Config = map[string]any{"password": secret, "bad": func() {}}
		err := c.Validate()
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("got %v", err)
		}
		delete(c.Config, "bad")
		var log strings.Builder
		f := newFake()
		f.publish = func(context.Context, []transport.Envelope) []error { panic("no") }
		home := NewResident("x", c, func(context.Context) (Running, error) { return f, nil }, logTo(&log))
		r := &rig{t: t, home: home, sink: &sink{}, fake: f}
		r.begin()
		r.publish(1, time.Minute)
		r.skip()
		b, _ := json.Marshal(home.Describe())
		for _, text := range []string{string(b), log.String(), fmt.Sprint(r.sink.failures())} {
			if text == "" || strings.Contains(text, secret) {
				t.Errorf("got %q", text)
			}
		}
		r.edge.Close()
	})
}
