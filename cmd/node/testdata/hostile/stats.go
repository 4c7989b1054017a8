package main

import (
	"context"
	"fmt"
	"math"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

type statistics struct {
	*raw
	calls int
}

// Stats implements the RPC.
func (s *statistics) Stats(context.Context, *transportpb.StatsRequest) (*transportpb.StatsReply, error) {
	s.calls++
	reply := &transportpb.StatsReply{Stats: []*transportpb.Stat{
		{Name: "nan", Value: math.NaN()}, {Name: "infinite", Value: math.Inf(1)},
		{Name: "evil{le=\"0\"}\n# HELP owned", Value: 1}, {Name: "\x1b[2J", Value: 1}, {Name: "", Value: 1},
		{Name: "calls", Value: float64(s.calls)},
	}}
	for i := range 5000 {
		reply.Stats = append(reply.Stats, &transportpb.Stat{Name: fmt.Sprintf("call_%d_counter_%d", s.calls, i), Value: float64(i)})
	}
	return reply, nil
}

// changingStats has thousands of counters, and others each time.
func changingStats() {
	r := newRaw(func(*rawPipe) error { return nil })
	r.info.CanStats = true
	serveServer(&statistics{raw: r})
}
