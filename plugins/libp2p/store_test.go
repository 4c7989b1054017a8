package libp2p

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/stratanode/strata/plugins/transport"
)

// shelf is an archive of a test.
type shelf struct {
	mu    sync.Mutex
	asked []transport.Ask
	page  transport.Page
	err   error
}

func (s *shelf) archive(_ context.Context, a transport.Ask) (transport.Page, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, a)
	return s.page, s.err
}

func (s *shelf) asks() []transport.Ask {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// archives serves an archive at a node until the test ends, or stop.
func (n *node) archives(t *testing.T, archive transport.Archive) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = n.Serve(ctx, archive)
	}()
	stop = func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Error("Serve does not end")
		}
	}
	t.Cleanup(stop)
	return stop
}

func lastDay() transport.Query {
	return transport.Query{
		Filter: transport.Filter{Topics: []transport.Topic{topic}},
		From:   time.Now().Add(-24 * time.Hour), To: time.Now().Add(time.Minute), Limit: 5,
	}
}

// ask asks until somebody can be asked.
func (n *node) ask(t *testing.T, q transport.Query) (transport.Page, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		page, err := n.Query(ctx, q)
		if e := transport.ErrorOf(err); e == nil || e.Code != transport.CodeUnavailable || !strings.Contains(e.Reason, "no peer") {
			return page, err
		}
		select {
		case <-ctx.Done():
			t.Fatal("nobody could be asked")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// old is an envelope that gossip would not carry any more.
func old(text string, ago time.Duration) transport.Envelope {
	e := envelope(0, topic, text)
	e.Sent = e.Sent.UTC().Truncate(time.Second).Add(-ago)
	return e
}

func TestArchiveOfAPeerIsAskedPageByPage(t *testing.T) {
	newer, older := old("newer", time.Hour), old("older", 2*time.Hour)
	s := &shelf{page: transport.Page{Envelopes: []transport.Envelope{newer, older}, Cursor: []byte("next")}}
	server := start(t, nil)
	server.archives(t, s.archive)
	asker := start(t, settings{"peers": server.Addrs()})
	q := lastDay()
	page, err := asker.ask(t, q)
	if err != nil {
		t.Fatal(err)
	}
	want := []transport.Envelope{older, newer}
	if !reflect.DeepEqual(page.Envelopes, want) {
		t.Errorf("got %+v, want %+v", page.Envelopes, want)
	}
	head := tagOf(server.host.ID())
	if !bytes.Equal(page.Cursor, append(head[:], "next"...)) {
		t.Errorf("got cursor %q", page.Cursor)
	}
	q.Cursor = page.Cursor
	s.mu.Lock()
	s.page = transport.Page{}
	s.mu.Unlock()
	if page, err := asker.ask(t, q); err != nil || len(page.Envelopes) != 0 || page.Cursor != nil {
		t.Errorf("got %+v, %v, want the end", page, err)
	}
	asked := s.asks()
	if len(asked) != 2 || string(asked[1].Cursor) != "next" || asked[0].Cursor != nil {
		t.Fatalf("asked %+v", asked)
	}
	a := asked[0]
	if a.Peer != asker.ID() || a.Address != netip.MustParseAddr("127.0.0.1") || a.Limit != 5 || !reflect.DeepEqual(a.Filter, q.Filter) {
		t.Errorf("asked %+v", a)
	}
	if a.From.Sub(q.From) >= time.Second || a.From.Before(q.From) || a.To.Sub(q.To) >= time.Second {
		t.Errorf("asked from %v to %v, want from %v to %v to the second", a.From, a.To, q.From, q.To)
	}
	if c := asker.counts(t); c["stores_asked_total"] != 2 || c["stores_fetched_total"] != 2 || c["stores_failed_total"] != 0 {
		t.Errorf("counted %v", c)
	}
}

func TestNodeWithoutAnArchiveIsNotAsked(t *testing.T) {
	other := start(t, nil)
	asker := start(t, settings{"peers": other.Addrs()})
	asker.awaitCount(t, "connections", 1)
	if _, err := asker.Query(t.Context(), lastDay()); !errors.Is(err, transport.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	s := new(shelf)
	stop := other.archives(t, s.archive)
	if _, err := asker.ask(t, lastDay()); err != nil {
		t.Errorf("after it got one: %v", err)
	}
	stop()
	if _, err := asker.Query(t.Context(), lastDay()); !errors.Is(err, transport.ErrUnavailable) {
		t.Errorf("after it ended: %v", err)
	}
	if n := len(s.asks()); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestRefusalOfTheArchiveReachesTheAsker(t *testing.T) {
	s := new(shelf)
	server := start(t, nil)
	server.archives(t, s.archive)
	asker := start(t, settings{"peers": server.Addrs()})
	for _, c := range []struct {
		err  error
		code transport.Code
		text string
	}{
		{transport.ErrBusy, transport.CodeBusy, ""},
		{&transport.Error{Code: transport.CodeUnavailable, Reason: "ask less\x1b"}, transport.CodeInvalid, "ask less"},
	} {
		s.mu.Lock()
		s.err = c.err
		s.mu.Unlock()
		_, err := asker.ask(t, lastDay())
		if e := transport.ErrorOf(err); e == nil || e.Code != c.code || !strings.Contains(e.Reason, c.text) || strings.Contains(e.Reason, "\x1b") {
			t.Errorf("%v: got %v, want %v", c.err, err, c.code)
		}
	}
	if _, err := asker.Query(t.Context(), transport.Query{Cursor: []byte("short"), Limit: 1}); !errors.Is(err, &transport.Error{Code: transport.CodeInvalid}) {
		t.Errorf("a cursor of another: %v", err)
	}
}

// storing is a stranger that answers as it likes.
func storing(t *testing.T, answer func(network.Stream)) string {
	t.Helper()
	s := newStranger(t)
	s.SetStreamHandler(storeProtocol, answer)
	full, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: s.ID(), Addrs: s.Addrs()})
	if err != nil {
		t.Fatal(err)
	}
	return full[0].String()
}

func TestHostileArchivesAreBreachesAndTheNextPeerIsAsked(t *testing.T) {
	writing := func(f func(*bufio.Writer)) func(network.Stream) {
		return func(s network.Stream) {
			w := bufio.NewWriter(s)
			f(w)
			_ = w.Flush() // the other may have had enough
			_ = s.CloseWrite()
		}
	}
	frames := func(all ...[]byte) func(network.Stream) {
		return writing(func(w *bufio.Writer) {
			for _, f := range all {
				_ = writeFrame(w, f)
			}
		})
	}
	good := plain{}.encode(old("good", time.Hour))
	foreign := old("foreign", time.Hour)
	foreign.Topic[0]++
	for what, answer := range map[string]func(network.Stream){
		"terabyte of status":   writing(func(w *bufio.Writer) { _, _ = w.Write(claim) }),
		"terabyte of envelope": writing(func(w *bufio.Writer) { _ = writeFrame(w, []byte{0}); _, _ = w.Write(claim) }),
		"terabyte of cursor":   writing(func(w *bufio.Writer) { _ = writeFrame(w, []byte{0}); _ = writeFrame(w, nil); _, _ = w.Write(claim) }),
		"no status":            frames(nil),
		"unknown status":       frames([]byte{9}),
		"endless envelopes": writing(func(w *bufio.Writer) {
			_ = writeFrame(w, []byte{0})
			for range 100_000 {
				if writeFrame(w, good) != nil {
					return
				}
			}
		}),
		"large page":       frames([]byte{0}, plain{}.encode(old(strings.Repeat("a", 1<<20-1), time.Hour)), plain{}.encode(old(strings.Repeat("b", 1<<20), time.Hour)), plain{}.encode(old("c", time.Hour)), nil, nil),
		"not an envelope":  frames([]byte{0}, []byte("not an envelope at all"), nil, nil),
		"foreign topic":    frames([]byte{0}, plain{}.encode(foreign), nil, nil),
		"too old":          frames([]byte{0}, plain{}.encode(old("x", 25*time.Hour)), nil, nil),
		"more than a page": frames([]byte{0}, good, nil, nil, good),
	} {
		t.Run(what, func(t *testing.T) {
			s := &shelf{page: transport.Page{Envelopes: []transport.Envelope{old("honest", time.Hour)}}}
			honest := start(t, nil)
			honest.archives(t, s.archive)
			a := start(t, settings{"peers": []string{storing(t, answer)}}) // asked first
			a.awaitCount(t, "connections", 1)
			b := infos(honest.Addrs())[0]
			if err := a.host.Connect(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			deadline := time.Now().Add(patience)
			for { // until both have said what they speak
				if len(a.storePeers(nil)) == 2 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("the peers do not speak")
				}
				<-time.After(time.Millisecond)
			}
			page, err := a.Query(t.Context(), lastDay())
			if err != nil || len(page.Envelopes) != 1 || string(page.Envelopes[0].Data) != "honest" {
				t.Errorf("got %+v, %v, want what the honest one has", page, err)
			}
			if c := a.counts(t); c["breaches_total"] != 1 || c["stores_asked_total"] != 2 {
				t.Errorf("%v breaches, %v asked", c["breaches_total"], c["stores_asked_total"])
			}
			if _, err := a.Query(t.Context(), lastDay()); err != nil {
				t.Error(err)
			}
			if c := a.counts(t); c["stores_asked_total"] != 3 {
				t.Errorf("the hostile one was asked first again")
			}
		})
	}
}

func TestSilentArchiveIsGivenUp(t *testing.T) {
	a := start(t, settings{"peers": []string{storing(t, func(network.Stream) {})}})
	began := time.Now()
	_, err := a.ask(t, lastDay())
	if !errors.Is(err, transport.ErrUnavailable) || time.Since(began) > storeTimeout+patience/2 {
		t.Errorf("got %v after %v", err, time.Since(began))
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := a.Query(ctx, lastDay())
		ended <- err
	}()
	a.awaitCount(t, "stores_asked_total", 2)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled one: %v", err)
	}
}

func TestBadStoreRequestsAreBreaches(t *testing.T) {
	a := start(t, nil)
	s := new(shelf)
	a.archives(t, s.archive)
	x := newStranger(t)
	x.connect(t, a)
	good := storeAsk{a.scope, lastDay()}.encode()
	change := func(f func([]byte)) []byte {
		b := bytes.Clone(good)
		f(b)
		return b
	}
	for i, raw := range [][]byte{
		nil,
		good[:storeHead-1],
		append(bytes.Clone(good), 0),
		change(func(b []byte) { b[0] = 9 }),
		change(func(b []byte) { b[0] = kindAll }),
		change(func(b []byte) { b[9] = 0xff }),
		change(func(b []byte) { b[26] = 0 }),
		change(func(b []byte) { b[25] = 0xff }),
		change(func(b []byte) { b[27] = 0xff }),
		make([]byte, maxStoreAsk+1),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		stream, err := x.NewStream(ctx, a.host.ID(), storeProtocol)
		if err != nil {
			t.Fatal(err)
		}
		if err := send(stream, bufio.NewWriter(stream), raw); err != nil {
			t.Logf("request %d was cut off: %v", i, err)
		}
		a.awaitCount(t, "breaches_total", float64(i+1))
		if _, err := stream.Read(make([]byte, 1)); err == nil {
			t.Errorf("request %d was answered", i)
		}
		cancel()
	}
	if n := len(s.asks()); n != 0 {
		t.Errorf("the archive was asked %d times", n)
	}
}

func TestPeerThatAsksTooMuchIsRefusedAndOthersAreNot(t *testing.T) {
	s := new(shelf)
	server := start(t, nil)
	server.archives(t, s.archive)
	greedy := start(t, settings{"peers": server.Addrs()})
	if _, err := greedy.ask(t, lastDay()); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for range 2 * storesBurst {
		if _, err := greedy.Query(t.Context(), lastDay()); err != nil {
			refused++
		}
	}
	if n := len(s.asks()); refused == 0 || n > 2*storesBurst {
		t.Errorf("%d refused, %d asked", refused, n)
	}
	modest := start(t, settings{"peers": server.Addrs()})
	if _, err := modest.ask(t, lastDay()); err != nil {
		t.Errorf("another peer: %v", err)
	}
}

func TestPeerThatGoesIsNotSearchedFor(t *testing.T) {
	began, given := make(chan struct{}), make(chan struct{})
	server := start(t, nil)
	server.archives(t, func(ctx context.Context, _ transport.Ask) (transport.Page, error) {
		close(began)
		<-ctx.Done()
		close(given)
		return transport.Page{}, ctx.Err()
	})
	x := newStranger(t)
	x.connect(t, server)
	stream, err := x.NewStream(t.Context(), server.host.ID(), storeProtocol)
	if err != nil {
		t.Fatal(err)
	}
	if err := send(stream, bufio.NewWriter(stream), storeAsk{server.scope, lastDay()}.encode()); err != nil {
		t.Fatal(err)
	}
	<-began
	if err := stream.Reset(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-given:
	case <-time.After(archiveTimeout / 2):
		t.Error("the search goes on")
	}
}

func TestEnvelopesThatDoNotFitIntoTheWireFormAreLeftOut(t *testing.T) {
	long := old("long", time.Hour)
	long.TTL = 48 * time.Hour
	huge := old(strings.Repeat("x", transport.MaxEnvelope+1), time.Hour)
	s := &shelf{page: transport.Page{Envelopes: []transport.Envelope{huge, long, {Topic: topic, Sent: long.Sent, TTL: time.Minute}}}}
	server := start(t, nil)
	server.archives(t, s.archive)
	asker := start(t, settings{"peers": server.Addrs()})
	page, err := asker.ask(t, lastDay())
	long.TTL = maxTTL
	if err != nil || !reflect.DeepEqual(page.Envelopes, []transport.Envelope{long}) {
		t.Errorf("got %d envelopes, %v, want %+v", len(page.Envelopes), err, long)
	}
}

func TestWakuNodesExchangeHistoryToo(t *testing.T) {
	mode := settings{"waku": settings{"enabled": true}}
	e := old("over waku", 2*time.Hour)
	s := &shelf{page: transport.Page{Envelopes: []transport.Envelope{e}}}
	server := start(t, mode)
	server.archives(t, s.archive)
	asker := start(t, settings{"waku": settings{"enabled": true}, "peers": server.Addrs()})
	page, err := asker.ask(t, lastDay())
	if err != nil || len(page.Envelopes) != 1 || string(page.Envelopes[0].Data) != "over waku" || !page.Envelopes[0].Sent.Equal(e.Sent) {
		t.Errorf("got %+v, %v", page, err)
	}
}

// FuzzStoreAsk gives a server the bytes of a request.
func FuzzStoreAsk(f *testing.F) {
	q := lastDay()
	f.Add(storeAsk{query: q}.encode())
	q.Cursor, q.Filter = []byte("cursor"), transport.Filter{All: true}
	f.Add(storeAsk{query: q}.encode())
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := decodeStoreAsk(raw)
		if err != nil {
			if !errors.Is(err, errStore) {
				t.Fatalf("got %v", err)
			}
			return
		}
		if q := a.query; q.Limit < 1 || q.Limit > transport.MaxBatch || len(q.Cursor) > maxStoreCursor || len(q.Filter.Topics) > transport.MaxTopics ||
			q.To.Before(q.From) || q.Filter.All == (len(q.Filter.Topics) > 0) {
			t.Fatalf("passed on %+v", q)
		}
		if again := a.encode(); !bytes.Equal(again, raw) {
			t.Fatalf("%x became %x", raw, again)
		}
	})
}

// FuzzStorePage gives an asker the bytes of an answer.
func FuzzStorePage(f *testing.F) {
	q := transport.Query{Filter: transport.Filter{Topics: []transport.Topic{topic}}, From: time.Unix(1e9, 0), To: time.Unix(2e9, 0), Limit: 3}
	e := transport.Envelope{Topic: topic, Data: []byte("x"), Sent: time.Unix(15e8, 0).UTC(), TTL: time.Minute}
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	for _, frame := range [][]byte{{statusPage}, plain{}.encode(e), nil, []byte("cursor")} {
		if err := writeFrame(w, frame); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte{3, statusRefused, 'n', 'o'})
	f.Add(claim)
	f.Fuzz(func(t *testing.T, raw []byte) {
		page, err := readPage(bufio.NewReader(bytes.NewReader(raw)), plain{}, q)
		if err != nil {
			return
		}
		if len(page.Envelopes) > q.Limit || len(page.Cursor) > maxStoreCursor {
			t.Fatalf("passed on %d envelopes and a cursor of %d bytes", len(page.Envelopes), len(page.Cursor))
		}
		for _, e := range page.Envelopes {
			if e.Topic != topic || e.Sent.Before(q.From) || !e.Sent.Before(q.To) || len(e.Data) == 0 {
				t.Fatalf("passed on %+v", e)
			}
		}
		if !slices.IsSortedFunc(page.Envelopes, func(a, b transport.Envelope) int { return a.Sent.Compare(b.Sent) }) {
			t.Fatal(fmt.Sprint("out of order: ", page.Envelopes))
		}
	})
}
