package transport

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	pb "google.golang.org/protobuf/proto"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

// wantBreach fails unless err is a Breach of the rule.
func wantBreach(t *testing.T, err error, rule string) {
	t.Helper()
	if b := (*Breach)(nil); !errors.As(err, &b) || b.Rule != rule {
		t.Errorf("got %v, want a breach of %s", err, rule)
	}
}

func received(ws ...*transportpb.Envelope) *transportpb.PluginFrame {
	return &transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Received{Received: &transportpb.Batch{Envelopes: ws}}}
}

func good() *transportpb.Envelope {
	return &transportpb.Envelope{Topic: []byte("four"), Data: []byte("x"), Sent: 1_700_000_000, Ttl: 60}
}

func TestBreachOfThePipeEndsTheRemote(t *testing.T) {
	change := func(f func(*transportpb.Envelope)) *transportpb.PluginFrame {
		e := good()
		f(e)
		return received(e)
	}
	many := func(n int) (es []*transportpb.Envelope) {
		for range n {
			es = append(es, good())
		}
		return es
	}
	unknown := new(transportpb.PluginFrame)
	unknown.ProtoReflect().SetUnknown([]byte{0x7a, 0x00}) // field 15
	w := window(newFake().info.MaxData)
	overdraw := func() (fs []*transportpb.PluginFrame) {
		for sent := 0; sent < w; sent += MaxBatch {
			fs = append(fs, received(many(min(MaxBatch, w-sent))...))
		}
		return append(fs, received(good()))
	}
	result := &transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Results{Results: &transportpb.Results{
		Results: []*transportpb.Result{{Id: 77}},
	}}}
	for name, c := range map[string]struct {
		frames []*transportpb.PluginFrame
		rule   string
	}{
		"too large":       {[]*transportpb.PluginFrame{change(func(e *transportpb.Envelope) { e.Data = make([]byte, maxMessage) })}, RuleFrameSize},
		"empty envelopes": {[]*transportpb.PluginFrame{received(make([]*transportpb.Envelope, 100_000)...)}, RuleFrameMalformed},
		"unknown":         {[]*transportpb.PluginFrame{unknown}, RuleFrameUnknown},
		"nothing":         {[]*transportpb.PluginFrame{{}}, RuleFrameUnknown},
		"empty batch":     {[]*transportpb.PluginFrame{received()}, RuleBatchSize},
		"large batch":     {[]*transportpb.PluginFrame{received(many(MaxBatch + 1)...)}, RuleBatchSize},
		"overdrawn":       {overdraw(), RuleCreditOverdrawn},
		"short topic":     {[]*transportpb.PluginFrame{change(func(e *transportpb.Envelope) { e.Topic = e.Topic[:3] })}, RuleEnvelopeTopic},
		"long topic":      {[]*transportpb.PluginFrame{change(func(e *transportpb.Envelope) { e.Topic = make([]byte, 5) })}, RuleEnvelopeTopic},
		"no data":         {[]*transportpb.PluginFrame{change(func(e *transportpb.Envelope) { e.Data = nil })}, RuleEnvelopeData},
		"long data":       {[]*transportpb.PluginFrame{change(func(e *transportpb.Envelope) { e.Data = make([]byte, 64<<10+1) })}, RuleEnvelopeData},
		"unknown result":  {[]*transportpb.PluginFrame{result}, RuleResultUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			for i, e := range c.frames[0].GetReceived().GetEnvelopes() {
				if e == nil { // as nil cannot be sent
					c.frames[0].GetReceived().Envelopes[i] = new(transportpb.Envelope)
				}
			}
			r := against(t, &rogue{pipe: func(s transportpb.Transport_PipeServer) error {
				if _, err := s.Recv(); err != nil { // the credits
					return err
				}
				for _, f := range c.frames {
					if err := s.Send(f); err != nil {
						// The server's own limit would save the host.
						return status.Error(status.Code(err), "not sent")
					}
				}
				<-s.Context().Done()
				return nil
			}})
			ctx := context.Background()
			if _, err := r.Open(ctx, Options{}); err != nil {
				t.Fatal(err)
			}
			within(t, r.Broken(), "a breach")
			wantBreach(t, r.Err(), c.rule)
			_, err := r.Receive(ctx)
			wantBreach(t, err, c.rule)
			wantBreach(t, r.Publish(ctx, envelopes(1, 1, 1))[0], c.rule)
			wantBreach(t, r.Subscribe(ctx, Filter{}), c.rule)
		})
	}
}

func TestResultGivenTwiceIsABreach(t *testing.T) {
	r := against(t, &rogue{pipe: func(s transportpb.Transport_PipeServer) error {
		_ = s.Send(&transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Credit{Credit: &transportpb.Credit{Envelopes: 10}}})
		for {
			f, err := s.Recv()
			if err != nil {
				return nil
			}
			for _, e := range f.GetPublish().GetEnvelopes() {
				results := []*transportpb.Result{{Id: e.Id}, {Id: e.Id}}
				_ = s.Send(&transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Results{Results: &transportpb.Results{Results: results}}})
			}
		}
	}})
	if _, err := r.Open(context.Background(), Options{}); err != nil {
		t.Fatal(err)
	}
	r.Publish(context.Background(), envelopes(1, 1, 1))
	within(t, r.Broken(), "a breach")
	wantBreach(t, r.Err(), RuleResultUnknown)
}

func TestBytesThatAreNoFrameAreABreach(t *testing.T) {
	r := opened1(t)
	for _, data := range [][]byte{{0xff}, {0x0a, 0x05, 1}, {0x0a, 0x02, 0x0a, 0x05}, {0x0b}} {
		wantBreach(t, r.frame(data), RuleFrameMalformed)
	}
	wantBreach(t, r.frame(make([]byte, maxMessage+1)), RuleFrameSize)
}

func TestFloodOfEmptyWordsIsABreach(t *testing.T) {
	r := opened1(t)
	data, err := pb.Marshal(&transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Peers{Peers: &transportpb.PeerCount{Count: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 * maxIdle { // as many as one envelope each makes up for
		r.useful(1)
		if err := r.frame(data); err != nil {
			t.Fatal(err)
		}
	}
	for range 2*maxIdle + 2 {
		err = r.frame(data)
	}
	wantBreach(t, err, RuleFrameFlood)
}

// opened1 returns a Remote whose Pipe the test plays by calling frame.
func opened1(t testing.TB) *Remote {
	r := against(t, new(rogue))
	if _, err := r.Open(context.Background(), Options{}); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestInfoBeyondTheLimitsIsABreach(t *testing.T) {
	for name, change := range map[string]func(*transportpb.Info){
		"no name":         func(i *transportpb.Info) { i.Name = "" },
		"upper case":      func(i *transportpb.Info) { i.Name = "UDP" },
		"escape":          func(i *transportpb.Info) { i.Name = "a\x1b[2J" },
		"long name":       func(i *transportpb.Info) { i.Name = strings.Repeat("a", maxName+1) },
		"no data":         func(i *transportpb.Info) { i.MaxData = 0 },
		"too much data":   func(i *transportpb.Info) { i.MaxData = MaxEnvelope + 1 },
		"short ttl":       func(i *transportpb.Info) { i.MaxTtl = 9 },
		"sender":          func(i *transportpb.Info) { i.Sender = 4 },
		"receiver":        func(i *transportpb.Info) { i.Receiver = 1 << 31 },
		"ordering":        func(i *transportpb.Info) { i.Ordering = 2 },
		"storage":         func(i *transportpb.Info) { i.Storage = 3 },
		"privacy none":    func(i *transportpb.Info) { i.Privacy = []uint32{0} },
		"privacy unknown": func(i *transportpb.Info) { i.Privacy = []uint32{257} },
		"privacy twice":   func(i *transportpb.Info) { i.Privacy = []uint32{1, 1} },
		"privacy flood":   func(i *transportpb.Info) { i.Privacy = make([]uint32, 10_000) },
	} {
		t.Run(name, func(t *testing.T) {
			info := goodInfo()
			change(info)
			r := against(t, &rogue{info: info})
			_, err := r.Open(context.Background(), Options{})
			wantBreach(t, err, RuleInfoLimit)
			wantBreach(t, r.Err(), RuleInfoLimit)
		})
	}
}

func TestLateAnswerIsABreach(t *testing.T) {
	ctx := context.Background()
	short := func(time.Duration) time.Duration { return 20 * time.Millisecond }
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	slow := func() *fake {
		f := newFake()
		f.publish = func(context.Context, []Envelope) []error { <-hang; return nil }
		return f
	}

	r := open(t, slow(), Version2)
	r.timeout = short
	errs := r.Publish(ctx, envelopes(1, 2, 5))
	wantBreach(t, errs[1], RuleDeadlineMissed)
	wantBreach(t, r.Err(), RuleDeadlineMissed)

	// A host that waits less long still expects an answer in time.
	r = open(t, slow(), Version2)
	r.timeout = short
	hurried, cancel := context.WithTimeout(ctx, time.Millisecond*5)
	defer cancel()
	if errs := r.Publish(hurried, envelopes(1, 2, 5)); !errors.Is(errs[0], context.DeadlineExceeded) && !errors.Is(errs[0], ErrBusy) {
		t.Errorf("got %v", errs)
	}
	if err := r.Err(); err != nil {
		t.Errorf("the host's own deadline broke the plugin: %v", err)
	}

	g := &rogue{call: func() error { <-hang; return nil }}
	r = against(t, g)
	if _, err := r.Open(ctx, Options{}); err != nil {
		t.Fatal(err)
	}
	r.timeout = short
	wantBreach(t, r.Subscribe(ctx, Filter{}), RuleDeadlineMissed)
}

// Subscribe is what the test says.
func (g *rogue) Subscribe(context.Context, *transportpb.SubscribeRequest) (*transportpb.SubscribeReply, error) {
	if g.call != nil {
		if err := g.call(); err != nil {
			return nil, err
		}
	}
	return &transportpb.SubscribeReply{}, nil
}

func TestDebuggedPluginMayTakeItsTime(t *testing.T) {
	release := make(chan struct{})
	r := against(t, &rogue{call: func() error { <-release; return nil }})
	r.NoTimeouts = true
	r.timeout = func(time.Duration) time.Duration { return time.Nanosecond }
	if _, err := r.Open(context.Background(), Options{}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- r.Subscribe(context.Background(), Filter{}) }()
	close(release)
	if err := within(t, done, "Subscribe"); err != nil {
		t.Error(err)
	}
}

func TestFailedCallSaysWhatItMeans(t *testing.T) {
	for code, check := range map[codes.Code]func(error) bool{
		codes.Unknown:           func(err error) bool { return ErrorOf(err).Code == CodeInternal },
		codes.Unimplemented:     func(err error) bool { b := new(Breach); return errors.As(err, &b) && b.Rule == RuleCallMissing },
		codes.ResourceExhausted: func(err error) bool { b := new(Breach); return errors.As(err, &b) && b.Rule == RuleFrameSize },
		codes.Unavailable:       func(err error) bool { return errors.Is(err, ErrUnavailable) },
	} {
		r := against(t, &rogue{call: func() error { return status.Error(code, "an exception\x1b["+strings.Repeat("x", 1000)) }})
		if _, err := r.Open(context.Background(), Options{}); err != nil {
			t.Fatal(err)
		}
		err := r.Subscribe(context.Background(), Filter{})
		if !check(err) || strings.Contains(err.Error(), "\x1b") || len(err.Error()) > 2*MaxText {
			t.Errorf("%v became %v", code, err)
		}
	}
}

func TestWhatIsHarmlessIsDroppedAndCounted(t *testing.T) {
	r := opened1(t)
	frame := func(f *transportpb.PluginFrame) {
		t.Helper()
		data, err := pb.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.frame(data); err != nil {
			t.Fatal(err)
		}
	}
	bad := func(change func(*transportpb.Envelope)) *transportpb.Envelope {
		e := good()
		change(e)
		return e
	}
	r.mu.Lock()
	r.held = 100
	r.taken.add(5)
	r.mu.Unlock()
	frame(received(
		bad(func(e *transportpb.Envelope) { e.Sent = -1 }),
		bad(func(e *transportpb.Envelope) { e.Sent = math.MaxInt64 }),
		bad(func(e *transportpb.Envelope) { e.Ttl = 0 }),
		bad(func(e *transportpb.Envelope) { e.Ttl = 3601 }),
		bad(func(e *transportpb.Envelope) { e.Id, e.Privacy = 9, 200 }),
	))
	frame(&transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Receipts{Receipts: &transportpb.Receipts{Receipts: []*transportpb.Receipt{
		{Id: 5, Outcome: 3, Reason: "\x1b" + strings.Repeat("r", 1000)}, {Id: 5, Outcome: 1}, {Id: 6, Outcome: 1}, {Id: 5, Outcome: 4},
	}}}})
	for range 5 {
		frame(&transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Credit{Credit: &transportpb.Credit{Envelopes: math.MaxUint32}}})
	}
	frame(&transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Peers{Peers: &transportpb.PeerCount{Count: 7}}})
	frame(&transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Peers{Peers: &transportpb.PeerCount{Count: math.MaxUint32}}})

	report, err := r.Receive(context.Background())
	if err != nil || len(report.Envelopes) != 1 || report.Envelopes[0].ID != 0 || report.Envelopes[0].Privacy != 0 ||
		len(report.Receipts) != 1 || len(report.Receipts[0].Reason) > MaxText || *report.Peers != maxPeerCount {
		t.Errorf("got %+v, %v", report, err)
	}
	want := Counts{Time: 2, TTL: 2, Receipts: 3, Peers: 1, Texts: 1, Credits: 5*math.MaxUint32 - maxCredits}
	if got := r.Counts(); got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}
