package shh

import "github.com/prometheus/client_golang/prometheus"

// The metrics of the API. All labels have fixed sets of values.
var (
	heldDesc = prometheus.NewDesc("strata_shh_held",
		"What clients hold: keys, filters, and of those subscriptions.", []string{"kind"}, nil)
	storedDesc = prometheus.NewDesc("strata_shh_stored_bytes",
		"Bytes of messages that wait for clients.", nil, nil)
	waitingDesc = prometheus.NewDesc("strata_shh_waiting_envelopes",
		"Envelopes that wait to be tried with the keys of the filters.", nil, nil)
	envelopesDesc = prometheus.NewDesc("strata_shh_envelopes_total",
		"Envelopes that a key of a filter opened, that were malformed inside, or dropped untried.", []string{"outcome"}, nil)
	droppedDesc = prometheus.NewDesc("strata_shh_dropped_messages_total",
		"Messages dropped unread, once for each filter.", nil, nil)
	lapsedDesc = prometheus.NewDesc("strata_shh_lapsed_filters_total",
		"Filters that ended because nobody polled them.", nil, nil)
)

// Collector returns the metrics of the API.
func (a *API) Collector() prometheus.Collector { return collector{a} }

type collector struct{ api *API }

// Describe implements prometheus.Collector.
func (c collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{heldDesc, storedDesc, waitingDesc, envelopesDesc, droppedDesc, lapsedDesc} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(to chan<- prometheus.Metric) {
	r := c.api.Report()
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge(heldDesc, r.Keys, "keys")
	gauge(heldDesc, r.Filters, "filters")
	gauge(heldDesc, r.Subscriptions, "subscriptions")
	gauge(storedDesc, r.StoredBytes)
	gauge(waitingDesc, r.Waiting)
	count(envelopesDesc, r.Opened, "opened")
	count(envelopesDesc, r.Malformed, "malformed")
	count(envelopesDesc, r.Overflowed, "overflowed")
	count(droppedDesc, r.Dropped)
	count(lapsedDesc, r.Lapsed)
}
