package transport

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

func TestHostThatDoesNotReceiveStopsThePlugin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		w := window(f.info.MaxData)
		for range cap(f.reports) {
			f.reports <- Report{Envelopes: envelopes(0, 1, 10)}
		}
		if w >= cap(f.reports) {
			t.Fatalf("the test needs more than %d reports", w)
		}
		r := open(t, f, Version2)
		synctest.Wait()
		if got := len(f.asked); got != w {
			t.Errorf("the plugin reported %d envelopes, had %d credits", got, w)
		}
		received := 0
		for received < cap(f.reports) {
			report, err := r.Receive(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			received += len(report.Envelopes)
			synctest.Wait()
			if taken := cap(f.reports) - len(f.reports); taken > received+w {
				t.Fatalf("the plugin reported %d, received are %d", taken, received)
			}
		}
	})
}

func TestPluginThatGivesNoCreditStopsTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		frames := make(chan *transportpb.HostFrame, 100)
		grant := make(chan uint32)
		r := against(t, &rogue{pipe: func(s transportpb.Transport_PipeServer) error {
			go func() {
				for {
					f, err := s.Recv()
					if err != nil {
						return
					}
					if f.GetPublish() != nil {
						frames <- f
					}
				}
			}()
			for {
				select {
				case n := <-grant:
					_ = s.Send(&transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Credit{Credit: &transportpb.Credit{Envelopes: n}}})
				case <-s.Context().Done():
					return nil
				}
			}
		}})
		if _, err := r.Open(context.Background(), Options{}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for i, err := range r.Publish(context.Background(), envelopes(1, 3, 5)) {
			if !errors.Is(err, ErrBusy) {
				t.Errorf("%d: got %v", i, err)
			}
		}
		if d := time.Since(began); d != CallTimeout {
			t.Errorf("gave up after %v", d)
		}
		if len(frames) != 0 {
			t.Errorf("the host sent %v without credits", <-frames)
		}

		// What had a credit is the plugin's to answer; what had none is not.
		result := make(chan []error)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		go func() { result <- r.Publish(ctx, envelopes(11, 3, 5)) }()
		grant <- 2
		errs := <-result
		if !errors.Is(errs[0], context.DeadlineExceeded) || !errors.Is(errs[1], context.DeadlineExceeded) || !errors.Is(errs[2], ErrBusy) {
			t.Errorf("got %v", errs)
		}
		if f := <-frames; len(f.GetPublish().GetEnvelopes()) != 2 || len(frames) != 0 {
			t.Errorf("got %v", f)
		}
		if err := r.Err(); err != nil {
			t.Errorf("broken for the host's own haste: %v", err)
		}
		<-r.Broken() // the two are never answered
		wantBreach(t, r.Err(), RuleDeadlineMissed)
	})
}

func TestEnvelopesThatWaitForResultsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := against(t, new(rogue))
		if _, err := r.Open(context.Background(), Options{}); err != nil {
			t.Fatal(err)
		}
		for i := range maxInFlight / MaxBatch {
			go r.Publish(context.Background(), envelopes(1+i*MaxBatch, MaxBatch, 1))
		}
		synctest.Wait()
		errs := r.Publish(context.Background(), envelopes(1_000_000, 1, 1))
		if len(errs) != 1 || !errors.Is(errs[0], ErrBusy) {
			t.Errorf("got %v", errs)
		}
	})
}

func TestReceiptsAndPeerCountsThatNobodyTakesAreBounded(t *testing.T) {
	r := opened1(t)
	for id := range uint64(maxTaken + 10) {
		r.taken.add(id)
	}
	for id := range uint64(maxTaken + 10) {
		r.confirmed([]*transportpb.Receipt{{Id: id, Outcome: 1}})
		r.counted(uint32(id))
	}
	if len(r.receipts) != maxReceipts || len(r.taken.has) != 0 || len(r.taken.ids) != maxTaken {
		t.Errorf("kept %d receipts, %d and %d ids", len(r.receipts), len(r.taken.has), len(r.taken.ids))
	}
	want := Counts{Receipts: 10, Late: maxTaken - maxReceipts}
	if got := r.Counts(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestWindowIsBoundedInBytes(t *testing.T) {
	for maxData, want := range map[int]int{1: 1024, 32 << 10: 1024, 64 << 10: 512, 1 << 20: 32} {
		if got := window(maxData); got != want || got < minWindow || got > maxWindow {
			t.Errorf("window(%d) is %d, want %d", maxData, got, want)
		}
	}
}
