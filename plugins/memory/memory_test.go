package memory_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/stratanode/strata/plugins/memory"
	"github.com/stratanode/strata/plugins/transport"
	"github.com/stratanode/strata/plugins/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	var net memory.Network
	transporttest.Run(t, transporttest.Target{
		New:     func(int) (transport.Transport, error) { return net.New(), nil },
		Configs: []string{"{}", "{}", "{}"},
	})
}

func TestConformanceWithDelay(t *testing.T) {
	net := memory.Network{Delay: 30 * time.Millisecond, Seed: 1}
	transporttest.Run(t, transporttest.Target{
		New:     func(int) (transport.Transport, error) { return net.New(), nil },
		Configs: []string{"{}", "{}"},
	})
}

var topic = transport.Topic{1, 2, 3, 4}

func open(t *testing.T, net *memory.Network) transport.Transport {
	t.Helper()
	n := net.New()
	_, err := n.Open(t.Context(), transport.Options{
		Config: []byte("{}"), Log: slog.New(slog.DiscardHandler), Now: time.Now, Rand: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close(context.Background()) })
	if err := n.Subscribe(t.Context(), transport.Filter{Topics: []transport.Topic{topic}}); err != nil {
		t.Fatal(err)
	}
	return n
}

func envelope(i int) transport.Envelope {
	return transport.Envelope{
		ID: uint64(i), Topic: topic, Data: fmt.Appendf(nil, "%d", i),
		Sent: time.Now().UTC().Truncate(time.Second), TTL: 10 * time.Second,
	}
}

func publish(t *testing.T, n transport.Transport, es ...transport.Envelope) {
	t.Helper()
	for _, err := range n.Publish(t.Context(), es) {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// received returns what a node reports within d, with the time it took.
func received(t *testing.T, n transport.Transport, d time.Duration) (data []string, receipts []transport.Receipt) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	for {
		r, err := n.Receive(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			return data, receipts
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range r.Envelopes {
			data = append(data, string(e.Data))
		}
		receipts = append(receipts, r.Receipts...)
	}
}

func TestDelayIsVirtualAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &memory.Network{Delay: time.Minute, Seed: 7}
		a, b := open(t, net), open(t, net)
		start := time.Now()
		e := envelope(1)
		e.TTL = time.Hour
		publish(t, a, e)
		for {
			r, err := b.Receive(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Envelopes) == 0 {
				continue // the number of peers
			}
			if took := time.Since(start); took <= 0 || took > time.Minute {
				t.Errorf("took %v, want more than 0 and at most 1m", took)
			}
			return
		}
	})
}

func TestOneSeedGivesOneFate(t *testing.T) {
	run := func(seed uint64) (got []string) {
		synctest.Test(t, func(t *testing.T) {
			net := &memory.Network{Loss: 0.3, Repeat: 0.3, Delay: time.Second, Seed: seed}
			a, b := open(t, net), open(t, net)
			for i := range 200 {
				publish(t, a, envelope(i))
			}
			got, _ = received(t, b, 5*time.Second)
		})
		return got
	}
	first, again, other := run(1), run(1), run(2)
	if !slices.Equal(first, again) {
		t.Errorf("seed 1 gave %v, then %v", first, again)
	}
	if slices.Equal(first, other) {
		t.Error("seeds 1 and 2 gave the same")
	}
	unique := slices.Clone(first)
	slices.Sort(unique)
	unique = slices.Compact(unique)
	if lost := 200 - len(unique); lost < 30 || lost > 90 {
		t.Errorf("lost %d of 200, want about 60", lost)
	}
	if twice := len(first) - len(unique); twice < 20 || twice > 70 {
		t.Errorf("repeated %d, want about 42", twice)
	}
}

func TestReceiptSaysExpiredToOneWhoIsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, &memory.Network{})
		publish(t, a, envelope(5))
		if _, early := received(t, a, 9*time.Second); len(early) != 0 {
			t.Errorf("receipts before the TTL: %v", early)
		}
		_, got := received(t, a, 2*time.Second)
		if want := []transport.Receipt{{ID: 5, Outcome: transport.OutcomeExpired}}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestNodeThatOpensLaterIsGivenWhatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &memory.Network{}
		a := open(t, net)
		old := envelope(1)
		publish(t, a, old)
		time.Sleep(5 * time.Second)
		publish(t, a, envelope(2))
		time.Sleep(6 * time.Second) // the first is over
		got, _ := received(t, open(t, net), time.Second)
		if want := []string{"2"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		_, receipts := received(t, a, time.Second)
		want := []transport.Receipt{{ID: 1, Outcome: transport.OutcomeExpired}, {ID: 2, Outcome: transport.OutcomeRelayed}}
		if !slices.Equal(receipts, want) {
			t.Errorf("receipts %v, want %v", receipts, want)
		}
	})
}

func TestSlowNodeGetsAllInOrderLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &memory.Network{}
		a, b := open(t, net), open(t, net)
		const n = 1<<14 + 1000 // more than a node's queue
		var want []string
		for i := range n {
			publish(t, a, envelope(i))
			want = append(want, fmt.Sprint(i))
		}
		if got, _ := received(t, b, time.Second); !slices.Equal(got, want) {
			t.Errorf("got %d envelopes, want %d in order", len(got), n)
		}
	})
}

func TestFullNetworkIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, &memory.Network{})
		var refused error
		n := 0
		for ; refused == nil && n < 1<<17; n++ {
			refused = a.Publish(t.Context(), []transport.Envelope{envelope(n)})[0]
		}
		if !errors.Is(refused, transport.ErrBusy) || n != 1<<16+1 {
			t.Fatalf("envelope %d: %v, want busy after %d", n, refused, 1<<16)
		}
		time.Sleep(10 * time.Second)
		publish(t, a, envelope(n)) // there is room again
	})
}
