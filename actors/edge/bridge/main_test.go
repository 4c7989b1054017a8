package bridge

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	t0   = time.Unix(1_577_836_800, 0)
	chat = transport.Topic{0xcd, 0x42, 0x37, 0x60}
)

// whisperInfo and farInfo are what the two sides of most tests are like.
var (
	whisperInfo = transport.Info{Name: "whisper", MaxData: 1 << 20, MinTTL: 10 * time.Second, MaxTTL: 48 * time.Hour}
	farInfo     = transport.Info{Name: "far", MaxData: 64 << 10, MinTTL: time.Second, MaxTTL: time.Hour}
)

// opened returns a bridge with both sides ready.
func opened(t testing.TB, change func(*Config)) *Core {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	c := NewCore(cfg)
	c.Open()
	c.FromNear(t0, transport.Ready{Info: whisperInfo})
	c.FromFar(t0, transport.Ready{Info: farInfo})
	return c
}

// heard is an envelope sent at a time, as a transport reports it.
func heard(sent time.Time, ttl time.Duration, data string) transport.Received {
	return transport.Received{Envelopes: []transport.Envelope{{Topic: chat, Data: []byte(data), Sent: sent, TTL: ttl}}}
}

// many are n envelopes that differ.
func many(sent time.Time, ttl time.Duration, n int) (r transport.Received) {
	for i := range n {
		r.Envelopes = append(r.Envelopes, heard(sent, ttl, fmt.Sprint("envelope ", i)).Envelopes...)
	}
	return r
}

func published(commands []transport.Command) (list []transport.Publish) {
	for _, c := range commands {
		if p, ok := c.(transport.Publish); ok {
			list = append(list, p)
		}
	}
	return list
}

func texts(commands []transport.Command) (list []string) {
	for _, p := range published(commands) {
		list = append(list, string(p.Data))
	}
	return list
}

// relay answers for all publishes as a transport does whose peers take them.
func relay(step func(time.Time, transport.Event) Output, now time.Time, commands []transport.Command) (out Output) {
	for _, p := range published(commands) {
		step(now, transport.Accepted{Ref: p.Ref})
		o := step(now, transport.Relayed{Ref: p.Ref})
		out.Near, out.Far = append(out.Near, o.Near...), append(out.Far, o.Far...)
	}
	return out
}

func ref(topic transport.Topic, data string) layers.Ref {
	c := NewCore(DefaultConfig())
	return c.identify(&transport.Envelope{Topic: topic, Data: []byte(data)})
}
