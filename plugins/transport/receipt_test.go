package transport

import (
	"context"
	"runtime"
	"testing"
	"time"
)

func TestReceiptMayOvertakeTheResult(t *testing.T) {
	f := newFake()
	heard := make(chan struct{})
	f.publish = func(_ context.Context, batch []Envelope) []error {
		f.reports <- Report{Receipts: []Receipt{{batch[0].ID, OutcomeRelayed, ""}, {batch[0].ID, OutcomeRelayed, ""}}}
		<-heard // the receipt is there, and Publish has not returned
		return nil
	}
	r := open(t, f, Version2)
	published := make(chan []error)
	go func() { published <- r.Publish(context.Background(), envelopes(7, 1, 5)) }()
	report, err := r.Receive(context.Background())
	if err != nil || len(report.Receipts) != 1 || report.Receipts[0] != (Receipt{7, OutcomeRelayed, ""}) {
		t.Errorf("got %+v, %v, want the receipt once", report, err)
	}
	close(heard)
	if errs := <-published; errs != nil {
		t.Error(errs)
	}
	f.publish = nil
	f.reports <- Report{Receipts: []Receipt{{7, OutcomeRelayed, ""}}, Envelopes: envelopes(0, 1, 5)}
	if report, err := r.Receive(context.Background()); err != nil || len(report.Receipts) != 0 {
		t.Errorf("got %+v, %v, want no second receipt", report, err)
	}
	// They are in a frame of their own, after the envelopes.
	for late := time.Now().Add(patience); r.Counts().Receipts < 2 && time.Now().Before(late); {
		runtime.Gosched()
	}
	if c := r.Counts(); c.Receipts != 2 {
		t.Errorf("counted %d receipts that nobody waits for, want 2", c.Receipts)
	}
}
