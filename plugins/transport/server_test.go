package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

// crude is a host written by hand that keeps no rule.
type crude struct {
	transportpb.TransportClient
	pipe transportpb.Transport_PipeClient
}

// served returns a crude host of an opened transport.
func served(t *testing.T, tr Transport) crude {
	t.Helper()
	r := remoteOf(t, tr, Version2) // for its connection
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	if reply, err := r.client.Open(ctx, &transportpb.OpenRequest{}); err != nil || reply.Error != nil {
		t.Fatal(reply, err)
	}
	pipe, err := r.client.Pipe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return crude{r.client, pipe}
}

func (c crude) publish(t *testing.T, ws ...*transportpb.Envelope) {
	t.Helper()
	frame := &transportpb.HostFrame{Frame: &transportpb.HostFrame_Publish{Publish: &transportpb.Batch{Envelopes: ws}}}
	if err := c.pipe.Send(frame); err != nil {
		t.Fatal(err)
	}
}

// until returns the next frame of the kind that is asked for.
func (c crude) until(t *testing.T, want func(*transportpb.PluginFrame) bool) *transportpb.PluginFrame {
	t.Helper()
	for {
		f, err := c.pipe.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if want(f) {
			return f
		}
	}
}

func isCredit(f *transportpb.PluginFrame) bool  { return f.GetCredit() != nil }
func isResults(f *transportpb.PluginFrame) bool { return f.GetResults() != nil }

func TestHostThatKeepsNoRuleEndsThePipe(t *testing.T) {
	many := func(n int) (es []*transportpb.Envelope) {
		for range n {
			es = append(es, good())
		}
		return es
	}
	for name, frames := range map[string][][]*transportpb.Envelope{
		"empty batch": {nil},
		"large batch": {many(MaxBatch + 1)},
		"overdrawn":   {many(MaxBatch), many(MaxBatch), many(1)},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			hang := make(chan struct{})
			defer close(hang)
			f.publish = func(context.Context, []Envelope) []error { <-hang; return nil }
			c := served(t, f)
			c.until(t, isCredit)
			for _, batch := range frames {
				c.publish(t, batch...)
			}
			for {
				if _, err := c.pipe.Recv(); err != nil {
					if status.Code(err) != codes.InvalidArgument {
						t.Errorf("got %v", err)
					}
					break
				}
			}
			within(t, f.down, "Close")
		})
	}
}

func TestTransportNeverSeesABadEnvelope(t *testing.T) {
	f := newFake()
	c := served(t, f)
	c.until(t, isCredit)
	bad := map[uint64]func(*transportpb.Envelope){
		1: func(e *transportpb.Envelope) { e.Topic = e.Topic[:3] },
		2: func(e *transportpb.Envelope) { e.Data = nil },
		3: func(e *transportpb.Envelope) { e.Data = make([]byte, f.info.MaxData+1) },
		4: func(e *transportpb.Envelope) { e.Ttl = 0 },
		5: func(e *transportpb.Envelope) { e.Ttl = 3601 },
		6: func(e *transportpb.Envelope) { e.Privacy = 2 },
		7: func(e *transportpb.Envelope) { e.Privacy = 257 },
	}
	codes := map[uint64]Code{3: CodeTooLarge, 6: CodeUnsupported, 7: CodeUnsupported}
	batch := []*transportpb.Envelope{good()}
	for id := uint64(1); id <= 7; id++ {
		e := good()
		e.Id = id
		bad[id](e)
		batch = append(batch, e)
	}
	c.publish(t, batch...)
	answered := 0
	for answered < len(batch) {
		for _, r := range c.until(t, isResults).GetResults().Results {
			answered++
			want := CodeInvalid
			if c, ok := codes[r.Id]; ok {
				want = c
			}
			if (r.Error == nil) != (r.Id == 0) || r.Error != nil && Code(r.Error.Code) != want {
				t.Errorf("%d got %v, want %v", r.Id, r.Error, want)
			}
		}
	}
	if got := within(t, f.batches, "Publish"); len(got) != 1 || got[0].ID != 0 || len(f.batches) != 0 {
		t.Errorf("the transport got %v", got)
	}
}

func TestPluginIsOpenedOnceAndPipedOnce(t *testing.T) {
	ctx := context.Background()
	f := newFake()
	r := remoteOf(t, f, Version2)
	if reply, err := r.client.Subscribe(ctx, &transportpb.SubscribeRequest{}); err != nil || Code(reply.Error.GetCode()) != CodeClosed {
		t.Errorf("Subscribe before Open: %v, %v", reply, err)
	}
	if _, err := r.Open(ctx, Options{}); err != nil {
		t.Fatal(err)
	}
	if reply, err := r.client.Open(ctx, &transportpb.OpenRequest{}); err != nil || reply.Error == nil {
		t.Errorf("a second Open: %v, %v", reply, err)
	}
	f.reports <- Report{Envelopes: envelopes(1, 1, 1)}
	if _, err := r.Receive(ctx); err != nil { // the Pipe runs
		t.Fatal(err)
	}
	second, err := r.client.Pipe(ctx)
	if err == nil {
		_, err = second.Recv()
	}
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a second Pipe: %v", err)
	}
	for _, topics := range [][]byte{make([]byte, 5), make([]byte, 4*(MaxTopics+1))} {
		if reply, err := r.client.Subscribe(ctx, &transportpb.SubscribeRequest{Topics: topics}); err != nil || Code(reply.Error.GetCode()) != CodeInvalid {
			t.Errorf("%d bytes of topics: %v, %v", len(topics), reply, err)
		}
	}
}

func TestTransportIsClosedOnceAlsoAfterAFailedOpen(t *testing.T) {
	ctx := context.Background()
	f := newFake()
	f.openErr = Invalid("port", "taken")
	r := remoteOf(t, f, Version2)
	if _, err := r.Open(ctx, Options{}); !errors.Is(err, &Error{Code: CodeInvalid}) || ErrorOf(err).Field != "port" {
		t.Errorf("got %v", err)
	}
	if err := r.Close(ctx); err != nil {
		t.Error(err)
	}
	if f.closes != 1 {
		t.Errorf("closed %d times", f.closes)
	}
}

func TestTransportThatDoesNotCloseIsNotWaitedFor(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	s := newServer(func() Transport { return stuck{newFake(), release} }, Version2)
	if _, err := s.Open(context.Background(), new(transportpb.OpenRequest)); err != nil {
		t.Fatal(err)
	}
	if err := s.close(time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

type stuck struct {
	*fake
	release chan struct{}
}

func (s stuck) Close(context.Context) error { <-s.release; return nil }

func TestPageThatIsTooLargeForAFrameIsAskedForAgain(t *testing.T) {
	f := &able{fake: newFake()}
	var limits []int
	f.info.MaxData = MaxEnvelope
	f.query = func(q Query) (Page, error) {
		limits = append(limits, q.Limit)
		return Page{Envelopes: envelopes(0, q.Limit, 300<<10)}, nil
	}
	page, err := open(t, f, Version2).Query(context.Background(), Query{Limit: 16})
	if want := []int{16, 8, 4, 2}; err != nil || len(page.Envelopes) != 2 || !reflect.DeepEqual(limits, want) {
		t.Errorf("got %d, %v after %v", len(page.Envelopes), err, limits)
	}
}

func TestLargestEnvelopePassesBothWays(t *testing.T) {
	f := newFake()
	f.info.MaxData = MaxEnvelope
	f.publish = func(_ context.Context, batch []Envelope) []error {
		f.reports <- Report{Envelopes: batch}
		return nil
	}
	r := open(t, f, Version2)
	sent := envelopes(1, 3, MaxEnvelope)
	if errs := r.Publish(context.Background(), sent); errs != nil {
		t.Fatal(errs)
	}
	for got := 0; got < len(sent); {
		report, err := r.Receive(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range report.Envelopes {
			if !bytes.Equal(e.Data, sent[got].Data) {
				t.Errorf("%d differs", got)
			}
			got++
		}
	}
}

func TestReportBeyondTheFrameBreaksTheTransport(t *testing.T) {
	for name, report := range map[string]Report{
		"data":  {Envelopes: envelopes(0, 1, MaxEnvelope+1)},
		"batch": {Envelopes: envelopes(0, MaxBatch+1, 1)},
	} {
		f := newFake()
		f.reports <- report
		r := open(t, f, Version2)
		within(t, r.Broken(), "the end of the Pipe")
		if !strings.Contains(r.Err().Error(), "Receive") {
			t.Errorf("%s: got %v", name, r.Err())
		}
	}
}

func TestOrphanNoticesThatItsParentHasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var parent atomic.Int32
		gone := orphaned(ctx, func() int { return int(parent.Load()) }, orphanInterval)
		<-time.After(time.Hour) // of fake time
		select {
		case <-gone:
			t.Fatal("the parent lives")
		default:
		}
		parent.Store(1)
		<-time.After(orphanInterval)
		synctest.Wait()
		select {
		case <-gone:
		default:
			t.Error("the parent is gone")
		}
	})
}

func TestLogLinesAreWhatAHostTakesApart(t *testing.T) {
	var out bytes.Buffer
	log := newLog(&out)
	log.Debug("one\ntwo", "level", "mine", "@message", "not mine", slog.Group("g", "@level", 1))
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || bytes.Count(out.Bytes(), []byte("\n")) != 1 {
		t.Fatal(err, out.String())
	}
	if at, _ := line["@timestamp"].(string); at == "" {
		t.Error("no time")
	} else if _, err := time.Parse(logTime, at); err != nil {
		t.Error(err)
	}
	delete(line, "@timestamp")
	want := map[string]any{
		"@level": "debug", "@message": "one\ntwo", "level": "mine", "message_": "not mine", "g": map[string]any{"@level": 1.0},
	}
	if !reflect.DeepEqual(line, want) {
		t.Errorf("got %v, want %v", line, want)
	}
	for level, name := range map[slog.Level]string{slog.LevelInfo: "info", slog.LevelWarn: "warn", slog.LevelError + 4: "error"} {
		out.Reset()
		log.Log(context.Background(), level, "x")
		if !strings.Contains(out.String(), `"@level":"`+name+`"`) {
			t.Errorf("got %s", out.String())
		}
	}
}
