package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"time"
)

// row is one line of the table. Figures are told for both sides in the same
// unit; ratio is that of ours to the peer's.
type row struct {
	work, peer, ours, ratio, goal string
	met                           bool
}

// told is the goal of a row that has none.
const told = "told"

func median[T int64 | float64 | time.Duration](v []T) T {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}

// pair holds the measurements of both sides.
type pair struct{ peer, ours []float64 }

func (p *pair) add(s side, v float64) {
	if s.ours {
		p.ours = append(p.ours, v)
	} else {
		p.peer = append(p.peer, v)
	}
}

// less makes a row of which less is better, and more one of which more is.
func (p pair) less(work, format string, goal float64) row { return p.row(work, format, goal, false) }
func (p pair) more(work, format string, goal float64) row { return p.row(work, format, goal, true) }

// told makes a row without a goal.
func (p pair) told(work, format string) row {
	r := p.less(work, format, 0)
	r.goal, r.met = told, false
	return r
}

func (p pair) row(work, format string, goal float64, more bool) row {
	theirs, mine := median(p.peer), median(p.ours)
	r := row{work: work, peer: fmt.Sprintf(format, theirs), ours: fmt.Sprintf(format, mine)}
	ratio := mine / theirs
	r.ratio = fmt.Sprintf("%.3gx", ratio)
	if more {
		r.goal, r.met = fmt.Sprintf(">= %gx", goal), ratio >= goal
	} else {
		r.goal, r.met = fmt.Sprintf("<= %gx", goal), ratio <= goal
	}
	return r
}

// rounds is how often a workload is run on each side; the median counts.
const rounds = 3

// sides alternates which of them goes first, so that a slow moment of the
// machine hits both.
func sides(round int) []side {
	if round%2 == 0 {
		return []side{peer, ours}
	}
	return []side{ours, peer}
}

// powRow measures hashes of one core. Single seals are geometric; their sum over
// a second is not.
func powRow(size int, goal float64) func(*scene) ([]row, error) {
	return func(s *scene) ([]row, error) {
		if err := s.bins.buildPoW(); err != nil {
			return nil, err
		}
		var p pair
		for round := range rounds {
			for _, side := range sides(round) {
				bin := s.bins.gethPoW
				if side.ours {
					bin = s.bins.ourPoW
				}
				out, err := exec.CommandContext(s.ctx, bin, "-size", fmt.Sprint(size), "-for", "1s").Output()
				if err != nil {
					return nil, fmt.Errorf("%s: %w", bin, err)
				}
				var got struct {
					Hashes float64 `json:"hashes"`
					CPU    float64 `json:"cpu_ns"`
				}
				if err := json.Unmarshal(out, &got); err != nil {
					return nil, err
				}
				p.add(side, got.Hashes/got.CPU*1e3)
			}
		}
		return []row{p.more(fmt.Sprintf("PoW, RLP of %d B, million hashes per s of CPU", size), "%.3f", goal)}, nil
	}
}

// ingestRow measures the CPU of a node for envelopes that are new, and for the
// same ones again over another link. The links ask for no confirmations, for the
// peer makes none; what ours takes with them is told beside the same figures of
// the peer.
func ingestRow(s *scene) ([]row, error) {
	const count, size, per = 20_000, 540, 50
	const format = "%.2f"
	var plain, confirmed struct{ fresh, again pair }
	ways := []struct {
		side
		confirms bool
	}{{peer, false}, {ours, false}, {ours, true}}
	for round := range rounds {
		payloads := bundles(count, per, size, 3600)
		for k := range ways {
			way := ways[(k+round)%len(ways)] // each is first once
			n, err := s.start(way.side, nil)
			if err != nil {
				return nil, err
			}
			var used [2]float64
			for i := range used {
				var began time.Duration
				if err := s.trace(n, payloads, way.confirms, func() (err error) { began, err = n.cpu(); return err }); err != nil {
					return nil, err
				}
				took, err := n.cpu()
				if err != nil {
					return nil, err
				}
				used[i] = float64(took-began) / count / 1e3
			}
			n.end()
			if !way.confirms {
				plain.fresh.add(way.side, used[0])
				plain.again.add(way.side, used[1])
			}
			if way.confirms || !way.ours {
				confirmed.fresh.add(way.side, used[0])
				confirmed.again.add(way.side, used[1])
			}
		}
	}
	return []row{
		plain.fresh.less("ingest, new envelope of 540 B, us of CPU", format, 0.5),
		plain.again.less("ingest, duplicate of 540 B, us of CPU", format, 0.3),
		confirmed.fresh.told("ingest new, confirmed, us of CPU", format),
		confirmed.again.told("ingest duplicate, confirmed, us of CPU", format),
	}, nil
}

// heapRow measures what a pooled envelope costs, by the memory of the process
// with a collector that is told to leave little garbage, on both sides.
func heapRow(s *scene) ([]row, error) {
	const count, size, per = 50_000, 540, 50
	payloads := bundles(count, per, size, 3600)
	var p pair
	for _, side := range []side{peer, ours} {
		n, err := s.start(side, nil, "GOGC=10")
		if err != nil {
			return nil, err
		}
		if err := s.feed(n, payloads[:20], func() error { return nil }); err != nil {
			return nil, err
		}
		before, err := n.least()
		if err != nil {
			return nil, err
		}
		if err := s.feed(n, payloads[20:], func() error { return nil }); err != nil {
			return nil, err
		}
		// What came before the last cycle of the collector goes with the garbage of
		// some duplicates.
		if err := s.feed(n, payloads[:100], func() error { return nil }); err != nil {
			return nil, err
		}
		after, err := n.least()
		if err != nil {
			return nil, err
		}
		p.add(side, float64(after-before)/(count-20*per))
		n.end()
	}
	return []row{p.less("memory per pooled envelope of 540 B, bytes", "%.0f", 0.9)}, nil
}

// least returns the least memory in use within some seconds: the runtime gives
// pages back in the background.
func (n *node) least() (int64, error) {
	const looks, every = 25, 200 * time.Millisecond
	least := int64(1) << 62
	for range looks {
		v, err := n.rss()
		if err != nil {
			return 0, err
		}
		least = min(least, v)
		time.Sleep(every)
	}
	return least, nil
}
