package archive

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The metrics of an archive. All labels have fixed sets of values.
var (
	envelopesDesc = prometheus.NewDesc("strata_archive_envelopes_total",
		"Envelopes by what became of them.", []string{"outcome"}, nil)
	requestsDesc = prometheus.NewDesc("strata_archive_requests_total",
		"Requests of peers: all of them, and those that were refused, by reason.", []string{"outcome"}, nil)
	pagesDesc   = prometheus.NewDesc("strata_archive_pages_total", "Pages sent.", nil, nil)
	scannedDesc = prometheus.NewDesc("strata_archive_scanned_rows_total", "Rows and index places that requests made the database look at.", nil, nil)
	groupsDesc  = prometheus.NewDesc("strata_archive_transactions_total", "Transactions that made envelopes durable.", nil, nil)
	faultsDesc  = prometheus.NewDesc("strata_archive_faults_total", "Failures of the database, and rows that could not be read.", []string{"kind"}, nil)
	storedDesc  = prometheus.NewDesc("strata_archive_stored_envelopes", "Envelopes that are stored.", nil, nil)
	bytesDesc   = prometheus.NewDesc("strata_archive_stored_bytes", "Bytes that are stored: as the bound on bytes counts, and as the system sees the database.", []string{"of"}, nil)
	topicsDesc  = prometheus.NewDesc("strata_archive_topics", "Distinct topics; -1 if they are not counted.", nil, nil)
	oldestDesc  = prometheus.NewDesc("strata_archive_oldest_timestamp_seconds", "When the oldest envelope was sent.", nil, nil)
	newestDesc  = prometheus.NewDesc("strata_archive_newest_timestamp_seconds", "When the newest envelope was sent.", nil, nil)
	queuedDesc  = prometheus.NewDesc("strata_archive_queued_bytes", "Bytes of envelopes that are not yet durable.", nil, nil)
	waitingDesc = prometheus.NewDesc("strata_archive_requests", "Requests under way.", nil, nil)
	syncedDesc  = prometheus.NewDesc("strata_archive_sync_envelopes_total", "Envelopes that came from other mail servers, by what became of them.", []string{"outcome"}, nil)
	syncPages   = prometheus.NewDesc("strata_archive_sync_pages_total", "Pages that other mail servers were asked for, by how they ended.", []string{"end"}, nil)
	syncState   = prometheus.NewDesc("strata_archive_sync_sources", "Mail servers that are followed, by how the last sync ended.", []string{"state"}, nil)
	syncUntil   = prometheus.NewDesc("strata_archive_sync_until_timestamp_seconds", "Up to when everything of all mail servers that are followed is here; 0 if one was never asked.", nil, nil)
	upDesc      = prometheus.NewDesc("strata_archive_up", "Whether envelopes are stored.", nil, nil)
)

// Collector returns the metrics of an archive.
func Collector(a *Archive) prometheus.Collector { return collector{a} }

type collector struct{ a *Archive }

// Describe implements prometheus.Collector.
func (c collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		envelopesDesc, requestsDesc, pagesDesc, scannedDesc, groupsDesc, faultsDesc, storedDesc, bytesDesc,
		topicsDesc, oldestDesc, newestDesc, queuedDesc, waitingDesc, upDesc, syncedDesc, syncPages, syncState, syncUntil,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(to chan<- prometheus.Metric) {
	r := c.a.Describe()
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, x float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, x, labels...)
	}
	k := r.Counts
	count(envelopesDesc, k.Admitted, "admitted")
	count(envelopesDesc, k.Kept, "kept")
	count(envelopesDesc, k.Duplicates, "duplicate")
	count(envelopesDesc, k.Dropped, "dropped")
	count(envelopesDesc, k.Pruned, "pruned")
	count(envelopesDesc, k.Served, "served")
	count(requestsDesc, k.Asks, "asked")
	count(requestsDesc, k.Refused.Rate, "rate")
	count(requestsDesc, k.Refused.Busy, "busy")
	count(requestsDesc, k.Refused.Invalid, "invalid")
	count(requestsDesc, k.Refused.Unavailable, "unavailable")
	count(requestsDesc, k.Refused.Untaken, "untaken")
	count(pagesDesc, k.Pages)
	count(scannedDesc, k.Scanned)
	count(groupsDesc, k.Groups)
	count(faultsDesc, k.Faults, "database")
	count(faultsDesc, k.Faulty, "row")
	gauge(storedDesc, float64(r.Contents.Envelopes))
	gauge(bytesDesc, float64(r.Contents.Bytes), "envelopes")
	gauge(bytesDesc, float64(r.Contents.FileBytes), "database")
	gauge(topicsDesc, float64(r.Contents.Topics))
	if r.Contents.Envelopes > 0 {
		gauge(oldestDesc, float64(r.Contents.Oldest.Unix()))
		gauge(newestDesc, float64(r.Contents.Newest.Unix()))
	}
	gauge(queuedDesc, float64(r.QueuedBytes))
	gauge(waitingDesc, float64(r.Requests))
	up := 0.0
	if r.Open && r.Fault == "" {
		up = 1
	}
	gauge(upDesc, up)
	collectSync(r, count, gauge)
}

// collectSync gives the metrics of taking over from other mail servers.
func collectSync(r Report, count func(*prometheus.Desc, uint64, ...string), gauge func(*prometheus.Desc, float64, ...string)) {
	k := r.Counts.Sync
	count(syncedDesc, k.Added, "kept")
	count(syncedDesc, k.Duplicates, "duplicate")
	count(syncedDesc, k.Refused.Raw, "raw")
	count(syncedDesc, k.Refused.Length, "length")
	count(syncedDesc, k.Refused.Window, "window")
	count(syncedDesc, k.Refused.Old, "old")
	count(syncedDesc, k.Refused.Excess, "excess")
	count(syncPages, k.Pages, "done")
	count(syncPages, k.Failures.Nobody, "nobody")
	count(syncPages, k.Failures.Gone, "gone")
	count(syncPages, k.Failures.Timeout, "timeout")
	count(syncPages, k.Failures.Refused, "refused")
	count(syncPages, k.Failures.Lies, "lies")
	count(syncPages, k.Failures.Interrupted, "interrupted")
	var failed, never float64
	var until time.Time
	for i, s := range r.Sources {
		if s.Fault != "" {
			failed++
		}
		if s.Until.IsZero() {
			never++
		}
		if until = earlier(until, s.Until); i == 0 {
			until = s.Until
		}
	}
	gauge(syncState, failed, "failed")
	gauge(syncState, float64(len(r.Sources))-failed, "well")
	if len(r.Sources) == 0 {
		return
	}
	if never > 0 {
		until = time.Unix(0, 0)
	}
	gauge(syncUntil, float64(until.Unix()))
}
