package history_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/envelope/whisper/history"
	"github.com/stratanode/strata/layers/transport"
)

// Envelopes come at their servers late, the node goes down and up, loses contact,
// crashes before those above have saved what they got, and meets servers of every
// temper. As long as a correct one can be asked in the end, all that was sent in
// the window is kept above, and none is opened twice in one life.
func TestNothingIsMissedWhateverHappens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt, func(c *history.Config) {
			c.Page = rapid.SampledFrom([]int{1, 3, 50}).Draw(rt, "page")
			c.Compare = rapid.IntRange(1, 3).Draw(rt, "compare")
			c.Every = rapid.SampledFrom([]time.Duration{0, 10 * time.Minute}).Draw(rt, "every")
		})
		w.delay = time.Duration(rapid.IntRange(0, 25).Draw(rt, "delay")) * time.Second
		good := rapid.SampledFrom([]temper{oldestFirst, newestFirst, disorderly, halting})
		bad := rapid.SampledFrom([]temper{silent, dead, refusing, unreachable, repeating, hollow, wandering, circling, verbose})
		w.add("bad", bad.Draw(rt, "bad"))
		w.add("worse", bad.Draw(rt, "worse"))
		w.add("good", good.Draw(rt, "good"))
		if rapid.Bool().Draw(rt, "another") {
			w.add("another", good.Draw(rt, "another"))
		}
		all := w.names
		since := map[transport.Topic]time.Time{}
		want := func(rt *rapid.T, n int) {
			for range n {
				x := topic(rapid.IntRange(0, 5).Draw(rt, "topic"))
				if _, known := since[x]; !known {
					since[x] = w.now
					w.listen(x)
				}
			}
		}
		var sent []transport.Envelope
		want(rt, 2)
		w.boot()
		rt.Repeat(map[string]func(*rapid.T){
			"": func(rt *rapid.T) {
				if p, any := w.lastOrNone(); any && p.State == envelope.PartlyUp && len(p.Gaps) == 0 {
					rt.Fatalf("partly caught up without gaps: %+v", p)
				}
			},
			"publish": func(rt *rapid.T) {
				for range rapid.IntRange(1, 8).Draw(rt, "count") {
					e := transport.Envelope{Hash: hash(len(sent)), Topic: topic(rapid.IntRange(0, 5).Draw(rt, "topic")), Sent: w.now.Truncate(time.Second)}
					sent = append(sent, e)
					w.after(time.Duration(rapid.IntRange(0, 35).Draw(rt, "late"))*time.Second, func() { w.archive(e) })
					if w.d != nil && rapid.Bool().Draw(rt, "live") {
						w.open(e)
					}
				}
			},
			"seconds": func(rt *rapid.T) { w.pass(time.Duration(rapid.IntRange(1, 40_000).Draw(rt, "ms")) * time.Millisecond) },
			"hours":   func(rt *rapid.T) { w.pass(time.Duration(rapid.IntRange(1, 600).Draw(rt, "minutes")) * time.Minute) },
			"crash":   func(rt *rapid.T) { w.crash(); w.boot() },
			"down": func(rt *rapid.T) {
				w.crash()
				w.pass(time.Duration(rapid.IntRange(1, 30).Draw(rt, "hours")) * time.Hour)
				w.boot()
			},
			"transport restarts": func(rt *rapid.T) {
				for _, s := range w.servers {
					s.flight = nil
				}
				w.perform(w.d.Ready(w.now))
				w.name()
			},
			"somebody attaches": func(rt *rapid.T) {
				w.perform(w.d.Ready(w.now))
				w.name()
			},
			"contact is lost": func(rt *rapid.T) {
				w.perform(w.d.Peers(w.now, 0))
				w.pass(time.Duration(rapid.IntRange(1, 600).Draw(rt, "seconds")) * time.Second)
				w.perform(w.d.Peers(w.now, 2))
			},
			"servers change": func(rt *rapid.T) {
				w.names = rapid.Permutation(all).Draw(rt, "order")[:rapid.IntRange(0, len(all)).Draw(rt, "count")]
				w.perform(w.d.Archives(w.now, w.names))
			},
			"listen": func(rt *rapid.T) { want(rt, 1) },
		})

		w.names = all
		w.perform(w.d.Archives(w.now, all))
		w.pass(time.Minute) // for the last to be archived
		w.perform(w.d.Peers(w.now, 0))
		w.perform(w.d.Peers(w.now, 1))
		w.pass(time.Hour)
		for range 60 { // it may be in the middle of the next one
			if w.last().State != envelope.CaughtUp {
				w.pass(30 * time.Second)
			}
		}
		w.want(envelope.CaughtUp)
		for i, e := range sent {
			from, wanted := since[e.Topic]
			if wanted && !e.Sent.Before(from.Add(10*time.Second-w.cfg.FirstWindow)) && !w.kept[e.Hash] {
				rt.Fatalf("envelope %d of %v is missing, wanted since %v: %+v", i, e.Sent, from, w.last())
			}
		}
	})
}

func (w *world) lastOrNone() (envelope.Progress, bool) {
	if len(w.progress) == 0 {
		return envelope.Progress{}, false
	}
	return w.last(), true
}
