package main

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/interop/rawpeer"
)

// flow is the outcome of one stream through two nodes.
type flow struct {
	offered   int // a second
	total     int
	delivered int
	took      time.Duration // for sending all
}

// sustains says whether it is a rate that can be kept: all arrives, and the
// sender is not held up.
func (f flow) sustains(lasts time.Duration) bool {
	return f.delivered == f.total && f.took < lasts*11/10
}

// flow sends envelopes of 1 KB through two nodes with default limits.
func (s *scene) flow(side side, rate int, lasts time.Duration) (f flow, err error) {
	const every, size, ttl = 10 * time.Millisecond, 1024, 60
	a, err := s.start(side, nil)
	if err != nil {
		return f, err
	}
	defer a.end()
	b, err := s.start(side, []*node{a})
	if err != nil {
		return f, err
	}
	defer b.end()
	if err := b.linked(1); err != nil {
		return f, err
	}
	in, err := s.link(a, nothing, false)
	if err != nil {
		return f, err
	}
	defer in.Close()
	go drain(in)
	out, err := s.link(b, nil, false)
	if err != nil {
		return f, err
	}
	defer out.Close()
	per := rate * int(every) / int(time.Second)
	f.offered = rate
	f.total = per * int(lasts/every)
	var got atomic.Int64
	go count(out, f.total, &got)

	tick := time.NewTicker(every)
	defer tick.Stop()
	began := time.Now()
	for at := 0; at < f.total; at += per {
		// A tick that is late is made up for: the rate is kept on average.
		if due := began.Add(time.Duration(at/per) * every); time.Now().Before(due) {
			<-tick.C
		}
		if err := in.Send(rawpeer.Messages, numbered(at, per, size, ttl)); err != nil {
			break // cut off
		}
	}
	f.took = time.Since(began)
	// Until nothing has come for longer than anything can be late.
	for last, since := int64(-1), time.Now(); got.Load() < int64(f.total) && time.Since(since) < 2*time.Second; time.Sleep(50 * time.Millisecond) {
		if n := got.Load(); n != last {
			last, since = n, time.Now()
		}
	}
	f.delivered = int(got.Load())
	return f, nil
}

// numbered makes a packet of envelopes quickly: their data is a number and the
// same incompressible bytes.
func numbered(from, count, size int, ttl uint32) []byte {
	raws := make([]rlp.RawValue, count)
	for i := range raws {
		raws[i] = filled(uint64(from+i), size, ttl)
	}
	b, err := rlp.EncodeToBytes(raws)
	if err != nil {
		panic(err) // byte strings have a form
	}
	return b
}

// count counts the different envelopes that a link brings.
func count(l *rawpeer.Link, total int, got *atomic.Int64) {
	seen := make([]bool, total)
	for {
		select {
		case p := <-l.Packets():
			if p.Code != rawpeer.Messages {
				continue
			}
			_ = numbers(p.Payload, func(n uint64) {
				if n < uint64(total) && !seen[n] {
					seen[n] = true
					got.Add(1)
				}
			})
		case <-l.Ended():
			return
		}
	}
}

// sustainedRow is what cuts the peer off: at 4000/s one tick fills more than the
// megabyte that a packet may have. Then it looks for the highest rate.
func sustainedRow(s *scene) ([]row, error) {
	const rate, lasts, short = 4000, 10 * time.Second, 4 * time.Second
	var flows [2]flow
	for i, side := range []side{peer, ours} {
		var err error
		if flows[i], err = s.flow(side, rate, lasts); err != nil {
			return nil, err
		}
	}
	show := func(f flow) string { return fmt.Sprintf("%d of %d", f.delivered, f.total) }
	first := row{
		work: "1 KB at 4000/s for 10 s, two nodes", peer: show(flows[0]), ours: show(flows[1]),
		ratio: "-", goal: "all", met: flows[1].delivered == flows[1].total,
	}
	best := [2]int{}
	for i, rates := range [][]int{{3000, 2000, 1000}, {32_000, 24_000, 16_000, 12_000, 8000}} {
		for _, rate := range rates {
			f, err := s.flow([]side{peer, ours}[i], rate, short)
			if err != nil {
				return nil, err
			}
			if f.sustains(short) {
				best[i] = rate
				break
			}
		}
	}
	if best[1] == 0 && first.met {
		best[1] = rate
	}
	second := row{
		work: "highest rate sustained, 1 KB envelopes per s", peer: fmt.Sprint(best[0]), ours: fmt.Sprint(best[1]),
		ratio: fmt.Sprintf("%.3gx", float64(best[1])/float64(max(best[0], 1))), goal: "(told)", met: best[1] >= rate,
	}
	return []row{first, second}, nil
}
