package memory_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stratanode/strata/plugins/memory"
	"github.com/stratanode/strata/plugins/transport"
)

func query(t *testing.T, n transport.Transport, cursor []byte) (transport.Page, error) {
	t.Helper()
	return n.(transport.Querier).Query(t.Context(), transport.Query{
		Filter: transport.Filter{All: true}, From: time.Unix(0, 0), To: time.Now().Add(time.Minute), Limit: 2, Cursor: cursor,
	})
}

func TestQueryIsAnsweredByTheNodeThatServes(t *testing.T) {
	var net memory.Network
	asks, first, second := open(t, &net), open(t, &net), open(t, &net)
	if _, err := query(t, asks, nil); !errors.Is(err, transport.ErrUnavailable) {
		t.Errorf("nobody serves: %v", err)
	}
	newer, older := envelope(1), envelope(2)
	older.Sent = older.Sent.Add(-time.Hour)
	asked := make(chan transport.Ask, 10)
	serve := func(n transport.Transport, page transport.Page) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = n.(transport.Server).Serve(ctx, func(_ context.Context, a transport.Ask) (transport.Page, error) {
				asked <- a
				return page, nil
			})
		}()
		return func() { cancel(); <-ended }
	}
	defer serve(second, transport.Page{Envelopes: []transport.Envelope{newer, older}, Cursor: []byte("next")})()
	var page transport.Page
	deadline := time.Now().Add(10 * time.Second)
	for {
		var err error
		if page, err = query(t, asks, nil); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if a := <-asked; a.Peer != "1" || len(a.Cursor) != 0 || a.Limit != 2 {
		t.Errorf("asked %+v", a)
	}
	if !slices.EqualFunc(page.Envelopes, []transport.Envelope{older, newer}, func(a, b transport.Envelope) bool { return a.ID == b.ID }) {
		t.Errorf("got %+v, want the older one first", page.Envelopes)
	}
	defer serve(first, transport.Page{})()
	if _, err := query(t, asks, page.Cursor); err != nil {
		t.Fatal(err)
	}
	if a := <-asked; string(a.Cursor) != "next" {
		t.Errorf("the second page was asked for with cursor %q", a.Cursor)
	}
	if _, err := query(t, asks, []byte("short")); !errors.Is(err, &transport.Error{Code: transport.CodeInvalid}) {
		t.Errorf("a cursor of another: %v", err)
	}
}
