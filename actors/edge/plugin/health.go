package plugin

import (
	"context"
	"errors"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

const (
	pingEvery = 5 * time.Second
	pingLimit = 2 * time.Second
	maxMisses = 2 // one in a row may be a busy machine

	statsEvery = 10 * time.Second
	statsLimit = 2 * time.Second
)

// pinger ends the life when the transport has ended or does not answer.
func (e *Edge) pinger() {
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	misses := 0
	broken := brokenSign(e.running)
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-broken:
			e.fail(errors.New("the transport is gone"))
			return
		case <-e.running.Done():
			e.fail(errors.New("the transport is gone"))
			return
		case <-ticker.C:
		}
		if isPatient(e.running) || e.ping() {
			misses = 0
		} else if misses++; misses == maxMisses {
			e.fail(errors.New("does not answer"))
			return
		}
	}
}

// ping reports whether the transport answered in time. The limit of call is
// for a Running that ignores its context.
func (e *Edge) ping() bool {
	return e.call("Ping", maxMisses*pingLimit+pingEvery, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, pingLimit)
		defer cancel()
		return e.running.Ping(ctx)
	}) == nil
}

// poll fetches the counters of the transport. That it has none to give is no
// fault; that it does not answer is.
func (e *Edge) poll(counter transport.Counter) {
	ticker := time.NewTicker(statsEvery)
	defer ticker.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-ticker.C:
		}
		var stats []transport.Stat
		err := e.call("Stats", statsLimit, func(ctx context.Context) (err error) {
			stats, err = counter.Stats(ctx)
			return err
		})
		if errors.Is(err, errOver) {
			return
		}
		if err == nil {
			e.home.stats.take(stats)
		}
	}
}
