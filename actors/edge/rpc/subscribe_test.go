package rpc

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/payload"
)

func TestSubscribersHearInOrder(t *testing.T) {
	f := start(t, clientRole, DefaultConfig())
	c, ctx := f.dial(t), t.Context()
	in, err := c.Messages(ctx)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := c.Statuses(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		m, err := c.Say(ctx, "test", fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		n, err := in.Next(ctx)
		if err != nil || n.Message == nil || n.Status != nil || n.Message.Text != "echo "+m.Text {
			t.Fatalf("message %d: got %+v, %v", i, n.Message, err)
		}
		n, err = changes.Next(ctx)
		want := StatusChange{ID: m.ID, Chat: "test", Status: payload.Sent}
		if err != nil || n.Message != nil || n.Status == nil || *n.Status != want {
			t.Fatalf("change %d: got %+v, %v, want %+v", i, n.Status, err, want)
		}
	}
	in.Close()
	eventually(t, "one subscriber is left", func() bool { n, _ := f.subscribers.count(); return n == 1 })
}

func TestSubscriberThatLeavesIsForgotten(t *testing.T) {
	f := start(t, clientRole, DefaultConfig())
	c, err := Dial(t.Context(), f.dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Messages(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Close()
	eventually(t, "no subscriber is left", func() bool { n, _ := f.subscribers.count(); return n == 0 })
	if _, cut := f.subscribers.count(); cut != 0 {
		t.Errorf("%d counted as cut off, want none", cut)
	}
}

// TestSlowSubscriberIsCutOff publishes to a client that does not read, as the
// payload layer would, until its buffer is full; the publisher never waits.
func TestSlowSubscriberIsCutOff(t *testing.T) {
	cfg := DefaultConfig()
	cfg.SubscriberBuffer = 4
	f := start(t, clientRole, cfg)
	conn, in := raw(t, f)
	fmt.Fprintln(conn, `{"jsonrpc":"2.0","id":1,"method":"strata_subscribe","params":["messages"]}`)
	if _, err := in.ReadBytes('\n'); err != nil {
		t.Fatal(err)
	}
	published := 0
	for text := strings.Repeat("x", 64<<10); ; published++ {
		if _, cut := f.subscribers.count(); cut > 0 {
			break
		}
		if published > 10_000 {
			t.Fatal("nobody was cut off")
		}
		f.hearPayload(payload.Received{Message: payload.Message{Clock: uint64(published), Text: text}})
	}
	var got int
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			t.Fatalf("after %d notices: %v, want a last one that says why", got, err)
		}
		var n struct{ Params struct{ Result Notice } }
		if err := json.Unmarshal(line, &n); err != nil {
			t.Fatal(err)
		}
		r := n.Params.Result
		if r.Ended != "" {
			if !strings.Contains(r.Ended, "cut off: more than 4 notices") {
				t.Errorf("ended: %q", r.Ended)
			}
			break
		}
		if r.Message == nil || r.Message.Clock != uint64(got) {
			t.Fatalf("notice %d: got %+v, want no gap", got, r.Message)
		}
		got++
	}
	if got != published-1 {
		t.Errorf("got %d notices of %d, want all but the one that did not fit", got, published)
	}
	if st, err := f.dial(t).Status(t.Context()); err != nil || st.API.CutOff != 1 || st.API.Subscribers != 0 {
		t.Errorf("status: got %+v, %v, want 1 cut off", st.API, err)
	}
}

func TestClientIsToldThatItWasCutOff(t *testing.T) {
	if _, err := decodeNotice([]byte(`{"ended":"cut off: too slow"}`)); err == nil || err.Error() != "cut off: too slow" {
		t.Errorf("got %v", err)
	}
}

func TestSubscribersAreBounded(t *testing.T) {
	f := start(t, clientRole, DefaultConfig())
	c := f.dial(t)
	for range maxSubscribers {
		if _, err := c.Messages(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Statuses(t.Context()); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v, want busy", err)
	}
}

// raw connects to the socket without a client.
func raw(t *testing.T, f *fixture) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("unix", f.IPCPath())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// BenchmarkPublish measures what one message costs the payload layer's events
// with 16 subscribers that keep up.
func BenchmarkPublish(b *testing.B) {
	s := subscribers{buffer: 1}
	var all []*subscriber
	for range 16 {
		all = append(all, s.add(messages))
	}
	n := Notice{Message: &payload.Message{Text: "hello"}}
	b.ReportAllocs()
	for b.Loop() {
		s.publish(messages, n)
		for _, sub := range all {
			<-sub.queue
		}
	}
}
