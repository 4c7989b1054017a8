package archive

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/layers/transport"
)

func TestAdmittedIsKeptOnceDurable(t *testing.T) {
	r := start(t, t.TempDir(), nil).ready(t)
	watches := await[transport.Watch](t, &r.near, 1)
	if w := watches[0]; !w.Keeps || !w.Serves {
		t.Errorf("near is watched with %+v", w)
	}
	if w := await[transport.Watch](t, &r.far, 1)[0]; w.Keeps || !w.Serves {
		t.Errorf("far is watched with %+v", w)
	}
	credits := actors.NewCredits(1)
	credit, err := credits.Take(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	e := sealed(1, topicN(1), 1)
	r.near.out.SendCredited(admitted(7, e), credit)
	if kept := await[transport.Kept](t, &r.near, 1); kept[0].Mark != 7 {
		t.Errorf("kept up to %d, want 7", kept[0].Mark)
	}
	until(t, "the credit is back", func() bool { return credits.TryTake(1) != nil })
	other := opened(t, DefaultConfig(), r.dir) // as the command line does
	if _, found, err := other.Find(t.Context(), e.Hash); !found || err != nil {
		t.Errorf("what is said to be kept is not there: %v", err)
	}
	r.near.out.Send(admitted(9, e))
	await[transport.Kept](t, &r.near, 2)
	s, err := r.archive.Stats(t.Context())
	if err != nil || s.Envelopes != 1 || s.Admitted != 2 || s.Kept != 1 || s.Duplicates != 1 {
		t.Errorf("stats %+v, %v", s, err)
	}
}

func TestAskedOfEitherSideIsAnsweredPageByPage(t *testing.T) {
	r := start(t, t.TempDir(), nil).ready(t)
	r.keep(t, topicN(1), 450)
	for _, side := range []*fake{&r.near, &r.far} {
		side.out.Send(asked(1, 440))
		var got []transport.Envelope
		for i, want := range []int{200, 200, 40} {
			p := await[transport.Page](t, side, i+1)
			if len(p) != i+1 || len(p[i].Envelopes) != want || p[i].Last != (i == 2) || p[i].Ask != 1 || p[i].Failure != "" {
				t.Fatalf("page %d of %d: %d envelopes, last %v, %q", i, len(p), len(p[i].Envelopes), p[i].Last, p[i].Failure)
			}
			got = append(got, p[i].Envelopes...)
			if i == 2 {
				cursor := p[i].Cursor
				next := asked(2, 1000)
				next.Cursor = cursor
				side.out.Send(next)
				last := await[transport.Page](t, side, 4)[3]
				if !last.Last || last.Cursor != nil || len(last.Envelopes) != 10 {
					t.Fatalf("the rest: %d envelopes, cursor %x", len(last.Envelopes), last.Cursor)
				}
				got = append(got, last.Envelopes...)
				break
			}
			side.out.Send(transport.Taken{Ask: 1})
		}
		for i, e := range got {
			if want := sealed(449-i, topicN(1), 449-i); e.Hash != want.Hash || !bytes.Equal(e.Raw, want.Raw) || !bytes.Equal(e.Data, want.Data) {
				t.Fatalf("envelope %d is another", i)
			}
		}
	}
}

func TestBloomAndTopicsAreAnswered(t *testing.T) {
	r := start(t, t.TempDir(), nil).ready(t)
	var all []transport.Envelope
	for i := range 50 {
		all = append(all, sealed(i, topicN(i%5), i))
	}
	r.near.out.Send(admitted(1, all...))
	await[transport.Kept](t, &r.near, 1)
	q := asked(1, 1000)
	q.Topics = []transport.Topic{topicN(1), topicN(2), topicN(77)}
	r.near.out.Send(q)
	if p := await[transport.Page](t, &r.near, 1)[0]; len(p.Envelopes) != 20 || !p.Last {
		t.Errorf("topics: %d envelopes, want 20", len(p.Envelopes))
	}
	q = asked(2, 1000)
	q.Bloom = new([64]byte)
	r.near.out.Send(q)
	if p := await[transport.Page](t, &r.near, 2)[1]; len(p.Envelopes) != 0 || !p.Last || p.Failure != "" {
		t.Errorf("a bloom of nothing: %+v", p)
	}
}

func TestWhatCannotBeAnsweredIsRefusedWithAReason(t *testing.T) {
	r := start(t, t.TempDir(), func(c *Config) { c.MaxWindow = time.Hour }).ready(t)
	inWindow := asked(0, 10)
	inWindow.To = t0.Add(time.Minute)
	for i, test := range []struct {
		change func(*transport.Asked)
		want   string
	}{
		{func(q *transport.Asked) { q.To = t0.Add(-time.Second) }, "query range is invalid: from 1577836800 is after to 1577836799"},
		{func(q *transport.Asked) { q.To = t0.Add(2 * time.Hour) }, "query range is longer than 1h0m0s"},
		{func(q *transport.Asked) { q.Limit = 0 }, "limit 0 is not within 1 and 1000"},
		{func(q *transport.Asked) { q.Limit = 1001 }, "limit 1001 is not within 1 and 1000"},
		{func(q *transport.Asked) { q.Cursor = make([]byte, 35) }, "cursor has 35 bytes, not 36"},
	} {
		q := inWindow
		q.Ask = uint64(i)
		test.change(&q)
		r.near.out.Send(q)
		if p := await[transport.Page](t, &r.near, i+1)[i]; p.Failure != test.want || !p.Last || p.Ask != uint64(i) {
			t.Errorf("%+v, want %q", p, test.want)
		}
	}
	if c := r.archive.Describe().Counts; c.Refused.Invalid != 5 {
		t.Errorf("counts %+v", c)
	}
}

func TestPeerThatAsksForTooMuchIsRefusedAndOthersAreNot(t *testing.T) {
	r := start(t, t.TempDir(), func(c *Config) { c.RowsPerSecond, c.BurstRows = 1, minBurst }).ready(t)
	r.keep(t, topicN(1), 300)
	ask, n := asked(0, 1000), 0
	answer := func(peer string, address string) string {
		q := ask
		q.Ask, q.Peer = uint64(n+1000), peer
		q.Topics = []transport.Topic{topicN(1)}
		q.Limit = 150
		if address != "" {
			q.Address = netip.MustParseAddr(address)
		}
		r.near.out.Send(q)
		n++
		return await[transport.Page](t, &r.near, n)[n-1].Failure
	}
	refused := 0
	for range 20 {
		if answer("greedy", "10.0.0.1") != "" {
			refused++
		}
	}
	if refused < 10 || refused > 17 {
		t.Errorf("%d of 20 were refused", refused)
	}
	for _, test := range []struct{ peer, address, want string }{
		{"another id", "10.0.0.99", failureRate}, // of the same range
		{"greedy", "10.0.1.1", failureRate},      // elsewhere
		{"honest", "10.0.1.1", ""},
		{"mapped", "::ffff:10.0.0.5", failureRate},
		{"unknown address", "", ""},
	} {
		if got := answer(test.peer, test.address); got != test.want {
			t.Errorf("%s at %s: %q, want %q", test.peer, test.address, got, test.want)
		}
	}
}

func TestRequestsUnderWayAreBounded(t *testing.T) {
	r := start(t, t.TempDir(), func(c *Config) { c.Waiting = 8 }).ready(t)
	r.keep(t, topicN(1), 250)
	for i := range 20 {
		q := asked(uint64(i), 1000)
		q.Peer = fmt.Sprint("peer ", i)
		r.near.out.Send(q)
	}
	pages := await[transport.Page](t, &r.near, 20) // 8 first pages that nobody takes, and refusals
	waiting := slices.DeleteFunc(pages, func(p transport.Page) bool { return p.Failure == failureRate })
	if len(waiting) != 8 {
		t.Fatalf("%d were answered, want 8", len(waiting))
	}
	// An abandoned one makes room, and is not answered any more.
	r.near.out.Send(transport.Abandoned{Ask: waiting[0].Ask})
	r.near.out.Send(transport.Taken{Ask: waiting[0].Ask})
	q := asked(100, 10)
	q.Peer = "late"
	r.near.out.Send(q)
	p := await[transport.Page](t, &r.near, 21)
	if p[20].Ask != 100 || p[20].Failure != "" {
		t.Errorf("after there was room: %+v", p[20])
	}
	r.archive.expire(r.archive.life, time.Now().Add(2*takenTimeout))
	p = await[transport.Page](t, &r.near, 28)
	for _, p := range p[21:] {
		if p.Failure != failureTimeout || !p.Last {
			t.Errorf("a page that is not taken ends as %q", p.Failure)
		}
	}
	if d := r.archive.Describe(); d.Requests != 0 || d.Counts.Refused.Busy != 12 || d.Counts.Refused.Untaken != 7 {
		t.Errorf("%+v", d)
	}
}

func TestDatabaseThatIsNotThereIsWaitedFor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // where a folder should be
		t.Fatal(err)
	}
	r := start(t, dir, nil)
	until(t, "it is reported", func() bool { return r.archive.Describe().Fault != "" })
	e := sealed(1, topicN(1), 1)
	r.near.out.Send(admitted(3, e))
	r.near.out.Send(asked(1, 10))
	if p := await[transport.Page](t, &r.near, 1)[0]; p.Failure != failureUnavailable {
		t.Errorf("asked meanwhile: %+v", p)
	}
	if _, err := r.archive.Stats(t.Context()); err == nil {
		t.Error("there are stats")
	}
	if r.archive.Describe().Counts.Kept != 0 {
		t.Error("something was kept")
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if kept := await[transport.Kept](t, &r.near, 1); kept[0].Mark != 3 {
		t.Errorf("kept up to %d", kept[0].Mark)
	}
	if d := r.archive.Describe(); d.Fault != "" || d.Counts.Kept != 1 {
		t.Errorf("%+v", d)
	}
}

func TestFullQueueLeavesEnvelopesToTheTransport(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, dir, func(c *Config) { c.QueueBytes = minQueueBytes })
	await[transport.Watch](t, &r.near, 1)
	big := sealedData(1, topicN(1), make([]byte, 400_000)) // counts twice: data and envelope
	r.near.out.Send(admitted(1, big))
	r.near.out.Send(admitted(2, sealedData(2, topicN(1), make([]byte, 400_000))))
	r.near.out.Send(admitted(3, sealed(3, topicN(1), 3))) // there would be room, but what was before it is lost
	until(t, "the queue is full", func() bool { return r.archive.Describe().Counts.Dropped == 2 })
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	await[transport.Watch](t, &r.near, 2) // asks for them again
	if kept := await[transport.Kept](t, &r.near, 1); len(kept) != 1 || kept[0].Mark != 1 {
		t.Errorf("kept: %+v, want mark 1 and nothing above", kept)
	}
	r.near.out.Send(admitted(5, sealed(3, topicN(1), 3)))
	await[transport.Kept](t, &r.near, 2)
}

func TestOldAndTooMuchIsRemoved(t *testing.T) {
	r := start(t, t.TempDir(), nil).ready(t)
	var list []transport.Envelope
	for i := range 2000 {
		list = append(list, sealedData(i, topicN(i), make([]byte, 1000)))
	}
	r.near.out.Send(admitted(1, list...))
	await[transport.Kept](t, &r.near, 1)
	a := r.archive
	cfg := DefaultConfig()
	cfg.MaxBytes = minQueueBytes
	strict := New(cfg, "", a.log)                                                       // does the same with another configuration
	if err := strict.retain(t.Context(), a.life.store, t0.Add(time.Hour)); err != nil { // nothing is old yet
		t.Fatal(err)
	}
	s, err := a.Stats(t.Context())
	if err != nil || s.Bytes > minQueueBytes || s.Envelopes < 300 || !s.Newest.Equal(t0.Add(1999*time.Second)) {
		t.Errorf("too much: %+v, %v", s.Contents, err)
	}
	if err := strict.retain(t.Context(), a.life.store, t0.Add(cfg.Retention+1900*time.Second)); err != nil {
		t.Fatal(err)
	}
	if s, err = a.Stats(t.Context()); err != nil || s.Envelopes != 100 || strict.counts.Pruned != 1900 {
		t.Errorf("too old: %+v, %v", s, err)
	}
	if v, err := a.Verify(t.Context(), func(int, int) {}); err != nil || !v.Clean() || v.Envelopes != 100 {
		t.Errorf("%+v, %v", v, err)
	}
	if n, err := a.Prune(t.Context(), t0.Add(1999*time.Second)); n != 99 || err != nil {
		t.Errorf("pruned %d, %v", n, err)
	}
}

func TestBrokenArchiveComesBack(t *testing.T) {
	r := start(t, t.TempDir(), nil).ready(t)
	r.keep(t, topicN(1), 5)
	if !r.stack.Drill(name) {
		t.Fatal("no archive in the stack")
	}
	await[transport.Watch](t, &r.near, 2)
	r.ready(t).near.out.Send(admitted(99, sealed(50, topicN(1), 50)))
	awaitThat(t, &r.near, func(list []transport.Kept) bool { return list[len(list)-1].Mark == 99 })
	if s, err := r.archive.Stats(t.Context()); err != nil || s.Envelopes != 6 || s.Kept != 6 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestMetricsAreThoseOfTheReport(t *testing.T) {
	r := start(t, t.TempDir(), nil).ready(t)
	r.keep(t, topicN(1), 3)
	got := metrics(t, r.archive)
	for key, want := range map[string]float64{
		"strata_archive_envelopes_total admitted": 3, "strata_archive_envelopes_total kept": 3,
		"strata_archive_requests_total asked": 0, "strata_archive_up": 1,
	} {
		if v, there := got[key]; !there || v != want {
			t.Errorf("%s is %v, want %v", key, v, want)
		}
	}
	if text := r.archive.Describe().String(); !strings.HasPrefix(text, "sqlite: ") {
		t.Errorf("described as %q", text)
	}
}

func TestSyncWorksUnderTheActors(t *testing.T) {
	now := time.Now()
	other := &elsewhere{list: spread(now.Add(-time.Hour), now, 600)}
	r := start(t, t.TempDir(), func(c *Config) { c.Sync = []string{enodeN(0)} })
	r.ready(t).near.mu.Lock()
	credits := actors.NewCredits(1)
	r.near.query = func(q transport.Query) {
		list, cursor := other.page(q)
		go func() {
			for part := range slices.Chunk(list, 50) {
				credit, err := credits.Take(t.Context(), 1) // of the part before
				if err != nil {
					return
				}
				r.near.out.SendCredited(transport.History{Ref: q.Ref, Envelopes: part}, credit)
			}
			r.near.out.Send(transport.Queried{Ref: q.Ref, Cursor: cursor})
		}()
	}
	r.near.mu.Unlock()
	r.near.out.Send(transport.Ready{}) // what was asked before is asked again
	until(t, "everything is here", func() bool { return r.archive.Describe().Counts.Sync.Added == 600 })
	until(t, "the server was asked for everything", func() bool { s := r.archive.Describe().Sources[0]; return !s.Running && s.Fault == "" })
	// It serves what it took over, and keeps what is admitted beside.
	r.near.out.Send(admitted(1, sealed(1, topicN(1), 9000)))
	if kept := await[transport.Kept](t, &r.near, 1); kept[0].Mark != 1 || len(kept) != 1 {
		t.Errorf("kept %+v", kept)
	}
	q := asked(1, 1000)
	q.From, q.To, q.Topics = now.Add(-2*time.Hour), now, []transport.Topic{topicN(17), topicN(18)}
	r.near.out.Send(q)
	if p := await[transport.Page](t, &r.near, 1)[0]; len(p.Envelopes) != 2 || !p.Last {
		t.Errorf("page %+v", p)
	}
}

// metrics returns the metrics of an archive by name and values of the labels.
func metrics(t *testing.T, a *Archive) map[string]float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(Collector(a)); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			key := f.GetName()
			for _, l := range m.Label {
				key += " " + l.GetValue()
			}
			got[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return got
}
