package rpc

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	gethrpc "github.com/ethereum/go-ethereum/rpc"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/transport"
)

const transportSlot = actors.Slot[transport.Command, transport.Event]("transport")

var (
	pastTopic = transport.Topic{1, 2, 3, 4}
	pastHash  = transport.Hash{0xaa}
)

// carrier is a fake transport with an archive of two pages of two envelopes.
type carrier struct {
	out actors.Outlet[transport.Event]
}

func (c *carrier) Open() error {
	c.out.Send(transport.Ready{})
	return nil
}

func (c *carrier) Close() {}

func (c *carrier) FromAbove(m transport.Command) {
	switch m := m.(type) {
	case transport.Query:
		c.query(m)
	case transport.Describe:
		c.out.Send(transport.Described{Ref: m.Ref, State: transport.State{Pooled: 7, Servers: []string{"a"}}})
	case transport.Explain:
		facts := []transport.Fact{{At: t0, Deed: transport.Came, Peer: "p"}}
		if m.Hash != pastHash {
			facts = nil
		}
		c.out.Send(transport.Explained{Ref: m.Ref, Hash: m.Hash, Facts: facts})
	}
}

func (c *carrier) query(q transport.Query) {
	if !slices.Equal(q.Topics, []transport.Topic{pastTopic}) {
		c.out.Send(transport.Queried{Ref: q.Ref, End: transport.QueryNobody, Reason: "nobody is linked"})
		return
	}
	first := byte(1)
	var next []byte
	if len(q.Cursor) == 0 {
		next = []byte{0xcc}
	} else {
		first = 3
	}
	e := func(n byte) transport.Envelope {
		return transport.Envelope{Hash: transport.Hash{n}, Topic: pastTopic, Data: make([]byte, n), Sent: q.From}
	}
	c.out.Send(transport.History{Ref: q.Ref, Server: "s", Envelopes: []transport.Envelope{e(first)}})
	c.out.Send(transport.History{Envelopes: []transport.Envelope{e(99)}}) // somebody else's
	c.out.Send(transport.History{Ref: q.Ref, Server: "s", Envelopes: []transport.Envelope{e(first + 1)}})
	c.out.Send(transport.Queried{Ref: q.Ref, Server: "s", Count: 2, Cursor: next})
}

// shelf is a fake archive.
type shelf struct{}

func (shelf) Stats(context.Context) (any, error)  { return map[string]int{"envelopes": 4}, nil }
func (shelf) Verify(context.Context) (any, error) { return nil, errors.New("the disk is gone") }
func (shelf) Sync(_ context.Context, r Takeover) (any, error) {
	return map[string]any{"from": r.Server, "added": 5}, nil
}
func (shelf) Prune(context.Context, time.Time) (int, error) { return 3, nil }
func (shelf) Find(_ context.Context, h transport.Hash) (time.Time, bool, error) {
	return t0.Add(time.Second), h == pastHash, nil
}

// greeter is a service that needs no token.
type greeter struct{}

func (greeter) Hello() string { return "hello" }

func TestHistoryIsFetchedPageByPage(t *testing.T) {
	f := start(t, clientRole, DefaultConfig())
	c, err := Dial(t.Context(), f.IPCPath())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := Past{From: t0, Topics: []string{"0x01020304"}}
	var got []string
	for range 2 {
		page, err := c.Fetch(t.Context(), p)
		if err != nil || page.End != "done" || page.Count != 2 || page.Server != "s" {
			t.Fatalf("%+v, %v", page, err)
		}
		for _, e := range page.Envelopes {
			got = append(got, fmt.Sprint(e.Hash[:4], " ", e.Size, " ", e.Topic))
		}
		p.Cursor = page.Cursor
	}
	if want := []string{"0x01 1 0x01020304", "0x02 2 0x01020304", "0x03 3 0x01020304", "0x04 4 0x01020304"}; !slices.Equal(got, want) || p.Cursor != "" {
		t.Errorf("fetched %q, cursor %q, want %q", got, p.Cursor, want)
	}
	page, err := c.Fetch(t.Context(), Past{From: t0})
	if err != nil || page.End != transport.QueryNobody.String() || page.Reason != "nobody is linked" {
		t.Errorf("a failure: %+v, %v", page, err)
	}
	for _, bad := range []Past{
		{Limit: 1001}, {Limit: -1}, {Topics: []string{"0x0102"}}, {Topics: []string{"topic"}}, {Cursor: "xy"},
		{Cursor: strings.Repeat("00", transport.MaxCursor+1)}, {From: t0, To: t0.Add(-time.Second)},
	} {
		if _, err := c.Fetch(t.Context(), bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v, want it refused", bad, err)
		}
	}
}

func TestExplainAddsWhatTheArchiveKnows(t *testing.T) {
	f := start(t, clientRole, DefaultConfig())
	c, err := Dial(t.Context(), f.IPCPath())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	facts, err := c.Explain(t.Context(), pastHash.String())
	if err != nil || len(facts) != 2 || facts[0].Deed != transport.Came || facts[1].Deed != transport.Archived {
		t.Errorf("%+v, %v", facts, err)
	}
	if facts, err := c.Explain(t.Context(), transport.Hash{1}.String()); err != nil || len(facts) != 0 {
		t.Errorf("of a stranger: %+v, %v", facts, err)
	}
	if _, err := c.Explain(t.Context(), hex.EncodeToString([]byte{1, 2})); !errors.Is(err, ErrInvalid) {
		t.Errorf("a short hash: %v", err)
	}
	if s, err := c.Transport(t.Context()); err != nil || s.Pooled != 7 {
		t.Errorf("state %+v, %v", s, err)
	}
}

func TestArchiveIsReachedThroughTheAPI(t *testing.T) {
	f := start(t, relayRole, DefaultConfig())
	c, err := Dial(t.Context(), f.IPCPath())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if raw, err := c.MailStats(t.Context()); err != nil || string(raw) != `{"envelopes":4}` {
		t.Errorf("stats %s, %v", raw, err)
	}
	if n, err := c.MailPrune(t.Context(), t0); err != nil || n != 3 {
		t.Errorf("prune %d, %v", n, err)
	}
	if _, err := c.MailPrune(t.Context(), time.Now().Add(time.Hour)); !errors.Is(err, ErrInvalid) {
		t.Errorf("prune of the future: %v", err)
	}
	if _, err := c.MailVerify(t.Context()); err == nil || !strings.Contains(err.Error(), "the disk is gone") {
		t.Errorf("verify: %v", err)
	}
	if raw, err := c.MailSync(t.Context(), Takeover{Server: "s", From: t0}); err != nil || string(raw) != `{"added":5,"from":"s"}` {
		t.Errorf("sync %s, %v", raw, err)
	}
	for _, bad := range []Takeover{{From: t0}, {Server: "s", From: t0, To: t0.Add(-time.Second)}} {
		if _, err := c.MailSync(t.Context(), bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v, want it refused", bad, err)
		}
	}
}

func TestProgressIsToldToSubscribersAndInTheStatus(t *testing.T) {
	f := start(t, clientRole, DefaultConfig())
	c, err := Dial(t.Context(), f.IPCPath())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sub, err := c.Progress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.hearEnvelope(envelope.Progress{
		State: envelope.PartlyUp, From: t0, To: t0.Add(time.Hour), Server: "s", Pages: 2, Envelopes: 9, Opened: 5,
		Gaps: []envelope.Gap{{From: t0, To: t0, Server: "x", Missing: 3, Reason: "lacks them"}},
	})
	n, err := sub.Next(t.Context())
	if err != nil || n.History == nil || n.History.State != "partly caught up" || n.History.Opened != 5 || n.History.Gaps[0].Missing != 3 {
		t.Errorf("%+v, %v", n, err)
	}
	if s, err := c.Status(t.Context()); err != nil || s.History == nil || s.History.Envelopes != 9 || s.Process.Goroutines == 0 || s.Process.Memory == 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestOpenAddressServesNothingThatNeedsAToken(t *testing.T) {
	cfg := DefaultConfig()
	cfg.OpenHTTP, cfg.OpenWebSocket = "127.0.0.1:0", "127.0.0.1:0"
	f := start(t, clientRole, cfg)
	for _, url := range []string{"http://" + f.Address("open http"), "ws://" + f.Address("open websocket")} {
		c, err := gethrpc.DialContext(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		var hello string
		if err := c.CallContext(t.Context(), &hello, "greet_hello"); err != nil || hello != "hello" {
			t.Errorf("%s: %q, %v", url, hello, err)
		}
		for _, method := range []string{"strata_version", "strata_history", "strata_replaceLayer", "strata_mailStats"} {
			if err := c.CallContext(t.Context(), nil, method); err == nil || !strings.Contains(err.Error(), "does not exist") {
				t.Errorf("%s %s: %v", url, method, err)
			}
		}
		c.Close()
	}
	q, err := http.NewRequest(http.MethodPost, "http://"+f.Address("open http"), strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"greet_hello"}`))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Origin", "http://evil.example")
	a, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(q)
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	if a.StatusCode != http.StatusForbidden {
		t.Errorf("a page of another origin gets %d", a.StatusCode)
	}
	with := DefaultConfig()
	with.HTTP, with.OpenHTTP = "127.0.0.1:8545", "127.0.0.1:8545"
	if err := with.Validate(); err == nil || !strings.Contains(err.Error(), "served with a token already") {
		t.Errorf("one address for both: %v", err)
	}
}
