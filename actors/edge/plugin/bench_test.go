package plugin

import (
	"context"
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/layers"
	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/transport"
)

// meter counts the events of one kind.
type meter struct {
	mu   sync.Mutex
	left int
	done chan struct{}
}

func (m *meter) count(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left -= n; m.left <= 0 && m.left+n > 0 {
		close(m.done)
	}
}

func (m *meter) Fail(err error) { panic(err) }

func (m *meter) Send(e slot.Event) {
	if _, ok := e.(slot.Relayed); ok {
		m.count(1)
	}
}

func (m *meter) SendCredited(e slot.Event, c *actors.Credit) {
	if in, ok := e.(slot.Received); ok {
		m.count(len(in.Envelopes))
	}
	c.Return()
}

func benchEdge(b *testing.B, f *fake, n int) (actors.Edge[slot.Command], *meter) {
	b.Helper()
	m := &meter{left: n, done: make(chan struct{})}
	f.info.Receipts = false
	f.info.MaxTTL = 24 * time.Hour
	home := NewResident("bench", DefaultConfig(), func(context.Context) (Running, error) { return f, nil }, quiet)
	e := home.Edge(m)
	if err := e.Open(); err != nil {
		b.Fatal(err)
	}
	e.FromAbove(slot.Subscribe{All: true})
	return e, m
}

// BenchmarkPublish takes 1 KB from the command to the final answer, with at most
// 1024 unanswered.
func BenchmarkPublish(b *testing.B) {
	f := newFake()
	f.publish = func(context.Context, []transport.Envelope) []error { return nil }
	e, m := benchEdge(b, f, b.N)
	data := make([]byte, 1000)
	b.SetBytes(1000)
	b.ReportAllocs()
	room := 0
	for i := range b.N {
		for ; room == 0; room = 1024 - e.(*Edge).unanswered() {
		}
		room--
		var r layers.Ref
		binary.BigEndian.PutUint64(r[:], uint64(i)+1)
		e.FromAbove(slot.Publish{Ref: r, Topic: topicA, Data: data, TTL: time.Hour})
	}
	<-m.done
	b.StopTimer()
	e.Close()
}

func (e *Edge) unanswered() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.box.byRef)
}

// BenchmarkReceive takes 1 KB from the report of the transport to the event.
func BenchmarkReceive(b *testing.B) {
	f := newFake()
	var n uint64
	f.receive = func(ctx context.Context) (transport.Report, error) {
		all := make([]transport.Envelope, 64)
		now := time.Now()
		for i := range all {
			data := make([]byte, 1000)
			binary.BigEndian.PutUint64(data, n)
			n++
			all[i] = transport.Envelope{Data: data, Sent: now, TTL: time.Minute}
		}
		return transport.Report{Envelopes: all}, ctx.Err()
	}
	b.SetBytes(1000)
	b.ReportAllocs()
	e, m := benchEdge(b, f, b.N)
	<-m.done
	b.StopTimer()
	e.Close()
}
