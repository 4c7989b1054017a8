package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/edge/plugin"
	"github.com/stratanode/strata/layers/transport"
	contract "github.com/stratanode/strata/plugins/transport"
)

// The figures of transport plugins in docs/benchmarks.md. Each of them does a
// fixed amount of work, whatever b.N is, and what is compared takes turns in one
// run: a machine that is busy with something else slows down both.

// benchSize is the length in bytes of the envelopes.
const benchSize = 1 << 10

// Transports that exist for the throughput alone, and serve as
// "plugin serve NAME" of the test binary.
const (
	benchSink   = "bench-sink"   // takes everything, and forgets it
	benchSource = "bench-source" // reports without end once it is subscribed to
)

var endlessOnes = map[string]func() contract.Transport{
	benchSink:   func() contract.Transport { return newEndless(false) },
	benchSource: func() contract.Transport { return newEndless(true) },
}

// serveEndless is serveBuiltin for them, and for the programs of a comparison.
func serveEndless(args []string) bool {
	if serveBare(args) {
		return true
	}
	if len(args) != 3 || args[0] != "plugin" || args[1] != "serve" || endlessOnes[args[2]] == nil {
		return false
	}
	contract.Serve(endlessOnes[args[2]])
	return true
}

// endless is both of them.
type endless struct {
	source     bool
	subscribed chan struct{}
	subscribe  sync.Once
	closed     chan struct{}
	number     uint64 // of the next envelope; of Receive
}

func newEndless(source bool) *endless {
	return &endless{source: source, subscribed: make(chan struct{}), closed: make(chan struct{})}
}

// Open implements transport.Transport.
func (e *endless) Open(context.Context, contract.Options) (contract.Info, error) {
	return contract.Info{Name: "endless", Version: "1.0.0", MaxData: 1 << 16, MaxTTL: time.Minute, Latency: time.Second}, nil
}

// Subscribe implements transport.Transport.
func (e *endless) Subscribe(context.Context, contract.Filter) error {
	if e.source {
		e.subscribe.Do(func() { close(e.subscribed) })
	}
	return nil
}

// Publish implements transport.Transport.
func (e *endless) Publish(context.Context, []contract.Envelope) []error { return nil }

// Receive implements transport.Transport.
func (e *endless) Receive(ctx context.Context) (contract.Report, error) {
	select {
	case <-e.subscribed:
	case <-ctx.Done():
		return contract.Report{}, ctx.Err()
	case <-e.closed:
		return contract.Report{}, contract.ErrClosed
	}
	batch := numbered(e.number, contract.MaxBatch)
	e.number += contract.MaxBatch
	return contract.Report{Envelopes: batch}, nil
}

// Close implements transport.Transport.
func (e *endless) Close(context.Context) error {
	close(e.closed)
	return nil
}

// numbered returns n envelopes that differ from all with other numbers.
func numbered(first uint64, n int) []contract.Envelope {
	batch := make([]contract.Envelope, n)
	block := make([]byte, n*benchSize)
	for i := range batch {
		data := block[i*benchSize : (i+1)*benchSize : (i+1)*benchSize]
		binary.BigEndian.PutUint64(data, first+uint64(i))
		batch[i] = contract.Envelope{
			ID: first + uint64(i) + 1, Topic: contract.Topic{'b', 'e', 'n', 'c'}, Data: data,
			Sent: time.Now().UTC().Truncate(time.Second), TTL: 10 * time.Second,
		}
	}
	return batch
}

// manner is how a transport is run.
type manner int

const (
	compiledIn manner = iota
	asProcess         // of the test binary, confined and with TLS, as a node does it
)

// benchResident returns a transport for the slot.
func benchResident(b *testing.B, how manner, name string, settings map[string]any) *plugin.Resident {
	b.Helper()
	c := plugin.DefaultConfig()
	c.Config, c.Dir, c.Process = settings, b.TempDir(), how == asProcess
	open := plugin.InProcess(both(name))
	if how == asProcess {
		self, err := os.Executable()
		if err != nil {
			b.Fatal(err)
		}
		open = plugin.Process(name, c, []string{self, "plugin", "serve", name}, benchLog)
	}
	return plugin.NewResident(name, c, open, benchLog)
}

// both finds a transport among those of the program and those for benchmarks.
func both(name string) func() contract.Transport {
	all := maps.Clone(builtin)
	maps.Copy(all, endlessOnes)
	return all[name]
}

// hearer is the layers above an edge.
type hearer struct {
	b    *testing.B
	hear func(transport.Event)
}

// Send implements plugin.Up.
func (h hearer) Send(e transport.Event) { h.hear(e) }

// SendCredited implements plugin.Up.
func (h hearer) SendCredited(e transport.Event, c *actors.Credit) {
	h.hear(e)
	c.Return()
}

// Fail implements plugin.Up.
func (h hearer) Fail(err error) { h.b.Errorf("the transport broke: %v", err) }

// openEdge opens a life of a transport, without an actor around it.
func openEdge(b *testing.B, home *plugin.Resident, hear func(transport.Event)) actors.Edge[transport.Command] {
	b.Helper()
	edge := home.Edge(hearer{b, hear})
	if err := edge.Open(); err != nil {
		edge.Close()
		b.Fatal(err)
	}
	b.Cleanup(edge.Close)
	return edge
}

// publication returns a command with an envelope of its own.
func publication(number uint64) transport.Publish {
	e := numbered(number, 1)[0]
	return transport.Publish{Ref: newRef(), Topic: transport.Topic(e.Topic), Data: e.Data, TTL: 2 * time.Second}
}

// freeUDPs returns addresses that transports can listen at.
func freeUDPs(tb testing.TB, n int) []string {
	tb.Helper()
	var all []string
	for range n {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		defer c.Close() // when all have one, so that they differ
		all = append(all, c.LocalAddr().String())
	}
	return all
}

// quantile returns one of measurements.
func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	all = slices.Sorted(slices.Values(all))
	return all[int(float64(len(all)-1)*q)]
}

// reportLoad tells how busy the machine was besides. On an idle one of the
// figures below nothing else runs.
func reportLoad(b *testing.B) {
	b.ReportMetric(0, "ns/op")
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		var load float64
		if _, err := fmt.Sscan(string(text), &load); err == nil {
			b.ReportMetric(load, "load")
		}
	}
}

func settingsOf(b *testing.B, text string) (m map[string]any) {
	b.Helper()
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		b.Fatal(err)
	}
	return m
}
