package shh

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

func TestFilterThatNobodyPollsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, func(c *Config) { c.FilterTimeout = time.Minute })
		defer func() {
			r.kernel.Stop()
			time.Sleep(2 * time.Second) // protoactor has timers of its own
			synctest.Wait()
		}()
		s := &service{r.api}
		sym, err := s.NewSymKey()
		if err != nil {
			t.Fatal(err)
		}
		var ids [2]string
		for i := range ids {
			if ids[i], err = s.NewMessageFilter(Criteria{SymKeyID: sym, Topics: []Topic{{1}}}); err != nil {
				t.Fatal(err)
			}
		}
		alive := func(want ...bool) {
			t.Helper()
			synctest.Wait()
			for i, id := range ids {
				r.api.filters.mu.Lock()
				got := r.api.filters.byID[id] != nil
				r.api.filters.mu.Unlock()
				if got != want[i] {
					t.Errorf("filter %d: alive %v, want %v", i, got, want[i])
				}
			}
		}
		time.Sleep(59 * time.Second)
		if _, err := s.GetFilterMessages(ids[0]); err != nil {
			t.Fatal(err)
		}
		alive(true, true)
		time.Sleep(time.Second)
		alive(true, false)
		if _, err := s.GetFilterMessages(ids[1]); !errors.Is(err, errNoFilter) {
			t.Errorf("got error %v, want %v", err, errNoFilter)
		}
		time.Sleep(58 * time.Second)
		// A restart of the edge gives it all of its time again.
		r.stack.Drill(Namespace)
		time.Sleep(30 * time.Second)
		alive(true, false)
		time.Sleep(time.Minute)
		alive(false, false)
		if got := r.api.Report(); got.Lapsed != 2 || got.Filters != 0 {
			t.Errorf("report %+v, want 2 lapsed", got)
		}
	})
}

func TestFilterKeepsTheNewestMessages(t *testing.T) {
	letter := letter{sym: symOf(1), topic: topicA}
	for _, tt := range []struct {
		name    string
		change  func(*Config)
		payload string
		kept    int
	}{
		{"count", func(c *Config) { c.FilterMessages = 3 }, "", 3},
		{"bytes", func(c *Config) { c.FilterBytes = 1 << 20 }, strings.Repeat("x", 300_000), 3},
		{"bytes of all", func(c *Config) { c.StoredBytes = 1 << 20 }, strings.Repeat("x", 300_000), 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tb := newTable(t, tt.change)
			tb.add("x", filter{}, keyed{sym: symOf(1)})
			for i := range 10 {
				tb.o.open(&waiting{sealedWith(letter, fmt.Sprint(i)+tt.payload, 0), false})
			}
			held := tb.api.filters.drain(tb.of["x"])
			if len(held) != tt.kept || held[0].Payload[0] != byte('0'+10-tt.kept) {
				t.Errorf("%d messages are kept, the first %.3q; want the last %d", len(held), held[0].Payload, tt.kept)
			}
			if got := tb.api.counts.dropped.Load(); got != uint64(10-tt.kept) {
				t.Errorf("%d dropped, want %d", got, 10-tt.kept)
			}
			if n := tb.api.filters.bytes; n != 0 {
				t.Errorf("%d bytes are left in an empty store", n)
			}
		})
	}
}

func TestFloodOfOneFilterTakesNothingFromAnother(t *testing.T) {
	tb := newTable(t, func(c *Config) { c.StoredBytes = 1 << 20 })
	tb.add("quiet", filter{topics: []transport.Topic{topicA}}, keyed{sym: symOf(1)})
	tb.add("flooded", filter{topics: []transport.Topic{topicB}}, keyed{sym: symOf(1)})
	tb.o.open(&waiting{sealedWith(letter{sym: symOf(1), topic: topicA}, "keep me", 0), false})
	for range 50 {
		tb.o.open(&waiting{sealedWith(letter{sym: symOf(1), topic: topicB}, strings.Repeat("x", 100_000), 0), false})
	}
	if got := tb.api.filters.drain(tb.of["quiet"]); len(got) != 1 {
		t.Error("the message of the quiet filter was dropped")
	}
	if n := tb.api.filters.bytes; n > 1<<20 || n < 1<<19 {
		t.Errorf("%d bytes are kept", n)
	}
}

func TestMessageTooLongForTheStoreIsDroppedAlone(t *testing.T) {
	tb := newTable(t, func(c *Config) { c.FilterBytes = 1 << 20 })
	tb.add("x", filter{}, keyed{sym: symOf(1)})
	tb.o.open(&waiting{sealedWith(letter{sym: symOf(1)}, "short", 0), false})
	tb.o.open(&waiting{sealedWith(letter{sym: symOf(1)}, strings.Repeat("x", 1<<20), 0), false})
	if got := tb.api.filters.drain(tb.of["x"]); len(got) != 1 || string(got[0].Payload) != "short" {
		t.Errorf("%d messages are kept", len(got))
	}
}

func TestCountsOfFiltersAndKeysAreBounded(t *testing.T) {
	_, c := running(t, func(c *Config) { c.Filters, c.Keys = 2, 3 })
	sym := must[string](t, c, "shh_newSymKey")
	pair := must[string](t, c, "shh_newKeyPair")
	third := must[string](t, c, "shh_generateSymKeyFromPassword", "x")
	const full = "shh: there are 3 keys already (keys)"
	fails(t, c, full, "shh_newSymKey")
	fails(t, c, full, "shh_newKeyPair")
	fails(t, c, full, "shh_addPrivateKey", hexOf("01", 32))
	fails(t, c, full, "shh_addSymKey", hexOf("01", 32))
	fails(t, c, full, "shh_generateSymKeyFromPassword", "y")
	must[bool](t, c, "shh_deleteSymKey", third)
	must[string](t, c, "shh_newSymKey")

	criteria := obj{"symKeyID": sym, "topics": []string{"0x01020304"}}
	first := must[string](t, c, "shh_newMessageFilter", criteria)
	must[string](t, c, "shh_newMessageFilter", obj{"privateKeyID": pair})
	fails(t, c, "shh: there are 2 filters already (filters)", "shh_newMessageFilter", criteria)
	if _, err := c.Subscribe(t.Context(), Namespace, make(chan Message), "messages", criteria); err == nil || err.Error() != "shh: there are 2 filters already (filters)" {
		t.Errorf("subscription: got error %v", err)
	}
	must[bool](t, c, "shh_deleteMessageFilter", first)
	must[string](t, c, "shh_newMessageFilter", criteria)
}

func TestPasswordsAreWorkedOnOneAtATimeAndNotForThoseWhoHaveGone(t *testing.T) {
	r, c := running(t, func(c *Config) { c.Keys = 2 })
	s := &service{r.api}
	r.api.deriving <- struct{}{} // one is being worked on
	gone, leave := context.WithCancel(t.Context())
	leave()
	if _, err := s.GenerateSymKeyFromPassword(gone, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("for a client that has gone: got error %v", err)
	}
	errs := make(chan error, 5)
	for range cap(errs) {
		go func() { errs <- c.CallContext(t.Context(), nil, "shh_generateSymKeyFromPassword", "x") }()
	}
	select {
	case err := <-errs:
		t.Errorf("another was worked on meanwhile: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	<-r.api.deriving
	full := 0
	for range cap(errs) {
		if err := <-errs; err != nil && err.Error() == "shh: there are 2 keys already (keys)" {
			full++
		} else if err != nil {
			t.Error(err)
		}
	}
	if got := r.api.Report().Keys; got != 2 || full != 3 {
		t.Errorf("%d keys, %d calls refused, want 2 and 3", got, full)
	}
	r.api.deriving <- struct{}{}
	go func() { errs <- c.CallContext(t.Context(), nil, "shh_generateSymKeyFromPassword", "x") }()
	r.kernel.Stop()
	if err := <-errs; err == nil || err.Error() != errStopping.Error() {
		t.Errorf("when the node stops: got error %v", err)
	}
}

// The actor hands over and never waits, however slow the opening is.
func TestEnvelopesBeyondTheQueueAreDroppedAndCounted(t *testing.T) {
	tb := newTable(t, func(c *Config) { c.QueueBytes = 1 << 20 }) // nobody opens
	tb.add("x", filter{topics: []transport.Topic{topicA}}, keyed{sym: symOf(1)})
	const most = (1 << 20) / (1000 + itemOverhead)
	for i := range uint64(2 * most) {
		e := transport.Envelope{Topic: topicA, Data: make([]byte, 1000), Raw: make([]byte, 1000)}
		tb.api.hear(transport.Admitted{Mark: i + 1, Envelopes: []transport.Envelope{e}})
	}
	tb.api.hear(transport.Admitted{Mark: 1 << 40, Envelopes: []transport.Envelope{{Topic: topicB, Data: make([]byte, 1000)}}})
	if r := tb.api.Report(); r.Waiting != most || r.Overflowed != most {
		t.Errorf("%d wait, %d dropped; want %d and as many", r.Waiting, r.Overflowed, most)
	}
	for i := range most {
		if _, ok := tb.api.inbox.next(); !ok {
			t.Fatalf("only %d could be taken out", i)
		}
	}
	if _, ok := tb.api.inbox.next(); ok || tb.api.inbox.bytes != 0 {
		t.Errorf("%d bytes are left in an empty queue", tb.api.inbox.bytes)
	}
}

func TestOpenedEnvelopesAreRememberedUntilTheyEnd(t *testing.T) {
	var r recent
	now := time.Unix(1_577_836_800, 0)
	at := func(i int, ttl time.Duration) *transport.Envelope {
		return &transport.Envelope{Hash: transport.Hash{byte(i), byte(i >> 8), byte(i >> 16)}, Sent: now, TTL: ttl}
	}
	r.add(now, at(1, time.Minute))
	r.add(now.Add(79*time.Second), at(2, time.Hour))
	if !r.has(at(1, 0).Hash) || !r.has(at(2, 0).Hash) {
		t.Error("forgotten too early")
	}
	r.add(now.Add(81*time.Second), at(3, time.Hour))
	if r.has(at(1, 0).Hash) || !r.has(at(2, 0).Hash) {
		t.Error("the first is remembered too long, or the second was forgotten")
	}
	for i := range maxRecent {
		r.add(now, at(10+i, time.Hour))
	}
	if len(r.opened) != maxRecent || len(r.order) != maxRecent || r.has(at(3, 0).Hash) {
		t.Errorf("%d and %d are remembered, want %d", len(r.opened), len(r.order), maxRecent)
	}
}

func TestConfigurationIsCheckedAsAWhole(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	err := Config{PoWCores: -1}.Validate()
	for _, name := range []string{
		"filters", "filter_timeout", "filter_messages", "filter_bytes", "stored_bytes", "queue_bytes",
		"keys", "posts", "pow_cores", "max_pow_time", "post_timeout",
	} {
		if err == nil || !strings.Contains("\n"+err.Error(), "\n"+name+": ") {
			t.Errorf("no fault of %s in %v", name, err)
		}
	}
}
