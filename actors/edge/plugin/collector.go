package plugin

import (
	"math"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/transport"
)

// The final answers that are counted.
const (
	relayed = iota
	expired
	refused
	answers
)

var answerNames = [answers]string{"relayed", "expired", "refused"}

// counters are of all lives.
type counters struct {
	published, received, retried, unknownReceipts, breaks atomic.Uint64

	fetched, asked, asksBusy atomic.Uint64
	queried                  [slot.QueryCancelled + 1]atomic.Uint64

	answers [answers]atomic.Uint64
	drops   [drops]atomic.Uint64
}

// Counts is what an edge counts, over all lives, and what it holds now.
type Counts struct {
	Published       uint64            `json:"published"`
	Answers         map[string]uint64 `json:"answers"` // final, by kind
	Retried         uint64            `json:"retried"` // for which the transport had no room at first
	Received        uint64            `json:"received"`
	Dropped         map[string]uint64 `json:"dropped"` // received, by reason
	UnknownReceipts uint64            `json:"unknown_receipts"`
	Breaks          uint64            `json:"breaks"`
	Unanswered      int               `json:"unanswered"`
	UnsentBytes     int               `json:"unsent_bytes"`

	Fetched  uint64            `json:"fetched"`   // envelopes of the past
	Queried  map[string]uint64 `json:"queried"`   // queries, by how they ended
	Asked    uint64            `json:"asked"`     // questions of peers put to the archive
	AsksBusy uint64            `json:"asks_busy"` // and those for which there was no room
	Kept     uint64            `json:"kept_mark,omitempty"`
}

func (c *counters) read() Counts {
	n := Counts{
		Published: c.published.Load(), Retried: c.retried.Load(), Received: c.received.Load(),
		UnknownReceipts: c.unknownReceipts.Load(), Breaks: c.breaks.Load(),
		Answers: map[string]uint64{}, Dropped: map[string]uint64{},
		Fetched: c.fetched.Load(), Queried: map[string]uint64{}, Asked: c.asked.Load(), AsksBusy: c.asksBusy.Load(),
	}
	for end := slot.QueryDone; end <= slot.QueryCancelled; end++ {
		n.Queried[end.String()] = c.queried[end].Load()
	}
	for i, name := range answerNames {
		n.Answers[name] = c.answers[i].Load()
	}
	for i, name := range dropNames {
		n.Dropped[name] = c.drops[i].Load()
	}
	return n
}

// stats are the counters of the transport itself, by the first names that it
// ever gave.
type stats struct {
	mu     sync.Mutex
	values map[string]float64
}

// statName is what a counter may be called. The length bounds what a metric
// costs everybody who reads it.
var statName = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)

func (s *stats) take(all []transport.Stat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range all[:min(len(all), transport.MaxStats)] {
		_, known := s.values[x.Name]
		if math.IsNaN(x.Value) || math.IsInf(x.Value, 0) || !known && (len(s.values) >= transport.MaxStats || !statName.MatchString(x.Name)) {
			continue
		}
		s.values[x.Name] = x.Value
	}
}

// each calls f with every counter, in the order of the names.
func (s *stats) each(f func(name string, value float64)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, len(s.values))
	for name := range s.values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		f(name, s.values[name])
	}
}

// Collector returns the metrics of the transport, all with the label
// "transport". The number of time series is bounded.
func (r *Resident) Collector() prometheus.Collector {
	desc := func(name, help string, label ...string) *prometheus.Desc {
		return prometheus.NewDesc("strata_plugin_"+name, help, label, prometheus.Labels{"transport": r.name})
	}
	return &collector{
		home:      r,
		published: desc("published_total", "Envelopes handed to the edge for publication."),
		answers:   desc("answers_total", "Final answers to publications.", "answer"),
		retried:   desc("retried_total", "Offers of an envelope that the transport had no room for."),
		received:  desc("received_total", "Envelopes handed to the layers above."),
		dropped:   desc("dropped_total", "Received envelopes that were dropped.", "reason"),
		unknown:   desc("unknown_receipts_total", "Receipts for nothing that was waiting for one."),
		breaks:    desc("breaks_total", "Times the transport broke or did not open."),
		open:      desc("open", "Whether the transport is open."),
		peers:     desc("peers", "Peers that take envelopes from this node, as the transport says."),
		fetched:   desc("fetched_total", "Envelopes of the past handed to the layers above."),
		queried:   desc("queries_total", "Queries for history, by how they ended.", "end"),
		asked:     desc("asked_total", "Questions of peers put to the archive."),
		asksBusy:  desc("asks_busy_total", "Questions of peers for which there was no room."),
		waiting:   desc("unanswered", "Publications that are not answered yet."),
		stat:      desc("stat", "Counters of the transport itself, as it says.", "name"),
	}
}

type collector struct {
	home *Resident

	published, answers, retried, received, dropped, unknown, breaks, open, peers, waiting, stat *prometheus.Desc

	fetched, queried, asked, asksBusy *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.published, c.answers, c.retried, c.received, c.dropped, c.unknown, c.breaks, c.open, c.peers, c.waiting, c.stat,
		c.fetched, c.queried, c.asked, c.asksBusy,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, label ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, label...)
	}
	count := func(d *prometheus.Desc, v uint64, label ...string) {
		send(d, prometheus.CounterValue, float64(v), label...)
	}
	is := c.home.Describe()
	count(c.published, is.Counts.Published)
	for _, name := range answerNames {
		count(c.answers, is.Counts.Answers[name], name)
	}
	count(c.retried, is.Counts.Retried)
	count(c.received, is.Counts.Received)
	for _, name := range dropNames {
		count(c.dropped, is.Counts.Dropped[name], name)
	}
	count(c.unknown, is.Counts.UnknownReceipts)
	count(c.breaks, is.Counts.Breaks)
	count(c.fetched, is.Counts.Fetched)
	for end := slot.QueryDone; end <= slot.QueryCancelled; end++ {
		count(c.queried, is.Counts.Queried[end.String()], end.String())
	}
	count(c.asked, is.Counts.Asked)
	count(c.asksBusy, is.Counts.AsksBusy)
	open := 0.0
	if is.Open {
		open = 1
	}
	send(c.open, prometheus.GaugeValue, open)
	send(c.peers, prometheus.GaugeValue, float64(is.Peers))
	send(c.waiting, prometheus.GaugeValue, float64(is.Counts.Unanswered))
	c.home.stats.each(func(name string, value float64) {
		send(c.stat, prometheus.UntypedValue, value, name)
	})
}
