package main

import "math"

// absurdTimes reports envelopes of times and lives that cannot be.
func absurdTimes() {
	serveRaw(func(p *rawPipe) error {
		credits := <-p.credits
		for i := 0; ; i++ {
			for ; credits == 0; credits = <-p.credits {
			}
			credits--
			e := p.envelope()
			e.Sent = []int64{math.MinInt64, -1, 0, math.MaxInt64, 1 << 40}[i%5]
			e.Ttl = []uint32{0, math.MaxUint32, 60}[i%3]
			if err := p.report(e); err != nil {
				return err
			}
		}
	})
}
