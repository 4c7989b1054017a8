package transport

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pb "google.golang.org/protobuf/proto"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

// front is a fake that serves; the test asks through what it is given.
type front struct {
	*fake
	archives chan Archive
	end      chan error // ends Serve
}

func newFront() *front {
	return &front{newFake(), make(chan Archive, 10), make(chan error)}
}

func (f *front) Serve(ctx context.Context, a Archive) error {
	f.archives <- a
	select {
	case err := <-f.end:
		return err
	case <-f.down:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fronted serves archive to a front behind gRPC and returns what the front asks
// through, and what Serve returns.
func fronted(t *testing.T, ctx context.Context, f *front, archive Archive) (*Remote, Archive, <-chan error) {
	t.Helper()
	r := open(t, f, Version2)
	ended := make(chan error, 1)
	go func() { ended <- r.Serve(ctx, archive) }()
	return r, within(t, f.archives, "Serve"), ended
}

func anAsk() Ask {
	return Ask{
		Query: Query{
			Filter: Filter{Topics: []Topic{{1, 2, 3, 4}}}, From: time.Unix(5, 0).UTC(), To: time.Unix(9, 0).UTC(),
			Limit: 7, Cursor: []byte("at"),
		},
		Peer: "somebody", Address: netip.MustParseAddr("192.0.2.7"),
	}
}

func TestPeersAskTheArchiveThroughThePlugin(t *testing.T) {
	asked := make(chan Ask, 1)
	page := Page{Envelopes: envelopes(1, 3, 20), Cursor: []byte("next")}
	_, ask, _ := fronted(t, t.Context(), newFront(), func(_ context.Context, a Ask) (Page, error) {
		asked <- a
		return page, nil
	})
	got, err := ask(t.Context(), anAsk())
	if err != nil || !reflect.DeepEqual(got, page) {
		t.Errorf("the plugin got %+v, %v, want %+v", got, err, page)
	}
	if got, want := <-asked, anAsk(); !reflect.DeepEqual(got, want) {
		t.Errorf("the archive was asked %+v, want %+v", got, want)
	}
	page = Page{}
	if got, err := ask(t.Context(), anAsk()); err != nil || !reflect.DeepEqual(got, page) {
		t.Errorf("the plugin got %+v, %v, want an empty page", got, err)
	}
}

func TestErrorOfTheArchiveKeepsItsKind(t *testing.T) {
	var answer error
	_, ask, _ := fronted(t, t.Context(), newFront(), func(context.Context, Ask) (Page, error) { return Page{}, answer })
	for _, code := range []Code{CodeInvalid, CodeBusy, CodeUnavailable} {
		answer = &Error{code, "the field", "the reason"}
		if _, err := ask(t.Context(), anAsk()); !reflect.DeepEqual(err, answer) {
			t.Errorf("got %v, want %v", err, answer)
		}
	}
	long := anAsk()
	long.Limit = MaxBatch + 1
	if _, err := ask(t.Context(), long); !errors.Is(err, &Error{Code: CodeInvalid}) {
		t.Errorf("a page too long: %v", err)
	}
}

func TestPageTooLongForAFrameIsShortened(t *testing.T) {
	var limits []int
	_, ask, _ := fronted(t, t.Context(), newFront(), func(_ context.Context, a Ask) (Page, error) {
		limits = append(limits, a.Limit)
		return Page{Envelopes: envelopes(1, a.Limit, 300<<10), Cursor: []byte("more")}, nil
	})
	page, err := ask(t.Context(), anAsk())
	if err != nil || len(page.Envelopes) != 3 || !reflect.DeepEqual(limits, []int{7, 3}) {
		t.Errorf("%d envelopes, %v, after limits %v, want 3 after 7 and 3", len(page.Envelopes), err, limits)
	}
}

func TestAsksBeyondTheMostAreBusyAndACancelledOneMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var under atomic.Int32
		f := newFront()
		_, ask, _ := fronted(t, t.Context(), f, func(ctx context.Context, _ Ask) (Page, error) {
			defer under.Add(-1)
			under.Add(1)
			<-ctx.Done()
			return Page{}, ctx.Err()
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, MaxAsks)
		for range MaxAsks {
			go func() {
				_, err := ask(ctx, anAsk())
				ended <- err
			}()
		}
		synctest.Wait()
		if n := under.Load(); n != MaxAsks {
			t.Errorf("%d are under way, want %d", n, MaxAsks)
		}
		if _, err := ask(t.Context(), anAsk()); !errors.Is(err, ErrBusy) {
			t.Errorf("one more: %v, want busy", err)
		}
		cancel()
		for range MaxAsks {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
		}
		synctest.Wait()
		if n := under.Load(); n != 0 {
			t.Errorf("%d are under way after the cancellation", n)
		}
		began := time.Now()
		if _, err := ask(t.Context(), anAsk()); err == nil || time.Since(began) != QueryTimeout {
			t.Errorf("an archive that does not answer: %v after %v, want an error after %v", err, time.Since(began), QueryTimeout)
		}
	})
}

func TestServingEndsWhenEitherSideHasHadEnough(t *testing.T) {
	empty := func(context.Context, Ask) (Page, error) { return Page{}, nil }
	f := newFront()
	ctx, cancel := context.WithCancel(t.Context())
	r, ask, ended := fronted(t, ctx, f, empty)
	cancel()
	if err := within(t, ended, "the end of Serve"); !errors.Is(err, context.Canceled) {
		t.Errorf("the host had enough: %v", err)
	}
	if _, err := ask(t.Context(), anAsk()); err == nil {
		t.Error("asked after the end")
	}
	again := make(chan error, 1)
	go func() { again <- r.Serve(t.Context(), empty) }()
	ask = within(t, f.archives, "Serve again")
	if _, err := ask(t.Context(), anAsk()); err != nil {
		t.Errorf("served again: %v", err)
	}
	f.end <- nil
	if err := within(t, again, "the end of Serve"); err != nil {
		t.Errorf("the plugin had enough: %v", err)
	}
	go func() { again <- r.Serve(t.Context(), empty) }()
	within(t, f.archives, "Serve again")
	f.end <- errors.New("no port")
	if err := within(t, again, "the end of Serve"); err == nil || !strings.Contains(err.Error(), "no port") {
		t.Errorf("the plugin failed: %v", err)
	}
	if err := r.Err(); err != nil {
		t.Errorf("the end of serving broke the plugin: %v", err)
	}
	go func() { again <- r.Serve(t.Context(), empty) }()
	within(t, f.archives, "Serve again")
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := within(t, again, "the end of Serve"); err == nil {
		t.Error("Serve outlived Close without an error")
	}
}

func TestPluginWithoutTheAbilityIsNotServed(t *testing.T) {
	for version, tr := range map[int]Transport{Version1: newFront(), Version2: newFake()} {
		r := open(t, tr, version)
		if r.Info().Abilities.Serve {
			t.Errorf("version %d: the ability is there", version)
		}
		if err := r.Serve(t.Context(), nil); !errors.Is(err, ErrUnsupported) || r.Err() != nil {
			t.Errorf("version %d: %v and %v", version, err, r.Err())
		}
	}
}

// asking is a plugin that keeps no rule in what it asks.
type asking struct {
	rogue
	serve func(transportpb.Transport_ServeServer) error
}

func (a *asking) Serve(s transportpb.Transport_ServeServer) error { return a.serve(s) }

func againstAsks(t *testing.T, serve func(transportpb.Transport_ServeServer) error) *Remote {
	t.Helper()
	a := &asking{serve: serve}
	a.info = goodInfo()
	a.info.CanServe = true
	r := NewRemote(dial(t, registering(a)), Version2)
	t.Cleanup(func() { _ = r.Close(context.Background()) })
	if _, err := r.Open(t.Context(), Options{}); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAskAgainstTheRulesIsABreach(t *testing.T) {
	good := func(id uint64) *transportpb.Ask { return &transportpb.Ask{Id: id, Query: toQuery(anAsk().Query)} }
	change := func(f func(*transportpb.QueryRequest)) []*transportpb.Ask {
		w := good(1)
		f(w.Query)
		return []*transportpb.Ask{w}
	}
	var many []*transportpb.Ask
	for id := range uint64(MaxAsks + 1) {
		many = append(many, good(id))
	}
	for name, asks := range map[string][]*transportpb.Ask{
		"too many":        many,
		"twice":           {good(1), good(1)},
		"no question":     {{Id: 1}},
		"no limit":        change(func(q *transportpb.QueryRequest) { q.Limit = 0 }),
		"large limit":     change(func(q *transportpb.QueryRequest) { q.Limit = MaxBatch + 1 }),
		"long cursor":     change(func(q *transportpb.QueryRequest) { q.Cursor = make([]byte, MaxText+1) }),
		"half a topic":    change(func(q *transportpb.QueryRequest) { q.Filter.Topics = make([]byte, 5) }),
		"too many topics": change(func(q *transportpb.QueryRequest) { q.Filter.Topics = make([]byte, 4*(MaxTopics+1)) }),
	} {
		t.Run(name, func(t *testing.T) {
			r := againstAsks(t, func(s transportpb.Transport_ServeServer) error {
				for _, w := range asks {
					if err := s.Send(w); err != nil {
						return err
					}
				}
				<-s.Context().Done()
				return nil
			})
			err := r.Serve(t.Context(), func(ctx context.Context, _ Ask) (Page, error) {
				<-ctx.Done()
				return Page{}, ctx.Err()
			})
			wantBreach(t, err, RuleAskLimit)
			wantBreach(t, r.Err(), RuleAskLimit)
		})
	}
}

func TestPluginThatAsksWithoutEndIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := againstAsks(t, func(s transportpb.Transport_ServeServer) error {
			for id := uint64(1); ; id++ {
				if err := s.Send(&transportpb.Ask{Id: id, Query: toQuery(anAsk().Query)}); err != nil {
					return err
				}
				if err := s.Send(&transportpb.Ask{Id: id, Cancel: true}); err != nil {
					return err
				}
				if _, err := s.Recv(); err != nil {
					return err
				}
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		calls := 0
		if err := r.Serve(ctx, func(ctx context.Context, _ Ask) (Page, error) {
			calls++
			return Page{}, ctx.Err()
		}); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if most := (asksBurst + 10*asksRate) / 2; calls < most/2 || calls > most+1 {
			t.Errorf("the archive was asked %d times in 10 s, want about %d", calls, most)
		}
	})
}

// FuzzAsk gives a Remote the bytes of an Ask: what the archive is asked is within
// the limits, and comes back the same.
func FuzzAsk(f *testing.F) {
	seed(f,
		&transportpb.Ask{Id: 1, Query: toQuery(anAsk().Query), Peer: "p", Address: []byte{1, 2, 3, 4}},
		&transportpb.Ask{Id: 1, Cancel: true},
		&transportpb.Ask{Query: &transportpb.QueryRequest{Limit: 1 << 31, From: -1 << 63, To: 1<<63 - 1}},
	)
	f.Fuzz(func(t *testing.T, data []byte) {
		w := new(transportpb.Ask)
		if pb.Unmarshal(data, w) != nil {
			return // gRPC refuses it
		}
		fromAddress(w.Address)
		q, err := fromQuery(w.Query)
		if err != nil {
			return
		}
		if q.Limit < 1 || q.Limit > MaxBatch || len(q.Cursor) > MaxText || len(q.Filter.Topics) > MaxTopics {
			t.Fatalf("passed on %+v", q)
		}
		if again, err := fromQuery(toQuery(q)); err != nil || again.Limit != q.Limit || !again.From.Equal(q.From) ||
			!again.To.Equal(q.To) || len(again.Filter.Topics) != len(q.Filter.Topics) || string(again.Cursor) != string(q.Cursor) {
			t.Fatalf("%+v became %+v, %v", q, again, err)
		}
	})
}
