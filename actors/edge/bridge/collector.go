package bridge

import "github.com/prometheus/client_golang/prometheus"

// The metrics of a bridge. All labels have fixed sets of values.
var (
	envelopesDesc = prometheus.NewDesc("strata_bridge_envelopes_total",
		"Envelopes by direction and what became of them; seen counts them all.", []string{"direction", "outcome"}, nil)
	answersDesc = prometheus.NewDesc("strata_bridge_answers_total",
		"Answers of the transport that envelopes were carried to, and publishes repeated after its restarts.",
		[]string{"direction", "answer"}, nil)
	waitingDesc = prometheus.NewDesc("strata_bridge_waiting_envelopes",
		"Envelopes that wait for the budget or for the other transport.", []string{"direction"}, nil)
	unansweredDesc = prometheus.NewDesc("strata_bridge_unanswered_envelopes",
		"Envelopes that were published and not answered for.", []string{"direction"}, nil)
	rememberedDesc = prometheus.NewDesc("strata_bridge_remembered_envelopes",
		"Identities of envelopes that are not to be carried again.", nil, nil)
)

// Collector returns the metrics of the bridge. The names of their labels and
// the values of these are fixed: near_to_far and far_to_near, and the counters
// of Counts.
func (b *Bridge) Collector() prometheus.Collector { return collector{b} }

type collector struct{ b *Bridge }

// Describe implements prometheus.Collector.
func (c collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{envelopesDesc, answersDesc, waitingDesc, unansweredDesc, rememberedDesc} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(to chan<- prometheus.Metric) {
	r := c.b.Describe()
	collect(to, "near_to_far", r.NearToFar)
	collect(to, "far_to_near", r.FarToNear)
	to <- prometheus.MustNewConstMetric(rememberedDesc, prometheus.GaugeValue, float64(r.Remembered))
}

func collect(to chan<- prometheus.Metric, direction string, c Counts) {
	count := func(d *prometheus.Desc, label string, n uint64) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), direction, label)
	}
	count(envelopesDesc, "seen", c.Seen)
	count(envelopesDesc, "carried", c.Carried)
	count(envelopesDesc, "duplicate", c.Duplicate)
	count(envelopesDesc, "expired", c.Expired)
	count(envelopesDesc, "too_large", c.TooLarge)
	count(envelopesDesc, "off_topic", c.OffTopic)
	count(envelopesDesc, "over_budget", c.OverBudget)
	count(answersDesc, "repeated", c.Repeated)
	count(answersDesc, "relayed", c.Relayed)
	count(answersDesc, "unrelayed", c.Unrelayed)
	count(answersDesc, "refused", c.Refused)
	to <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, float64(c.Waiting), direction)
	to <- prometheus.MustNewConstMetric(unansweredDesc, prometheus.GaugeValue, float64(c.Unanswered), direction)
}
