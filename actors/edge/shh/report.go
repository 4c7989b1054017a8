package shh

import "sync/atomic"

// counts is what became of things since the node started.
type counts struct {
	opened, malformed, overflowed, dropped, lapsed atomic.Uint64
}

// Report says how the API is doing.
type Report struct {
	Keys          int `json:"keys"`
	Filters       int `json:"filters"`       // subscriptions included
	StoredBytes   int `json:"stored_bytes"`  // of messages that wait for clients
	Waiting       int `json:"waiting"`       // envelopes that are still to be tried
	Subscriptions int `json:"subscriptions"` // of Filters

	Opened     uint64 `json:"opened"`     // envelopes that a key of a filter opened
	Malformed  uint64 `json:"malformed"`  // opened, but not well formed inside
	Overflowed uint64 `json:"overflowed"` // envelopes dropped untried: queue_bytes
	Dropped    uint64 `json:"dropped"`    // messages dropped unread, once for each filter: the bounds of the stores
	Lapsed     uint64 `json:"lapsed"`     // filters that nobody polled
}

// Report says how the API is doing. It is safe for concurrent use.
func (a *API) Report() Report {
	r := Report{
		Keys: a.keys.count(), Waiting: a.inbox.len(),
		Opened: a.counts.opened.Load(), Malformed: a.counts.malformed.Load(),
		Overflowed: a.counts.overflowed.Load(), Dropped: a.counts.dropped.Load(), Lapsed: a.counts.lapsed.Load(),
	}
	r.Filters, r.Subscriptions, r.StoredBytes = a.filters.count()
	return r
}
