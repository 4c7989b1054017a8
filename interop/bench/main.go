// Command bench measures Strata and go-ethereum v1.9.20 whisperv6 side by side:
// each workload runs on both in turn, in the same minutes, both as processes of
// their own. It prints a table, and always ends with status 0 unless it could
// not measure: the figures speak. All traffic is on loopback.
//
// It is run in the folder above it: go run ./bench
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"text/tabwriter"
	"time"
)

// timeout ends a run that hangs. A whole one takes some six minutes.
const timeout = 15 * time.Minute

// works are all rows, in the order of the table.
var works = []struct {
	name string
	run  func(*scene) ([]row, error)
}{
	{"pow300", powRow(300, 8)},
	{"pow1340", powRow(1340, 20)},
	{"pow10540", powRow(10540, 100)},
	{"ingest", ingestRow},
	{"hops", hopsRow},
	{"sustained", sustainedRow},
	{"idle", idleRow},
	{"joining", joiningRow},
	{"heap", heapRow},
}

func main() {
	only := flag.String("run", "", "regular expression of the rows to run; empty: all")
	flag.Parse()
	if err := run(*only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(only string) error {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bins, err := build(dir)
	if err != nil {
		return err
	}
	var table []row
	for _, w := range works {
		if !pattern.MatchString(w.name) {
			continue
		}
		began := time.Now()
		rows, err := measure(ctx, bins, dir, w.run)
		if err != nil {
			rows = []row{{work: w.name, peer: "-", ours: "-", ratio: "-", goal: "not measured: " + err.Error()}}
		}
		fmt.Fprintf(os.Stderr, "%s: %v\n", w.name, time.Since(began).Round(time.Second))
		table = append(table, rows...)
		if ctx.Err() != nil {
			break
		}
	}
	show(table)
	return nil
}

func measure(ctx context.Context, bins bins, dir string, work func(*scene) ([]row, error)) ([]row, error) {
	dir, err := os.MkdirTemp(dir, "s")
	if err != nil {
		return nil, err
	}
	s := &scene{ctx: ctx, bins: bins, dir: dir}
	defer s.close()
	return work(s)
}

func show(table []row) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "work\tpeer\tours\tratio\tgoal\tmet")
	for _, r := range table {
		met := "no"
		switch {
		case r.goal == told:
			met = "-"
		case r.met:
			met = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.work, r.peer, r.ours, r.ratio, r.goal, met)
	}
	_ = w.Flush()
}
