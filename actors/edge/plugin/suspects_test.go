package plugin

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	slot "github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/plugins/transport"
)

// TestPoisonIsRefusedAndTheRestGetsThrough is about an envelope that kills the
// transport whenever it is offered.
func TestPoisonIsRefusedAndTheRestGetsThrough(t *testing.T) {
	const poison, n = 5, 20
	gate := make(chan struct{})
	synctest.Test(t, func(t *testing.T) {
		gate = make(chan struct{})
		r := newRig(t, func(f *fake) {
			f.pid, f.calls = 7, 2
			f.info.Receipts = false
			f.publish = func(_ context.Context, batch []transport.Envelope) []error {
				<-gate
				for _, e := range batch {
					if string(e.Data) == fmt.Sprintf("data %d", poison) {
						f.crash(errCrash)
						return slices.Repeat([]error{errCrash}, len(batch))
					}
				}
				return nil
			}
		}).begin()
		unanswered := map[int]bool{}
		for i := range n {
			unanswered[i] = true
			r.publish(i, time.Minute)
		}
		close(gate)
		lives := 1
		refused := ""
		for len(unanswered) > 0 && lives < 10 {
			time.Sleep(time.Second)
			synctest.Wait()
			for _, e := range r.sink.take() {
				switch e := e.(type) {
				case slot.Relayed:
					delete(unanswered, number(e.Ref))
				case slot.Refused:
					delete(unanswered, number(e.Ref))
					refused += fmt.Sprintf("%d: %s;", number(e.Ref), e.Reason)
				}
			}
			if len(r.sink.failures()) < lives {
				continue
			}
			lives++
			r.again()
			for i := range n {
				if unanswered[i] {
					r.publish(i, time.Minute)
				}
			}
		}
		if want := "5: fake-slot: the transport broke on it twice;"; refused != want {
			t.Errorf("refused %q, want %q", refused, want)
		}
		if lives != 3 || len(unanswered) != 0 {
			t.Errorf("%d lives, %d unanswered; want 3 and 0", lives, len(unanswered))
		}
		r.edge.Close()
	})
}

func number(ref [32]byte) (n int) {
	fmt.Sscanf(string(ref[:]), "ref %d", &n)
	return n
}

func TestSuspectIsAloneOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := func(f *fake) {
			f.calls = 4 // so that all are offered, however they are batched
			f.publish = func(ctx context.Context, _ []transport.Envelope) []error { return []error{hang(ctx)} }
		}
		r := newRig(t, set).begin()
		for i := range 4 {
			r.publish(i, time.Minute)
		}
		synctest.Wait()
		r.fake.crash(errCrash)
		synctest.Wait()
		under, most := 0, 0
		r.set = func(f *fake) {
			f.calls = 2
			f.info.Receipts = false
			f.publish = func(_ context.Context, batch []transport.Envelope) []error {
				f.mu.Lock()
				under++
				most = max(most, under)
				f.mu.Unlock()
				time.Sleep(time.Second)
				f.mu.Lock()
				under--
				f.mu.Unlock()
				return nil
			}
		}
		r.again()
		for i := range 5 { // the last is no suspect
			r.publish(i, time.Minute)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		var sizes []int
		for _, b := range r.fake.asked() {
			sizes = append(sizes, len(b))
		}
		if got := fmt.Sprint(sizes); got != "[1 1 1 1 1]" || most != 1 {
			t.Errorf("batches of %s, %d at a time", got, most)
		}
		r.edge.Close()
	})
}

func TestWhatIsCarriedWhenTheTransportBreaksIsSentAgain(t *testing.T) {
	run(t, nil, func(t *testing.T, r *rig) {
		for life := range maxCarried {
			r.publish(1, time.Minute)
			r.expect(accept(1))
			r.fake.crash(errCrash)
			r.failed("fake-slot: signal: killed")
			if n := len(r.fake.asked()); n != 1 {
				t.Errorf("life %d: offered %d times", life, n)
			}
			r.again()
			r.skip()
		}
		r.publish(1, time.Minute)
		r.expect(slot.Refused{Ref: ref(1), Reason: "fake-slot: the transport broke 5 times while it carried it"})
	})
}

func TestRecordsAreBounded(t *testing.T) {
	home := newRig(t, nil).home
	for i := range 3 * rememberedRecords {
		home.past.broke(ref(i))
		if i%3 == 0 {
			home.past.forget(ref(i))
		}
	}
	if n := len(home.past.byRef); n > rememberedRecords {
		t.Errorf("%d records, at most %d", n, rememberedRecords)
	}
	if got := home.past.of(ref(3*rememberedRecords - 1)).breaks; got != 1 {
		t.Errorf("the latest has %d breaks, want 1", got)
	}
}
