package history

import (
	"slices"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// ripening is a mark that is not saved yet.
type ripening struct {
	at     time.Time
	series *series
	second int64
}

// save makes marks durable that have ripened. What a topic that is not wanted any
// more, or not in the same way, brought in a run says nothing of it.
func (d *Driver) save(now time.Time, out *Output) {
	n := 0
	for ; n < len(d.ripe) && reached(now, d.ripe[n].at); n++ {
		for _, t := range d.ripe[n].series.topics {
			if d.counts(t, d.ripe[n].series) {
				d.marks.reach(t, d.ripe[n].second, now.Unix())
			}
		}
	}
	if n == 0 {
		return
	}
	d.ripe = slices.Delete(d.ripe, 0, n)
	d.marks.forget(d.wanted, now.Add(-d.cfg.MaxWindow).Unix())
	out.Save = append(out.Save, d.marks.records()...)
}

// counts reports whether a topic was wanted all the time since the series began.
func (d *Driver) counts(t transport.Topic, s *series) bool {
	since, ok := d.wanted[t]
	return ok && since <= s.listen
}

// ripen notes that a series was fetched to a second.
func (d *Driver) ripen(now time.Time, s *series, second int64) {
	at := now.Add(settle).Truncate(settleSlot).Add(settleSlot)
	for i := len(d.ripe) - 1; i >= 0 && d.ripe[i].at.Equal(at); i-- {
		if d.ripe[i].series == s {
			d.ripe[i].second = second
			return
		}
	}
	d.ripe = append(d.ripe, ripening{at, s, second})
}
