package transport

import (
	"context"
	"errors"
	"testing"

	pb "google.golang.org/protobuf/proto"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

func seed(f *testing.F, ms ...pb.Message) {
	for _, m := range ms {
		data, err := pb.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
}

// FuzzPluginFrame gives a Remote the bytes of a plugin. Whatever they are, it
// neither panics nor holds more than its bounds, and what it passes on is good.
func FuzzPluginFrame(f *testing.F) {
	seed(f,
		received(good(), good()),
		&transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Results{Results: &transportpb.Results{Results: []*transportpb.Result{
			{Id: 1, Error: &transportpb.Error{Code: 99, Reason: "\x1b"}}, {Id: 2},
		}}}},
		&transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Receipts{Receipts: &transportpb.Receipts{Receipts: []*transportpb.Receipt{
			{Id: 3, Outcome: 3, Reason: "no"},
		}}}},
		&transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Peers{Peers: &transportpb.PeerCount{Count: 1 << 31}}},
		&transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Credit{Credit: &transportpb.Credit{Envelopes: 1 << 31}}},
	)
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewRemote(nil, Version2)
		defer r.cancel()
		r.info, r.state, r.held = newFake().info, opened, 300
		c := &call{size: 2, left: 2, done: make(chan struct{})}
		r.flight[1] = answer{call: c, index: 0, sent: true}
		r.flight[2] = answer{call: c, index: 1, sent: true}
		r.taken.add(3)
		for range 3 {
			if err := r.frame(data); err != nil {
				if b := (*Breach)(nil); !errors.As(err, &b) || len(b.Reason) > MaxText {
					t.Fatalf("got %v", err)
				}
				break
			}
		}
		if len(r.envelopes) > 300 || len(r.receipts) > maxReceipts || r.credits > maxCredits {
			t.Fatalf("holds %d envelopes, %d receipts, %d credits", len(r.envelopes), len(r.receipts), r.credits)
		}
		for {
			report, ok, err := r.next()
			if err != nil || !ok {
				break
			}
			for _, e := range report.Envelopes {
				if len(e.Data) < 1 || len(e.Data) > r.info.MaxData || e.TTL < 1 || e.TTL > r.info.MaxTTL || e.Sent.Unix() < 0 {
					t.Fatalf("passed on %v", e)
				}
			}
			for _, c := range report.Receipts {
				if c.ID != 3 || c.Outcome < OutcomeRelayed || c.Outcome > OutcomeFailed || c.Reason != Clean(c.Reason, MaxText) {
					t.Fatalf("passed on %v", c)
				}
			}
			if report.Peers != nil && (*report.Peers < 0 || *report.Peers > maxPeerCount) {
				t.Fatalf("passed on %d peers", *report.Peers)
			}
		}
	})
}

// FuzzHostFrame gives a plugin the bytes of a host: the author's Publish sees
// only what the contract promises.
func FuzzHostFrame(f *testing.F) {
	seed(f,
		&transportpb.HostFrame{Frame: &transportpb.HostFrame_Publish{Publish: &transportpb.Batch{Envelopes: []*transportpb.Envelope{good(), good()}}}},
		&transportpb.HostFrame{Frame: &transportpb.HostFrame_Credit{Credit: &transportpb.Credit{Envelopes: 1 << 31}}},
	)
	f.Fuzz(func(t *testing.T, data []byte) {
		frame := new(transportpb.HostFrame)
		if pb.Unmarshal(data, frame) != nil {
			return // gRPC refuses it
		}
		fake := newFake()
		p := newPipe(newServer(nil, Version2), fake, fake.info)
		p.held, p.grant = 300, 0
		if p.take(frame) != nil {
			return
		}
		n := len(frame.GetPublish().GetEnvelopes())
		for len(p.batches) > 0 {
			batch := <-p.batches
			n -= len(batch)
			for _, e := range batch {
				if len(e.Data) < 1 || len(e.Data) > fake.info.MaxData || e.TTL < 1 || e.TTL > fake.info.MaxTTL || !fake.info.offers(uint32(e.Privacy)) {
					t.Fatalf("the author sees %v", e)
				}
			}
		}
		if len(p.results) != n || p.grant != n {
			t.Fatalf("%d envelopes are left without an answer", n-len(p.results))
		}
	})
}

// FuzzInfo gives a Remote the bytes of an Info.
func FuzzInfo(f *testing.F) {
	seed(f, goodInfo(), new(transportpb.Info))
	f.Fuzz(func(t *testing.T, data []byte) {
		w := new(transportpb.Info)
		if pb.Unmarshal(data, w) != nil {
			return
		}
		for _, version := range []int{Version1, Version2} {
			r := NewRemote(nil, version)
			i, err := r.fromInfo(w)
			r.cancel()
			if err != nil {
				continue
			}
			if got := toInfo(i, version); got.Name != w.Name || got.MaxData != w.MaxData || got.MaxTtl != w.MaxTtl || len(got.Version) > MaxText {
				t.Fatalf("%v became %v", w, got)
			}
		}
	})
}

func TestFrameOfAClosedRemoteIsHarmless(t *testing.T) {
	r := opened1(t)
	if err := r.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	data, err := pb.Marshal(&transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Peers{Peers: &transportpb.PeerCount{Count: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.frame(data); err != nil {
		t.Error(err)
	}
	if _, err := r.Receive(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}
