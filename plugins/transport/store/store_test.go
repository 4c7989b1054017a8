package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

var (
	t0    = time.Date(2019, 8, 1, 12, 0, 0, 0, time.UTC)
	topic = transport.Topic{1, 2, 3, 4}
)

// clock is a time that a test sets.
type clock struct{ now time.Time }

func (c *clock) read() time.Time { return c.now }

func newStore(c *clock, envelopes int) *Store {
	s := New(c.read, Limits{Data: 100, TTL: time.Minute, Envelopes: envelopes, Bytes: 100 * envelopes})
	_ = s.Subscribe(context.Background(), transport.Filter{Topics: []transport.Topic{topic}})
	return s
}

func envelope(i int) transport.Envelope {
	return transport.Envelope{Topic: topic, Data: fmt.Appendf(nil, "%d", i), Sent: t0, TTL: 10 * time.Second}
}

// drain returns what is ready, without waiting.
func drain(t *testing.T, s *Store) (all []string) {
	t.Helper()
	for {
		r, ok := s.report()
		if !ok {
			return all
		}
		for _, e := range r.Envelopes {
			all = append(all, string(e.Data))
		}
	}
}

func TestAddRefusesWhatIsOutsideTheLimits(t *testing.T) {
	for _, c := range []struct {
		name string
		e    transport.Envelope
		want error
	}{
		{"good", transport.Envelope{Data: make([]byte, 100), Sent: t0, TTL: time.Minute}, nil},
		{"20 s ahead", transport.Envelope{Data: []byte{1}, Sent: t0.Add(20 * time.Second), TTL: time.Second}, nil},
		{"empty", transport.Envelope{Sent: t0, TTL: time.Minute}, &transport.Error{Code: transport.CodeInvalid}},
		{"too large", transport.Envelope{Data: make([]byte, 101), Sent: t0, TTL: time.Minute}, transport.ErrTooLarge},
		{"over", transport.Envelope{Data: []byte{1}, Sent: t0.Add(-time.Minute), TTL: time.Minute}, transport.ErrExpired},
		{"too long", transport.Envelope{Data: []byte{1}, Sent: t0, TTL: time.Minute + 1}, &transport.Error{Code: transport.CodeInvalid}},
		{"no TTL", transport.Envelope{Data: []byte{1}, Sent: t0}, &transport.Error{Code: transport.CodeInvalid}},
		{"21 s ahead", transport.Envelope{Data: []byte{1}, Sent: t0.Add(21 * time.Second), TTL: time.Second}, &transport.Error{Code: transport.CodeInvalid}},
		{"year 292277026596", transport.Envelope{Data: []byte{1}, Sent: time.Unix(1<<62, 0), TTL: time.Second}, &transport.Error{Code: transport.CodeInvalid}},
	} {
		s := newStore(&clock{t0}, 10)
		_, fresh, err := s.Add(c.e, false)
		if !errors.Is(err, c.want) || fresh != (c.want == nil) {
			t.Errorf("%s: got %v, %v, want %v", c.name, fresh, err, c.want)
		}
	}
}

func TestEnvelopeIsHandedOverOnce(t *testing.T) {
	s := newStore(&clock{t0}, 10)
	k, fresh, err := s.Add(envelope(1), false)
	if !fresh || err != nil || !s.Holds(k) {
		t.Fatalf("got %v, %v, held %v", fresh, err, s.Holds(k))
	}
	if again, fresh, err := s.Add(envelope(1), false); again != k || fresh || err != nil {
		t.Errorf("a repetition: got %v, %v and the same key: %v", fresh, err, again == k)
	}
	if _, fresh, _ := s.Add(envelope(2), true); !fresh {
		t.Error("an own envelope is not new")
	}
	if got, want := drain(t, s), []string{"1"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestLateSubscriptionIsGivenWhatIsKept(t *testing.T) {
	c := &clock{t0}
	s := newStore(c, 10)
	other := envelope(1)
	other.Topic = transport.Topic{9}
	_, _, _ = s.Add(other, false)
	short := envelope(2)
	short.Topic, short.TTL = other.Topic, time.Second
	_, _, _ = s.Add(short, false)
	if got := drain(t, s); got != nil {
		t.Fatalf("got %v before it was subscribed to", got)
	}
	c.now = t0.Add(5 * time.Second)
	_ = s.Subscribe(context.Background(), transport.Filter{Topics: []transport.Topic{other.Topic}})
	if got, want := drain(t, s), []string{"1"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	_, _, _ = s.Add(envelope(3), false)
	if got := drain(t, s); got != nil {
		t.Errorf("got %v of the filter before", got)
	}
	_ = s.Subscribe(context.Background(), transport.Filter{All: true})
	if got, want := drain(t, s), []string{"3"}; !reflect.DeepEqual(got, want) {
		t.Errorf("with All got %v, want %v", got, want)
	}
}

func TestWhatIsOverIsNeitherKeptNorHandedOver(t *testing.T) {
	c := &clock{t0}
	s := newStore(c, 10)
	k, _, _ := s.Add(envelope(1), false)
	c.now = t0.Add(10 * time.Second)
	if s.Holds(k) {
		t.Error("it is held after its TTL")
	}
	if got := drain(t, s); got != nil {
		t.Errorf("got %v after its TTL", got)
	}
	if len(s.held) != 0 || s.bytes != 0 || len(s.oldest) != 0 {
		t.Errorf("%d kept, %d bytes, %d in the heap", len(s.held), s.bytes, len(s.oldest))
	}
}

func TestStrangersFillHalf(t *testing.T) {
	c := &clock{t0}
	s := newStore(c, 10)
	taken := 0
	for i := range 20 {
		if _, _, err := s.Add(envelope(i), false); err == nil {
			taken++
		} else if !errors.Is(err, transport.ErrBusy) {
			t.Fatal(err)
		}
	}
	own := 0
	for i := range 20 {
		if _, _, err := s.Add(envelope(100+i), true); err == nil {
			own++
		}
	}
	if taken != 5 || own != 5 {
		t.Errorf("took %d of strangers and %d of its own, want 5 and 5", taken, own)
	}
	c.now = t0.Add(10 * time.Second)
	e := envelope(1)
	e.Sent = c.now
	if _, fresh, err := s.Add(e, false); !fresh || err != nil {
		t.Errorf("after the TTL: %v, %v, want room", fresh, err)
	}
}

func TestSlowHostGetsAllInTheEnd(t *testing.T) {
	const n = 3 * maxReady
	c := &clock{t0}
	s := newStore(c, 2*n)
	for i := range n {
		if _, _, err := s.Add(envelope(i), false); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.ready) != maxReady {
		t.Errorf("%d are ready, want %d", len(s.ready), maxReady)
	}
	seen := map[string]int{}
	for _, d := range drain(t, s) {
		seen[d]++
	}
	for i := range n {
		if got := seen[fmt.Sprint(i)]; got != 1 {
			t.Fatalf("envelope %d came %d times", i, got)
		}
	}
}

func TestReceiveWaitsAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(time.Now, Limits{Data: 100, TTL: time.Minute, Envelopes: 10, Bytes: 1000})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the end of the context", err)
		}
		time.AfterFunc(time.Second, func() { s.SetPeers(2) })
		if r, err := s.Receive(t.Context()); err != nil || r.Peers == nil || *r.Peers != 2 {
			t.Errorf("got %v, %v, want 2 peers", r, err)
		}
		time.AfterFunc(time.Second, s.Close)
		if _, err := s.Receive(t.Context()); !errors.Is(err, transport.ErrClosed) {
			t.Errorf("got %v, want closed", err)
		}
	})
}

func TestStatsCount(t *testing.T) {
	s := newStore(&clock{t0}, 2)
	for range 3 {
		_, _, _ = s.Add(envelope(1), false)
	}
	_, _, _ = s.Add(envelope(2), false)
	drain(t, s)
	got := map[string]float64{}
	stats, _ := s.Stats(context.Background())
	for _, x := range stats {
		got[x.Name] = x.Value
	}
	want := map[string]float64{
		"held": 1, "held_bytes": 1, "received_total": 1, "repeated_total": 2, "refused_total": 1, "expired_total": 0,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestEncodingIsAsDocumented(t *testing.T) {
	e := envelope(7)
	got := Encode([]byte{0xee}, e)
	want := []byte{0xee, 1, 2, 3, 4, 0, 0, 0, 0, 0x5d, 0x42, 0xd4, 0x40, 0, 0, 0, 10, '7'}
	if !bytes.Equal(got, want) {
		t.Errorf("got % x, want % x", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Encode(nil, envelope(1)))
	f.Add(make([]byte, Header))
	f.Add(bytes.Repeat([]byte{0xff}, Header+1))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Decode(b)
		if (err == nil) != (len(b) > Header) {
			t.Fatalf("%d bytes: %v", len(b), err)
		}
		if err != nil {
			return
		}
		again := Encode(nil, e)
		if !bytes.Equal(again, b) {
			t.Fatalf("% x became % x", b, again)
		}
		if back, err := Decode(again); err != nil || !reflect.DeepEqual(back, e) {
			t.Fatalf("%v became %v, %v", e, back, err)
		}
		s := New(func() time.Time { return t0 }, Limits{Data: 1 << 20, TTL: time.Minute, Envelopes: 2, Bytes: 1 << 20})
		if _, fresh, _ := s.Add(e, false); fresh && s.oldest[0].Expiry().After(t0.Add(MaxFuture+time.Minute)) {
			t.Fatalf("%v is kept for too long", e)
		}
	})
}
