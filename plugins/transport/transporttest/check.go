package transporttest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

const (
	ruleTimeout  = 30 * time.Second // for one rule, whatever hangs
	closeTimeout = 2 * time.Second  // for Close, as the contract has it
	openTimeout  = 10 * time.Second
	callTimeout  = 5 * time.Second // for Subscribe and Publish
	askTimeout   = 2 * time.Second // for Peers and Stats
	queryTimeout = 30 * time.Second
	maxDetail    = 1024 // bytes of Result.Detail
)

// Run checks every rule as a subtest. A rule that fails fails its subtest; one
// that does not apply says so in the log.
func Run(t *testing.T, target Target) {
	b, err := newBench(target)
	if err != nil {
		t.Fatal(err)
	}
	defer b.end()
	for _, r := range b.rules {
		t.Run(r.ID, func(t *testing.T) {
			result := b.check(t.Context(), r)
			switch result.Outcome {
			case Fail:
				t.Errorf("%s: %s: %s", r.ID, r.Text, result.Detail)
			case Warn, Skip:
				t.Logf("%s: %s", result.Outcome, result.Detail)
			}
		})
	}
}

// Check checks every rule, calls report, which may be nil, after each, and
// returns the results. When ctx is done the rest is skipped. A good transport
// takes less than a minute.
func Check(ctx context.Context, target Target, report func(Result)) Report {
	var all Report
	b, err := newBench(target)
	if err != nil {
		all.Results = []Result{{Rule: rules[0].Rule, Outcome: Fail, Detail: err.Error()}}
		return all
	}
	defer b.end()
	all.Partial = len(b.rules) < len(rules)
	for _, r := range b.rules {
		result := b.check(ctx, r)
		all.Results = append(all.Results, result)
		if report != nil {
			report(result)
		}
	}
	all.Name, all.Version = transport.Clean(b.info.Name, transport.MaxText), transport.Clean(b.info.Version, transport.MaxText)
	return all
}

// verdict is an error that is not a failure.
type verdict struct {
	outcome Outcome
	detail  string
}

func (v verdict) Error() string { return v.detail }

func warning(format string, args ...any) error { return verdict{Warn, fmt.Sprintf(format, args...)} }
func skipped(format string, args ...any) error { return verdict{Skip, fmt.Sprintf(format, args...)} }

// bench is where the rules are checked.
type bench struct {
	target Target
	rules  []rule       // to check
	dir    string       // parent of the nodes' folders
	ports  map[int]bool // that were given out
	info   transport.Info
	opened bool  // info is known
	dead   error // why no transport can be had; the rest is skipped
	deaf   bool  // an envelope did not arrive in time: be less patient
	clock  atomic.Int64

	pairA, pairB *node // open for all rules that do not close them
	own          []*node

	mu       sync.Mutex // nodes report from their goroutines
	illegal  []string   // what was received against the contract
	receipts int
}

func newBench(target Target) (*bench, error) {
	target, err := target.complete()
	if err != nil {
		return nil, err
	}
	chosen, err := chosenRules(target.Only)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "transporttest")
	if err != nil {
		return nil, fmt.Errorf("transporttest: %w", err)
	}
	return &bench{target: target, rules: chosen, dir: dir, ports: map[int]bool{}}, nil
}

func (b *bench) end() {
	b.dropPair()
	_ = os.RemoveAll(b.dir)
}

// check checks one rule. Whatever it opened is closed afterwards.
func (b *bench) check(ctx context.Context, r rule) Result {
	start := time.Now()
	err := b.judge(ctx, r)
	for _, n := range b.own {
		n.end()
	}
	b.own = nil
	result := Result{Rule: r.Rule, Outcome: Pass, Took: time.Since(start)}
	if err != nil {
		result.Outcome, result.Detail = Fail, transport.Clean(err.Error(), maxDetail)
		if v := (verdict{}); errors.As(err, &v) {
			result.Outcome = v.outcome
		} else {
			b.dropPair() // it may be in any state
		}
	}
	return result
}

func (b *bench) judge(ctx context.Context, r rule) error {
	if ctx.Err() != nil {
		return skipped("not checked: %v", context.Cause(ctx))
	}
	if b.dead != nil {
		return skipped("not checked: %v", b.dead)
	}
	ctx, cancel := context.WithTimeout(ctx, ruleTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- fmt.Errorf("panicked: %v", r)
			}
		}()
		done <- r.run(ctx, b)
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(ruleTimeout + closeTimeout):
		return fmt.Errorf("not decided within %v", ruleTimeout)
	}
}
