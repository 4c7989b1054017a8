package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

func TestPackageImportsNothingElseOfStrata(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the import closure:\n%s", out)
	const module, own = "github.com/stratanode/strata", "github.com/stratanode/strata/plugins/transport"
	found := false
	for _, path := range strings.Fields(string(out)) {
		if path == own || strings.HasPrefix(path, own+"/") {
			found = true
		} else if path == module || strings.HasPrefix(path, module+"/") {
			t.Errorf("imports %s", path)
		}
	}
	if !found {
		t.Error("the closure does not contain the package itself")
	}
}

func TestEveryMethodReachesTheTransport(t *testing.T) {
	ctx := context.Background()
	f := &able{fake: newFake()}
	f.query = func(q Query) (Page, error) {
		if q.Limit != 7 || string(q.Cursor) != "at" || !q.From.Equal(time.Unix(5, 0)) || !q.To.Equal(time.Unix(9, 0)) {
			t.Errorf("got %+v", q)
		}
		return Page{Envelopes: envelopes(3, 2, 10), Cursor: []byte("next")}, nil
	}
	f.peers = []Peer{{"a", "127.0.0.1:1", true}, {"b", "", false}}
	f.stats = []Stat{{"sent_total", 12}, {"peers", 0.5}}
	r := remoteOf(t, f, Version2)

	info, err := r.Open(ctx, Options{Config: []byte(`{"a":1}`), Dir: "/the/folder"})
	want := f.info
	want.Abilities = Abilities{Query: true, Peers: true, Stats: true}
	if err != nil || !reflect.DeepEqual(info, want) {
		t.Fatalf("Open returned %+v, %v\nwant %+v", info, err, want)
	}
	if o := f.options; string(o.Config) != `{"a":1}` || o.Dir != "/the/folder" || o.Now == nil || o.Rand == nil || o.Log == nil {
		t.Errorf("the transport got %+v", o)
	}

	filter := Filter{Topics: []Topic{{1, 2, 3, 4}, {5, 6, 7, 8}}, All: true}
	if err := r.Subscribe(ctx, filter); err != nil {
		t.Error(err)
	}
	if got := within(t, f.filters, "Subscribe"); !reflect.DeepEqual(got, filter) {
		t.Errorf("got %v, want %v", got, filter)
	}

	sent := envelopes(1, 3, 100)
	sent[1].Privacy = PrivacyStem
	if errs := r.Publish(ctx, sent); errs != nil {
		t.Error(errs)
	}
	if got := within(t, f.batches, "Publish"); !reflect.DeepEqual(got, sent) {
		t.Errorf("got %v, want %v", got, sent)
	}

	peers := 3
	f.reports <- Report{
		Envelopes: envelopes(0, 1, 5), Peers: &peers,
		Receipts: []Receipt{{1, OutcomeRelayed, ""}, {2, OutcomeFailed, "no room"}},
	}
	var got Report
	for len(got.Envelopes) == 0 || len(got.Receipts) < 2 || got.Peers == nil {
		report, err := r.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		got.Envelopes = append(got.Envelopes, report.Envelopes...)
		got.Receipts = append(got.Receipts, report.Receipts...)
		if report.Peers != nil {
			got.Peers = report.Peers
		}
	}
	expected := Report{envelopes(0, 1, 5), []Receipt{{1, OutcomeRelayed, ""}, {2, OutcomeFailed, "no room"}}, &peers}
	if !reflect.DeepEqual(got, expected) {
		t.Errorf("got %+v, want %+v", got, expected)
	}

	page, err := r.Query(ctx, Query{Limit: 7, Cursor: []byte("at"), From: time.Unix(5, 0), To: time.Unix(9, 0)})
	stored := envelopes(3, 2, 10)
	stored[0].ID, stored[1].ID = 0, 0
	if err != nil || !reflect.DeepEqual(page, Page{stored, []byte("next")}) {
		t.Errorf("got %v, %v", page, err)
	}
	if got, err := r.Peers(ctx); err != nil || !reflect.DeepEqual(got, f.peers) {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := r.Stats(ctx); err != nil || !reflect.DeepEqual(got, f.stats) {
		t.Errorf("got %v, %v", got, err)
	}
	for range 2 {
		if err := r.Close(ctx); err != nil {
			t.Error(err)
		}
	}
	if f.closes != 1 {
		t.Errorf("closed %d times", f.closes)
	}
	if got := r.Counts(); got != (Counts{}) {
		t.Errorf("something was dropped: %+v", got)
	}
}

func TestErrorsKeepTheirKindOverTheWire(t *testing.T) {
	for code := CodeInternal; code <= CodeClosed; code++ {
		t.Run(code.String(), func(t *testing.T) {
			sent := &Error{code, "the field", "the reason"}
			f := newFake()
			f.publish = func(context.Context, []Envelope) []error { return []error{nil, fmt.Errorf("wrapped: %w", sent)} }
			errs := open(t, f, Version2).Publish(context.Background(), envelopes(1, 3, 10))
			if len(errs) != 3 || errs[0] != nil || errs[2] != nil {
				t.Fatalf("got %v", errs)
			}
			got := (*Error)(nil)
			if !errors.As(errs[1], &got) || *got != *sent || !errors.Is(errs[1], &Error{Code: code}) {
				t.Errorf("got %v, want %v", errs[1], sent)
			}
			f = newFake()
			f.openErr = sent
			r := remoteOf(t, f, Version2)
			if _, err := r.Open(context.Background(), Options{}); !errors.Is(err, &Error{Code: code}) || err.Error() != sent.Error() {
				t.Errorf("Open returned %v, want %v", err, sent)
			}
		})
	}
}

func TestPlainErrorIsInternalAndItsTextIsCleaned(t *testing.T) {
	f := newFake()
	text := "\x1b[31mred\x00\n" + strings.Repeat("é", 300)
	f.publish = func(context.Context, []Envelope) []error { return []error{errors.New(text)} }
	errs := open(t, f, Version2).Publish(context.Background(), envelopes(1, 1, 10))
	got := ErrorOf(errs[0])
	if got.Code != CodeInternal || len(got.Reason) > MaxText || strings.ContainsAny(got.Reason, "\x1b\x00\n") || !strings.HasPrefix(got.Reason, "\uFFFD[31mred") {
		t.Errorf("got %v %q", got.Code, got.Reason)
	}
}

func TestVersion1HasNoReceiptsPrivacyOrAbilities(t *testing.T) {
	ctx := context.Background()
	f := &able{fake: newFake()}
	r := open(t, f, Version1)
	if i := r.Info(); i.Receipts || i.Privacy != nil || i.Abilities != (Abilities{}) {
		t.Errorf("got %+v", i)
	}
	private := envelopes(1, 2, 10)
	private[1].Privacy = PrivacyStem
	if errs := r.Publish(ctx, private); len(errs) != 2 || errs[0] != nil || !errors.Is(errs[1], ErrUnsupported) {
		t.Errorf("got %v", errs)
	}
	within(t, f.batches, "Publish")
	f.reports <- Report{Receipts: []Receipt{{1, OutcomeRelayed, ""}}}
	f.reports <- Report{Envelopes: envelopes(0, 1, 5)}
	if report, err := r.Receive(ctx); err != nil || len(report.Receipts) != 0 || len(report.Envelopes) != 1 {
		t.Errorf("got %v, %v", report, err)
	}
	if _, err := r.Query(ctx, Query{Limit: 1}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("Query returned %v", err)
	}
	// A host that asks all the same is told that there is no such method.
	if _, err := r.client.Stats(ctx, &transportpb.StatsRequest{}); err == nil {
		t.Error("Stats was answered in version 1")
	}
}

func TestUndeclaredAbilityIsRefusedWithoutACall(t *testing.T) {
	ctx := context.Background()
	info := goodInfo()
	r := against(t, &rogue{info: info}) // a call would be a breach
	if _, err := r.Open(ctx, Options{}); err != nil {
		t.Fatal(err)
	}
	_, query := r.Query(ctx, Query{Limit: 1})
	_, peers := r.Peers(ctx)
	_, stats := r.Stats(ctx)
	for _, err := range []error{query, peers, stats} {
		if !errors.Is(err, ErrUnsupported) {
			t.Errorf("got %v", err)
		}
	}
	if err := r.Err(); err != nil {
		t.Error(err)
	}
}

func TestBatchesArriveInOrder(t *testing.T) {
	f := newFake()
	f.publish = func(_ context.Context, batch []Envelope) []error {
		if len(batch) < 1 || len(batch) > MaxBatch {
			t.Errorf("a batch of %d", len(batch))
		}
		f.reports <- Report{Envelopes: batch}
		return nil
	}
	r := open(t, f, Version2)
	const n, batch = 5000, 50
	var publisher sync.WaitGroup
	defer publisher.Wait()
	publisher.Go(func() {
		for id := 1; id <= n; id += batch {
			for i, err := range r.Publish(context.Background(), envelopes(id, batch, 20)) {
				if err != nil {
					t.Errorf("%d: %v", id+i, err)
				}
			}
		}
	})
	for next := 1; next <= n; {
		report, err := r.Receive(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range report.Envelopes {
			if want := envelopes(next, 1, 20)[0]; string(e.Data) != string(want.Data) {
				t.Fatalf("got %v at %d", e, next)
			}
			next++
		}
	}
}

func TestManyPublishersAtOnceGetTheirOwnResults(t *testing.T) {
	f := newFake()
	f.publish = func(_ context.Context, batch []Envelope) []error {
		errs := make([]error, len(batch))
		for i, e := range batch {
			if e.ID%2 == 0 {
				errs[i] = &Error{CodeBusy, "", fmt.Sprint(e.ID)}
			}
		}
		return errs
	}
	r := open(t, f, Version2)
	var wg sync.WaitGroup
	for p := range 8 {
		wg.Go(func() {
			for round := range 100 {
				first := p*1_000_000 + round*10
				errs := r.Publish(context.Background(), envelopes(first, 10, 30))
				for i := range 10 {
					id := first + i
					if want := id%2 == 0; want != (errs[i] != nil) || want && ErrorOf(errs[i]).Reason != fmt.Sprint(id) {
						t.Errorf("%d got %v", id, errs[i])
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestEndOfThePipeIsAnErrorOfEveryCall(t *testing.T) {
	ctx := context.Background()
	g := &rogue{pipe: func(s transportpb.Transport_PipeServer) error { _, _ = s.Recv(); return nil }}
	r := against(t, g)
	if _, err := r.Open(ctx, Options{}); err != nil {
		t.Fatal(err)
	}
	within(t, r.Broken(), "Broken")
	_, receive := r.Receive(ctx)
	for _, err := range append(r.Publish(ctx, envelopes(1, 2, 5)), r.Err(), receive, r.Subscribe(ctx, Filter{})) {
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "the plugin's pipe ended") {
			t.Errorf("got %v", err)
		}
	}
}

func TestBrokenTransportEndsThePipe(t *testing.T) {
	f := newFake()
	r := open(t, brokenReceive{f}, Version2)
	within(t, r.Broken(), "Broken")
	if err := r.Err(); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "unexpected EOF") {
		t.Errorf("got %v", err)
	}
	within(t, f.down, "Close")
}

type brokenReceive struct{ *fake }

func (brokenReceive) Receive(context.Context) (Report, error) {
	return Report{}, io.ErrUnexpectedEOF
}

func TestClosedRemoteSaysSo(t *testing.T) {
	ctx := context.Background()
	r := open(t, newFake(), Version2)
	received := make(chan error)
	go func() { _, err := r.Receive(ctx); received <- err }()
	if err := r.Close(ctx); err != nil {
		t.Error(err)
	}
	_, again := r.Open(ctx, Options{})
	for _, err := range []error{within(t, received, "Receive"), again, r.Subscribe(ctx, Filter{}), r.Publish(ctx, envelopes(1, 1, 1))[0]} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
}
