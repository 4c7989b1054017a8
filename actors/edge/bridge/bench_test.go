package bridge

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
)

// BenchmarkCarry is an envelope with its whole way through the bridge: heard,
// published, accepted and relayed.
func BenchmarkCarry(b *testing.B) {
	for _, size := range []int{100, 1 << 10, 10 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			c := unlimited(b)
			data := make([]byte, size)
			r := transport.Received{Envelopes: []transport.Envelope{{Topic: chat, Data: data, Sent: t0, TTL: time.Minute}}}
			var ref layers.Ref
			b.ReportAllocs()
			for i := range b.N {
				now := t0.Add(time.Duration(i) * time.Millisecond)
				binary.BigEndian.PutUint64(data, uint64(i))
				r.Envelopes[0].Sent = now
				out := c.FromNear(now, r)
				if len(out.Far) != 1 {
					b.Fatalf("%+v: not carried", c.Report())
				}
				ref = out.Far[0].(transport.Publish).Ref
				c.FromFar(now, transport.Accepted{Ref: ref})
				c.FromFar(now, transport.Relayed{Ref: ref})
			}
		})
	}
}

// BenchmarkDuplicate is an envelope that was carried before: half of what a
// bridge hears beside another one.
func BenchmarkDuplicate(b *testing.B) {
	c := unlimited(b)
	r := heard(t0, time.Minute, string(make([]byte, 1<<10)))
	c.FromNear(t0, r)
	e := transport.Event(r)
	b.ReportAllocs()
	for range b.N {
		c.FromFar(t0, e)
	}
}

// BenchmarkFlood is an envelope beyond the budget, which pushes an older one out
// of the queue.
func BenchmarkFlood(b *testing.B) {
	c := opened(b, nil)
	data := make([]byte, 1<<10)
	r := transport.Received{Envelopes: []transport.Envelope{{Topic: chat, Data: data, Sent: t0, TTL: time.Minute}}}
	b.ReportAllocs()
	for i := range b.N {
		binary.BigEndian.PutUint64(data, uint64(i))
		c.FromNear(t0, r)
	}
}

func unlimited(b *testing.B) *Core {
	return opened(b, func(c *Config) {
		c.NearToFar.EnvelopesPerSecond = maxEnvelopesPerSecond
		c.NearToFar.KiBPerSecond = maxKiBPerSecond
		c.Remember = maxRemember
	})
}
