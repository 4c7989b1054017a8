package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/host"
	contract "github.com/stratanode/strata/plugins/transport"
)

// udpPair is two edges that flood to each other over loopback.
type udpPair struct {
	send func(transport.Publish)
	got  chan time.Time // when an envelope had arrived
	took []time.Duration
}

func newUDPPair(b *testing.B, how manner) *udpPair {
	b.Helper()
	p := &udpPair{got: make(chan time.Time, 16)}
	at := freeUDPs(b, 2)
	settings := func(own, other string) map[string]any {
		return settingsOf(b, fmt.Sprintf(`{"listen": %q, "peers": [%q]}`, own, other))
	}
	from := openEdge(b, benchResident(b, how, "udp", settings(at[0], at[1])), func(transport.Event) {})
	p.send = func(c transport.Publish) { from.FromAbove(c) }
	to := openEdge(b, benchResident(b, how, "udp", settings(at[1], at[0])), func(e transport.Event) {
		if r, ok := e.(transport.Received); ok {
			now := time.Now()
			for range r.Envelopes {
				p.got <- now
			}
		}
	})
	to.FromAbove(transport.Subscribe{All: true})
	return p
}

// one sends an envelope and waits for it.
func (p *udpPair) one(b *testing.B, number uint64, late <-chan time.Time) time.Duration {
	b.Helper()
	c := publication(number)
	begin := time.Now()
	p.send(c)
	select {
	case at := <-p.got:
		return at.Sub(begin)
	case <-late:
		b.Fatalf("envelope %d has not arrived", number)
	}
	return 0
}

// BenchmarkPluginLatency is from Publish at the edge of one node to Received at
// that of another, over UDP: once by two plugin processes, and once by the same
// transport compiled in. Single envelopes of 1 KiB, in turns. What two processes
// cost in any case is measured with them.
func BenchmarkPluginLatency(b *testing.B) {
	const warm, rounds = 500, 5000
	pairs := []*udpPair{newUDPPair(b, compiledIn), newUDPPair(b, asProcess), newBarePair(b)}
	late := time.After(2 * time.Minute)
	for i := range warm + rounds {
		for j := range pairs {
			p := pairs[(i+j)%len(pairs)]
			if took := p.one(b, uint64(i), late); i >= warm {
				p.took = append(p.took, took)
			}
		}
	}
	micro := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
	in, out, bare := pairs[0].took, pairs[1].took, pairs[2].took
	reportLoad(b)
	b.ReportMetric(micro(quantile(in, .5)), "compiled-in-p50-µs")
	b.ReportMetric(micro(quantile(in, .99)), "compiled-in-p99-µs")
	b.ReportMetric(micro(quantile(out, .5)), "process-p50-µs")
	b.ReportMetric(micro(quantile(out, .99)), "process-p99-µs")
	b.ReportMetric(micro(quantile(out, .5)-quantile(in, .5)), "added-p50-µs")
	b.ReportMetric(micro(quantile(bare, .5)), "bare-processes-p50-µs")
}

const (
	flowCount  = 200_000 // envelopes in one measurement
	flowWarm   = 20_000
	flowRounds = 3
	flowWindow = 8192 // envelopes published and not answered
)

// BenchmarkPluginThroughput is how many envelopes of 1 KiB a second go through
// the boundary of the process, into a plugin that drops them and out of one that
// makes them up: with the kit's half of the boundary alone, and as an edge has
// it, which checks, names and accounts for each of them. The compiled-in
// transport is what the edge does without a boundary.
func BenchmarkPluginThroughput(b *testing.B) {
	flows := []struct {
		name    string
		measure func(*testing.B, int) time.Duration
	}{
		{"in/remote", remoteIn(b)},
		{"in/edge", edgeIn(b, asProcess)},
		{"in/compiled-in", edgeIn(b, compiledIn)},
		{"out/remote", remoteOut(b)},
		{"out/edge", edgeOut(b, asProcess)},
		{"out/compiled-in", edgeOut(b, compiledIn)},
	}
	took := make([][]time.Duration, len(flows))
	for round := range 1 + flowRounds {
		for i, f := range flows {
			if round == 0 {
				f.measure(b, flowWarm)
				continue
			}
			took[i] = append(took[i], f.measure(b, flowCount))
		}
	}
	reportLoad(b)
	for i, f := range flows {
		b.ReportMetric(flowCount/quantile(took[i], .5).Seconds(), f.name+"-env/s")
	}
}

// startRemote runs a plugin without an edge.
func startRemote(b *testing.B, name string) *host.Process {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	p, err := host.Start(b.Context(), host.Command{Args: []string{self, "plugin", "serve", name}, Dir: dir, Log: benchLog})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.Kill)
	if _, err := p.Open(b.Context(), contract.Options{Config: []byte("{}"), Dir: dir, Log: benchLog}); err != nil {
		b.Fatal(err)
	}
	return p
}

// remoteIn publishes in batches, two of them under way as from an edge.
func remoteIn(b *testing.B) func(*testing.B, int) time.Duration {
	p := startRemote(b, benchSink)
	var number atomic.Uint64
	return func(b *testing.B, n int) time.Duration {
		const callers = 2
		begin := time.Now()
		var calls sync.WaitGroup
		for range callers {
			calls.Go(func() {
				for sent := 0; sent < n/callers; sent += contract.MaxBatch {
					batch := numbered(number.Add(contract.MaxBatch), contract.MaxBatch)
					for _, err := range p.Publish(context.Background(), batch) {
						if err != nil {
							b.Error(err)
							return
						}
					}
				}
			})
		}
		calls.Wait()
		return time.Since(begin)
	}
}

// remoteOut receives.
func remoteOut(b *testing.B) func(*testing.B, int) time.Duration {
	p := startRemote(b, benchSource)
	if err := p.Subscribe(b.Context(), contract.Filter{All: true}); err != nil {
		b.Fatal(err)
	}
	return func(b *testing.B, n int) time.Duration {
		begin := time.Now()
		for got := 0; got < n; {
			report, err := p.Receive(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			got += len(report.Envelopes)
		}
		return time.Since(begin)
	}
}

// edgeIn publishes through an edge, as many at a time as the window has room
// for, until all are answered.
func edgeIn(b *testing.B, how manner) func(*testing.B, int) time.Duration {
	window := make(chan struct{}, flowWindow)
	edge := openEdge(b, benchResident(b, how, benchSink, nil), func(e transport.Event) {
		switch e := e.(type) {
		case transport.Relayed:
			<-window
		case transport.Refused:
			b.Errorf("refused: %s", e.Reason)
			<-window
		}
	})
	var number uint64
	return func(b *testing.B, n int) time.Duration {
		begin := time.Now()
		for range n {
			window <- struct{}{}
			number++
			edge.FromAbove(publication(number))
		}
		for range flowWindow { // until it is empty
			window <- struct{}{}
		}
		took := time.Since(begin)
		for range flowWindow {
			<-window
		}
		return took
	}
}

// edgeOut receives through an edge. Between two measurements the layers above
// take nothing, and so nothing is asked of the transport.
func edgeOut(b *testing.B, how manner) func(*testing.B, int) time.Duration {
	const pausesAfter = 1 << 62
	var left atomic.Int64
	done := make(chan struct{}, 1)
	left.Store(pausesAfter)
	gate := newGate()
	edge := openEdge(b, benchResident(b, how, benchSource, nil), func(e transport.Event) {
		r, ok := e.(transport.Received)
		if !ok {
			return
		}
		gate.pass()
		n := int64(len(r.Envelopes))
		if now := left.Add(-n); now <= 0 && now+n > 0 {
			gate.shut()
			done <- struct{}{}
		}
	})
	b.Cleanup(gate.open) // before the edge is closed
	gate.shut()
	edge.FromAbove(transport.Subscribe{All: true})
	return func(_ *testing.B, n int) time.Duration {
		left.Store(int64(n))
		begin := time.Now()
		gate.open()
		<-done
		return time.Since(begin)
	}
}

// gate holds up who passes while it is shut.
type gate struct {
	mu     sync.Mutex
	change *sync.Cond
	closed bool
}

func newGate() *gate {
	g := &gate{}
	g.change = sync.NewCond(&g.mu)
	return g
}

func (g *gate) pass() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.closed {
		g.change.Wait()
	}
}

func (g *gate) shut() { g.set(true) }
func (g *gate) open() { g.set(false) }

func (g *gate) set(closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = closed
	g.change.Broadcast()
}
