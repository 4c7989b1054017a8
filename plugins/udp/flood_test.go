package udp_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stratanode/strata/plugins/transport"
	"github.com/stratanode/strata/plugins/transport/store"
	"github.com/stratanode/strata/plugins/udp"
)

var topic = transport.Topic{1, 2, 3, 4}

// freeAddress returns an address that is free now.
func freeAddress(t testing.TB) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().String()
}

// open opens a node that wants topic; peers are addresses in quotes.
func open(t testing.TB, listen, peers string) transport.Transport {
	t.Helper()
	u := udp.New()
	_, err := u.Open(t.Context(), transport.Options{
		Config: fmt.Appendf(nil, `{"listen":%q,"peers":[%s]}`, listen, peers),
		Log:    slog.New(slog.DiscardHandler), Now: time.Now, Rand: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Subscribe(t.Context(), transport.Filter{Topics: []transport.Topic{topic}}); err != nil {
		t.Fatal(err)
	}
	return u
}

func shut(t testing.TB, u transport.Transport) {
	t.Helper()
	if err := u.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func envelope(data string) transport.Envelope {
	return transport.Envelope{
		Topic: topic, Data: []byte(data), Sent: time.Now().UTC().Truncate(time.Second), TTL: 15 * time.Second,
	}
}

func publish(t testing.TB, u transport.Transport, data string) {
	t.Helper()
	if errs := u.Publish(t.Context(), []transport.Envelope{envelope(data)}); errs[0] != nil {
		t.Fatal(errs[0])
	}
}

// await receives until data comes.
func await(t testing.TB, u transport.Transport, data string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		r, err := u.Receive(ctx)
		if err != nil {
			t.Fatalf("waiting for %q: %v", data, err)
		}
		for _, e := range r.Envelopes {
			if string(e.Data) == data {
				return
			}
		}
	}
}

func TestRelayCarriesAConversationOverARestart(t *testing.T) {
	alice, relay, bob := freeAddress(t), freeAddress(t), freeAddress(t)
	r := open(t, relay, fmt.Sprintf("%q,%q", alice, bob))
	defer shut(t, r)
	// The relay forwards what it has not subscribed to.
	if err := r.Subscribe(t.Context(), transport.Filter{}); err != nil {
		t.Fatal(err)
	}
	a := open(t, alice, fmt.Sprintf("%q", relay))
	defer shut(t, a)
	b := open(t, bob, fmt.Sprintf("%q", relay))

	publish(t, a, "hello")
	await(t, b, "hello")
	publish(t, b, "hello to you")
	await(t, a, "hello to you")

	shut(t, b)
	deaf, err := net.ListenPacket("udp", bob)
	if err != nil {
		t.Fatal(err)
	}
	publish(t, a, "still there?")
	for range 4 { // the relay sends it in vain, for 1.4 s
		if err := deaf.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := deaf.ReadFrom(make([]byte, 1<<16)); err != nil {
			t.Fatal(err)
		}
	}
	deaf.Close()
	b = open(t, bob, fmt.Sprintf("%q", relay))
	defer shut(t, b)
	await(t, b, "still there?")
	publish(t, b, "yes")
	await(t, a, "yes")
}

func TestSettingsThatAreWrongAreNamed(t *testing.T) {
	for config, field := range map[string]string{
		`{"listen":"nowhere"}`:                             "listen",
		`{"listen":"192.0.2.1:1"}`:                         "listen", // not an address of this machine
		`{"listen":"127.0.0.1:0","peers":["x"]}`:           "peers",
		`{"listen":"127.0.0.1:0","peers":["a","b"],"p":1}`: "p",
	} {
		u := udp.New()
		_, err := u.Open(t.Context(), transport.Options{Config: []byte(config), Now: time.Now})
		var e *transport.Error
		if !errors.As(err, &e) || e.Code != transport.CodeInvalid || e.Field != field {
			t.Errorf("%s: got %v, want invalid: %s", config, err, field)
		}
		shut(t, u)
	}
}

func TestHostileDatagramsLeaveNoTrace(t *testing.T) {
	address := freeAddress(t)
	u := open(t, address, "")
	defer shut(t, u)
	stranger, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	send := func(b []byte) {
		if _, err := stranger.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	data := func(change func(*transport.Envelope)) []byte {
		e := envelope("x")
		change(&e)
		return store.Encode([]byte{1}, e)
	}
	send(nil)
	send([]byte{0})
	send([]byte{1})
	send([]byte{2})
	send([]byte{255, 1, 2, 3})
	send(append([]byte{2}, make([]byte, 31)...))
	send(append([]byte{2}, make([]byte, 32)...)) // confirms what nobody has
	send(append([]byte{2}, make([]byte, 33)...))
	send(data(func(e *transport.Envelope) { e.Data = nil }))
	send(data(func(e *transport.Envelope) { e.Data = make([]byte, 60_001) }))
	send(data(func(e *transport.Envelope) { e.TTL = 0 }))
	send(data(func(e *transport.Envelope) { e.TTL = time.Hour }))
	send(data(func(e *transport.Envelope) { e.Sent = e.Sent.Add(time.Minute) }))
	send(data(func(e *transport.Envelope) { e.Sent = e.Sent.Add(-time.Minute) }))
	send(bytes.Repeat([]byte{1}, 65_000))
	send(store.Encode([]byte{1}, envelope("good")))
	await(t, u, "good") // and nothing before it, as the count says
	stats, err := u.(transport.Counter).Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stats {
		if want := map[string]float64{"held": 1, "received_total": 1}; s.Value != want[s.Name] && s.Name != "held_bytes" {
			t.Errorf("%s is %v, want %v", s.Name, s.Value, want[s.Name])
		}
	}
}

func TestConfirmationEndsTheRepetition(t *testing.T) {
	peer, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	u := open(t, "127.0.0.1:0", fmt.Sprintf("%q", peer.LocalAddr()))
	defer shut(t, u)
	e := envelope("hello")
	if errs := u.Publish(t.Context(), []transport.Envelope{e}); errs[0] != nil {
		t.Fatal(errs[0])
	}
	next := func(d time.Duration) ([]byte, net.Addr, error) {
		b := make([]byte, 1<<16)
		if err := peer.SetReadDeadline(time.Now().Add(d)); err != nil {
			t.Fatal(err)
		}
		n, from, err := peer.ReadFrom(b)
		return b[:n], from, err
	}
	want := store.Encode([]byte{1}, e)
	var from net.Addr
	for range 3 {
		got, a, err := next(10 * time.Second)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got % x, %v, want % x again and again", got, err, want)
		}
		from = a
	}
	key := store.KeyOf(e)
	if _, err := peer.WriteTo(append([]byte{2}, key[:]...), from); err != nil {
		t.Fatal(err)
	}
	// An envelope of the peer is confirmed after what was sent before it.
	theirs := envelope("hello to you")
	if _, err := peer.WriteTo(store.Encode([]byte{1}, theirs), from); err != nil {
		t.Fatal(err)
	}
	key = store.KeyOf(theirs)
	if got, _, err := next(10 * time.Second); err != nil || !bytes.Equal(got, append([]byte{2}, key[:]...)) {
		t.Fatalf("got % x, %v, want the confirmation of our envelope", got, err)
	}
	// The next repetition would be due 0.8 s after the third.
	if got, _, err := next(1200 * time.Millisecond); err == nil {
		t.Errorf("got % x after having confirmed it", got)
	}
}

func TestFileIsShort(t *testing.T) {
	text, err := os.ReadFile("udp.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte("\n")); n >= 150 {
		t.Errorf("udp.go has %d lines; the transport to copy has fewer than 150", n)
	}
}
