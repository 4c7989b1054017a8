package actors_test

import (
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/actortest"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers"
)

// pass is the empty layer: it hands on what it gets.
type pass struct{}

func (pass) FromAbove(_ time.Time, o order) (layers.Output[fact, order], error) {
	return layers.Output[fact, order]{Down: []order{o}}, nil
}

func (pass) FromBelow(_ time.Time, f fact) (layers.Output[fact, order], error) {
	return layers.Output[fact, order]{Up: []fact{f}}, nil
}

func (pass) Wake(time.Time) layers.Output[fact, order] { return layers.Output[fact, order]{} }

// echo is a floor that answers every command with an event.
type echo struct{ out actors.Outlet[fact] }

func (e *echo) Open() error { return nil }
func (e *echo) Close()      {}
func (e *echo) FromAbove(o order) {
	e.out.Send(told{o.(add).n})
}

// sink counts what comes up and says when that was enough.
type sink struct {
	want uint64
	done chan struct{}
}

func (s *sink) Open() error { return nil }
func (s *sink) Close()      {}

// pile puts n empty layers between an echo and a sink.
func pile(b *testing.B, n int, tracer *actors.Tracer) (actors.Inlet[order], *sink, func()) {
	b.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	k := kernel.New(log)
	s := actors.NewStack(k, actortest.NewStore(), tracer, log)
	actors.StandEdge(s, floorSlot, func(out actors.Outlet[fact]) actors.Edge[order] { return &echo{out} })
	below := floorSlot
	for i := range n {
		slot := actors.Slot[order, fact](fmt.Sprint("layer", i))
		actors.Stand(s, slot, below, func(layers.Saved) pass { return pass{} })
		below = slot
	}
	sk := &sink{done: make(chan struct{}, 1)}
	top := actors.NewTop(s, "sink")
	in := actors.Hear(top, below, func(f fact) {
		if f.(told).n == sk.want {
			sk.done <- struct{}{}
		}
	})
	top.Run(sk)
	if err := s.Start(); err != nil {
		b.Fatal(err)
	}
	return in, sk, k.Stop
}

// BenchmarkStep is the cost of one step of the generic actor and the port to it,
// without anything to save: the difference of a pile of 1 and one of 11, by 20
// steps, is printed as ns/step.
func BenchmarkStep(b *testing.B) {
	for _, traced := range []struct {
		name  string
		steps int
	}{{"untraced", 0}, {"traced", 4096}} {
		b.Run(traced.name, func(b *testing.B) {
			few := stream(b, 1, traced.steps)
			much := stream(b, 11, traced.steps)
			b.ReportMetric(float64(much-few)/float64(b.N)/20, "ns/step")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// stream sends b.N commands through n layers, down and up, and returns the time.
func stream(b *testing.B, n, traced int) time.Duration {
	in, sk, stop := pile(b, n, actors.NewTracer(traced))
	defer stop()
	sk.want = uint64(b.N)
	begin := time.Now()
	for i := range b.N {
		in.Send(add{uint64(i + 1)})
	}
	<-sk.done
	return time.Since(begin)
}

// BenchmarkSevenSlots is a message through seven empty slots, one way: in a
// stream, and alone, when every layer has to be woken for it.
func BenchmarkSevenSlots(b *testing.B) {
	for _, traced := range []struct {
		name  string
		steps int
	}{{"untraced", 0}, {"traced", 4096}} {
		b.Run("stream/"+traced.name, func(b *testing.B) {
			took := stream(b, 7, traced.steps)
			b.ReportMetric(float64(took)/float64(b.N)/2, "ns/way")
			b.ReportMetric(0, "ns/op")
		})
		b.Run("alone/"+traced.name, func(b *testing.B) {
			in, sk, stop := pile(b, 7, actors.NewTracer(traced.steps))
			defer stop()
			begin := time.Now()
			for i := range b.N {
				sk.want = uint64(i + 1)
				in.Send(add{sk.want})
				<-sk.done
			}
			b.ReportMetric(float64(time.Since(begin))/float64(b.N)/2, "ns/way")
			b.ReportMetric(0, "ns/op")
		})
	}
}
