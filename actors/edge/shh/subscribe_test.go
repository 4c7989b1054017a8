package shh

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gethrpc "github.com/ethereum/go-ethereum/rpc"

	"github.com/stratanode/strata/layers/transport"
)

// subscribed is a subscription of its own client.
func subscribed(t *testing.T, c *gethrpc.Client, criteria obj) (*gethrpc.ClientSubscription, chan Message) {
	t.Helper()
	ch := make(chan Message, 100)
	sub, err := c.Subscribe(t.Context(), Namespace, ch, "messages", criteria)
	if err != nil {
		t.Fatal(err)
	}
	return sub, ch
}

func next(t *testing.T, ch chan Message) Message {
	t.Helper()
	select {
	case m := <-ch:
		return m
	case <-time.After(within):
		t.Fatalf("no message within %v", within)
		panic("unreachable")
	}
}

func TestSubscriptionIsToldEachMessageInOrder(t *testing.T) {
	r, c := running(t, nil)
	sym := must[string](t, c, "shh_addSymKey", hexOf("01", 32))
	criteria := obj{"symKeyID": sym, "topics": []string{"0xcd423760"}}
	_, ch := subscribed(t, c, criteria)
	_, other := subscribed(t, c, criteria.with("sig", bob.Public().String()))
	for i := range 20 {
		r.fake.admit(sealed(letter{from: alice, sym: symOf(1), topic: topicA}, fmt.Sprint(i)))
	}
	r.fake.admit(sealed(letter{from: bob, sym: symOf(1), topic: topicA}, "of bob"))
	for i := range 20 {
		if m := next(t, ch); string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, m.Payload)
		}
	}
	if m := next(t, other); string(m.Payload) != "of bob" {
		t.Errorf("the other was told %q", m.Payload)
	}
}

func TestEndOfASubscriptionRemovesItsFilter(t *testing.T) {
	r, c := running(t, nil)
	server := r.serve()
	sym := must[string](t, c, "shh_newSymKey")
	criteria := obj{"symKeyID": sym, "topics": []string{"0xcd423760"}}
	for name, end := range map[string]func(*gethrpc.Client, *gethrpc.ClientSubscription){
		"unsubscribed": func(_ *gethrpc.Client, s *gethrpc.ClientSubscription) { s.Unsubscribe() },
		"disconnected": func(c *gethrpc.Client, _ *gethrpc.ClientSubscription) { c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			client := gethrpc.DialInProc(server)
			defer client.Close()
			sub, _ := subscribed(t, client, criteria)
			if got := r.api.Report(); got.Subscriptions != 1 || got.Filters != 1 {
				t.Errorf("while it lasts: %+v", got)
			}
			end(client, sub)
			until(t, func() bool { return r.api.Report().Filters == 0 })
		})
	}
}

func TestStoppingNodeEndsSubscriptions(t *testing.T) {
	r, c := running(t, nil)
	sym := must[string](t, c, "shh_newSymKey")
	subscribed(t, c, obj{"symKeyID": sym, "topics": []string{"0xcd423760"}})
	r.kernel.Stop()
	if got := r.api.Report(); got.Filters != 0 {
		t.Errorf("left: %+v", got)
	}
	_, err := c.Subscribe(t.Context(), Namespace, make(chan Message), "messages", obj{"symKeyID": sym, "topics": []string{"0xcd423760"}})
	if err == nil || err.Error() != errStopping.Error() {
		t.Errorf("got error %v, want %v", err, errStopping)
	}
	if got := r.api.Report(); got.Filters != 0 {
		t.Errorf("left of the late one: %+v", got)
	}
}

func TestSubscriptionsNeedAConnectionThatStays(t *testing.T) {
	r, c := running(t, nil)
	web := httptest.NewServer(r.serve())
	t.Cleanup(web.Close)
	client, err := gethrpc.Dial(web.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	sym := must[string](t, client, "shh_newSymKey") // over HTTP like everything else
	fails(t, client, "notifications not supported", "shh_subscribe", "messages", obj{"symKeyID": sym})
	fails(t, c, `no "everything" subscription in shh namespace`, "shh_subscribe", "everything")
}

// A subscriber that reads nothing must cost no more than its filter may hold.
func TestSlowSubscriberLosesTheOldestAndHoldsNobodyUp(t *testing.T) {
	tb := newTable(t, func(c *Config) { c.FilterMessages = 5 })
	f := filter{fresh: make(chan struct{}, 1)}
	tb.add("slow", f, keyed{sym: symOf(1)})
	tb.add("other", filter{}, keyed{sym: symOf(1)})
	for i := range 20 {
		tb.o.open(&waiting{sealed(letter{sym: symOf(1)}, fmt.Sprint(i)), false})
	}
	held := tb.api.filters.drain(tb.of["slow"])
	if len(held) != 5 || string(held[0].Payload) != "15" || len(f.fresh) != 1 {
		t.Errorf("%d messages and %d signals", len(held), len(f.fresh))
	}
}

// A client that has subscribed and reads nothing any more loses its connection,
// and with it what it holds, when the first notice has waited for 10 s.
func TestSubscriberThatReadsNothingIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, nil)
		server := gethrpc.NewServer()
		defer func() {
			server.Stop()
			r.kernel.Stop()
			time.Sleep(2 * time.Second) // protoactor has timers of its own
			synctest.Wait()
		}()
		if err := server.RegisterName(Namespace, r.api.Service()); err != nil {
			t.Fatal(err)
		}
		near, far := net.Pipe()
		go server.ServeCodec(gethrpc.NewCodec(near), 0)
		sym, err := r.api.keys.addSym(symOf(1))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(far, `{"jsonrpc":"2.0","id":1,"method":"shh_subscribe","params":["messages",{"symKeyID":"%s","topics":["0xcd423760"]}]}`, sym)
		if line, err := bufio.NewReader(far).ReadString('\n'); err != nil || !strings.Contains(line, `"result":"0x`) {
			t.Fatalf("answer %q, %v", line, err)
		}
		synctest.Wait() // else the library may write the first notice, and nobody hears that it cannot
		for i := range 3 {
			r.fake.admit(sealed(letter{sym: symOf(1), topic: topicA}, fmt.Sprint(i)))
		}
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if got := r.api.Report(); got.Subscriptions != 1 {
			t.Errorf("after 9 s: %+v", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := r.api.Report(); got.Filters != 0 || got.StoredBytes != 0 {
			t.Errorf("after 11 s: %+v", got)
		}
		rest := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, far)
			rest <- err
		}()
		time.Sleep(time.Second)
		synctest.Wait()
		select {
		case <-rest:
		default:
			t.Error("the connection is still open")
			far.Close()
			<-rest
		}
	})
}

func TestClientsMayDoEverythingAtOnce(t *testing.T) {
	r, c := running(t, func(c *Config) { c.FilterTimeout = time.Second })
	server := r.serve()
	sym := must[string](t, c, "shh_addSymKey", hexOf("01", 32))
	criteria := obj{"symKeyID": sym, "topics": []string{"0xcd423760"}, "allowP2P": true}
	var work sync.WaitGroup
	for n := range 4 {
		work.Go(func() {
			client := gethrpc.DialInProc(server)
			defer client.Close()
			for i := range 20 {
				ctx, cancel := context.WithTimeout(t.Context(), within)
				var id, pair string
				sub, err := client.Subscribe(ctx, Namespace, make(chan Message, 1000), "messages", criteria.with("topics", []string{fmt.Sprintf("0x%08x", i)}))
				for _, step := range []func() error{
					func() error { return err },
					func() error { return client.CallContext(ctx, &id, "shh_newMessageFilter", criteria) },
					func() error { return client.CallContext(ctx, &pair, "shh_newKeyPair") },
					func() error {
						return client.CallContext(ctx, nil, "shh_post", obj{"symKeyID": sym, "sig": pair, "topic": "0xcd423760",
							"powTarget": 0.002, "powTime": 20, "payload": fmt.Sprintf("0x%04x", n*100+i)})
					},
					func() error { return client.CallContext(ctx, nil, "shh_getFilterMessages", id) },
					func() error { return client.CallContext(ctx, nil, "shh_info") },
					func() error { return client.CallContext(ctx, nil, "shh_deleteMessageFilter", id) },
					func() error { return client.CallContext(ctx, nil, "shh_deleteKeyPair", pair) },
				} {
					if err := step(); err != nil && !strings.Contains(err.Error(), "posts are looking") {
						t.Errorf("client %d, round %d: %v", n, i, err)
					}
				}
				sub.Unsubscribe()
				cancel()
			}
		})
	}
	work.Go(func() {
		e := sealed(letter{sym: symOf(1), topic: topicA}, "x")
		for range 50 {
			r.fake.up(history(e))
			r.fake.up(transport.Ready{Info: r.fake.info})
			r.api.Report()
		}
	})
	work.Wait()
	until(t, func() bool { return r.api.Report().Filters == 0 })
	if got := r.api.Report(); got.StoredBytes != 0 || got.Keys != 1 {
		t.Errorf("left: %+v", got)
	}
}
