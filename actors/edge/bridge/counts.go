package bridge

import "fmt"

// Counts are the counters of one direction since the node started, and what is
// in it now. Every envelope that was seen ends as one of carried, duplicate,
// expired, too large, off topic, over budget, or waits.
type Counts struct {
	Seen       uint64 `json:"seen"`        // envelopes that the transport on this end reported
	Carried    uint64 `json:"carried"`     // published on the other
	Duplicate  uint64 `json:"duplicate"`   // the other has it already
	Expired    uint64 `json:"expired"`     // too little of its time to live was left
	TooLarge   uint64 `json:"too_large"`   // longer than the other takes
	OffTopic   uint64 `json:"off_topic"`   // not one of the topics to carry
	OverBudget uint64 `json:"over_budget"` // pushed out of the queue by newer ones

	Repeated  uint64 `json:"repeated"`  // published again after a restart of the other
	Relayed   uint64 `json:"relayed"`   // answers to what was carried
	Unrelayed uint64 `json:"unrelayed"` // no peer took it in its time to live
	Refused   uint64 `json:"refused"`   // by the other transport

	Waiting    int `json:"waiting"`    // envelopes, now
	Unanswered int `json:"unanswered"` // publishes, now
}

// Report describes a bridge.
type Report struct {
	NearToFar  Counts `json:"near_to_far"`
	FarToNear  Counts `json:"far_to_near"`
	Remembered int    `json:"remembered"` // identities, now
	Near       End    `json:"near"`
	Far        End    `json:"far"`
}

// End is what a bridge knows of one of its transports.
type End struct {
	Name  string `json:"name"` // empty until it is ready
	Peers int    `json:"peers"`
}

// String describes the bridge in two lines.
func (r Report) String() string {
	return fmt.Sprintf("%v -> %v: %v\n%v -> %v: %v", r.Near, r.Far, r.NearToFar, r.Far, r.Near, r.FarToNear)
}

// String names the end.
func (e End) String() string {
	if e.Name == "" {
		return "(not ready)"
	}
	return e.Name
}

// String lists what is not zero of the usual, in short.
func (c Counts) String() string {
	return fmt.Sprintf("%d seen, %d carried, %d duplicate, %d dropped, %d waiting",
		c.Seen, c.Carried, c.Duplicate, c.Expired+c.TooLarge+c.OffTopic+c.OverBudget, c.Waiting)
}

// Report describes the bridge now.
func (c *Core) Report() Report {
	end := func(s side) End { return End{c.ends[s].info.Name, c.ends[s].peers} }
	return Report{
		NearToFar:  c.ways[near].report(),
		FarToNear:  c.ways[far].report(),
		Remembered: len(c.carried.marks) + len(c.heard.marks),
		Near:       end(near),
		Far:        end(far),
	}
}

func (w *way) report() Counts {
	r := w.counts
	r.Waiting = w.waiting
	r.Unanswered = w.unanswered
	return r
}
