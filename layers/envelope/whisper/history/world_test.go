package history_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/envelope/whisper/history"
	"github.com/stratanode/strata/layers/layertest"
	"github.com/stratanode/strata/layers/transport"
)

var t0 = time.Date(2019, 8, 1, 12, 0, 0, 0, time.UTC)

func topic(i int) transport.Topic { return transport.TopicOf(fmt.Sprint("topic ", i)) }

func hash(i int) transport.Hash {
	return layers.Keccak256(binary.BigEndian.AppendUint64(nil, uint64(i)))
}

// temper is how a server behaves.
type temper int

const (
	oldestFirst temper = iota
	newestFirst
	disorderly // each page in any order, with repetitions and foreign topics
	halting    // every other query falls silent after half a page
	silent     // the transport says that it is
	dead       // and here it does not
	refusing
	unreachable
	repeating // the first page again and again, with ever new cursors
	hollow    // empty pages with ever new cursors
	wandering // ever new envelopes of another time and topic
	circling  // its cursor leads to itself
	verbose   // a cursor longer than there may be
)

// server is an archive.
type server struct {
	temper  temper
	stored  []transport.Envelope // by the time they came
	page    int                  // the most it gives at once
	lacks   func(transport.Hash) bool
	queries int
	flight  *transport.Query // on its way
}

// happening is something that will happen.
type happening struct {
	at time.Time
	do func()
}

// tb is what a test and a property have in common.
type tb interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// world is a driver, what is above and below it, and time.
type world struct {
	tb
	cfg     history.Config
	now     time.Time
	store   *layertest.Memory
	d       *history.Driver // nil: the node is down
	life    int
	alarm   time.Time
	coming  []happening
	names   []string // of the servers that can be asked
	servers map[string]*server
	random  *rand.Rand

	topics   []transport.Topic
	recent   *history.Recent
	opened   map[transport.Hash]int  // in this life
	kept     map[transport.Hash]bool // by the layers above, durably
	delay    time.Duration           // until they are
	progress []envelope.Progress     // of this life
	queries  []transport.Query       // of this life
	saved    int                     // bytes
}

func newWorld(t tb, change ...func(*history.Config)) *world {
	cfg := history.DefaultConfig()
	for _, c := range change {
		c(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return &world{tb: t, cfg: cfg, now: t0, store: layertest.NewMemory(), servers: map[string]*server{},
		kept: map[transport.Hash]bool{}, random: rand.New(rand.NewPCG(1, 2))}
}

func (w *world) add(name string, b temper) *server {
	s := &server{temper: b, page: transport.MaxPage}
	w.servers[name] = s
	w.names = append(w.names, name)
	return s
}

// archive puts an envelope into every server.
func (w *world) archive(e transport.Envelope) {
	for _, s := range w.servers {
		if s.lacks == nil || !s.lacks(e.Hash) {
			s.stored = append(s.stored, e)
		}
	}
}

// fill archives n envelopes of a topic, one every step from a time on.
func (w *world) fill(n, first int, t transport.Topic, from time.Time, step time.Duration) {
	for i := range n {
		w.archive(transport.Envelope{Hash: hash(first + i), Topic: t, Sent: from.Add(time.Duration(i) * step)})
	}
}

// boot starts the node with what is wanted.
func (w *world) boot() {
	w.life++
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], uint64(w.life))
	w.d = history.New(w.cfg, rand.NewChaCha8(seed), w.store)
	w.recent, w.opened = history.NewRecent(1<<16), map[transport.Hash]int{}
	w.progress, w.queries, w.alarm = nil, nil, time.Time{}
	for _, s := range w.servers {
		s.flight = nil
	}
	w.perform(w.d.Wake(w.now))
	w.perform(w.d.Ready(w.now))
	w.perform(w.d.Listen(w.now, slices.Clone(w.topics), nil))
	w.name()
}

func (w *world) crash() { w.d = nil }

// listen wants topics as well.
func (w *world) listen(topics ...transport.Topic) {
	w.topics = append(w.topics, topics...)
	slices.SortFunc(w.topics, func(a, b transport.Topic) int { return bytes.Compare(a[:], b[:]) })
	w.topics = slices.Compact(w.topics)
	if w.d != nil {
		w.perform(w.d.Listen(w.now, slices.Clone(w.topics), nil))
	}
}

// name tells the driver whom it can ask.
func (w *world) name() {
	if w.d != nil && len(w.names) > 0 {
		w.perform(w.d.Archives(w.now, w.names))
	}
}

func (w *world) perform(out history.Output) {
	w.store.Commit(out.Save)
	for _, r := range out.Save {
		w.saved += len(r.Key) + len(r.Value)
	}
	if !out.Wake.IsZero() {
		w.alarm = out.Wake
	}
	for _, e := range out.Up {
		p := e.(envelope.Progress)
		if n := len(w.progress); n > 0 && fmt.Sprint(w.progress[n-1]) == fmt.Sprint(p) {
			w.Fatalf("the same progress twice: %+v", p)
		}
		w.progress = append(w.progress, p)
	}
	for _, c := range out.Down {
		switch c := c.(type) {
		case transport.Query:
			w.asked(c)
		case transport.Cancel:
			for _, s := range w.servers {
				if s.flight != nil && s.flight.Ref == c.Ref {
					s.flight = nil
				}
			}
		default:
			w.Fatalf("got %T", c)
		}
	}
}

// asked is a transport with a query.
func (w *world) asked(q transport.Query) {
	s := w.servers[q.Server]
	switch {
	case s == nil:
		w.Fatalf("nobody is called %q", q.Server)
	case s.flight != nil && s.flight.Ref == q.Ref:
		return // the same command
	case s.flight != nil:
		w.Fatalf("%s: two pages at a time", q.Server)
	case q.Limit != w.cfg.Page || len(q.Topics) == 0 || q.To.Before(q.From) || q.To.Sub(q.From) > 24*time.Hour:
		w.Fatalf("a query that servers refuse: %+v", q)
	}
	s.flight = &q
	s.queries++
	w.queries = append(w.queries, q)
	half, end := s.answer(w, q)
	life := w.life
	deliver := func(step func() history.Output) {
		if w.life == life && w.d != nil && s.flight != nil && s.flight.Ref == q.Ref {
			w.perform(step())
		}
	}
	w.after(200*time.Millisecond, func() {
		deliver(func() history.Output {
			return w.bring(transport.History{Ref: q.Ref, Server: q.Server, Envelopes: half})
		})
	})
	if end == nil {
		return
	}
	wait := 400 * time.Millisecond
	if end.End == transport.QueryTimeout {
		wait = 10 * time.Second
	}
	w.after(wait, func() {
		deliver(func() history.Output {
			s.flight = nil
			end.Ref, end.Server, end.Count = q.Ref, q.Server, len(half)
			return w.d.Queried(w.now, *end)
		})
	})
}

// bring opens envelopes as the layer does.
func (w *world) bring(h transport.History) history.Output {
	opened := 0
	for _, e := range h.Envelopes {
		if w.open(e) {
			opened++
		}
	}
	return w.d.History(w.now, h, opened)
}

func (w *world) open(e transport.Envelope) bool {
	if !slices.Contains(w.topics, e.Topic) || w.recent.Has(e.Hash) {
		return false
	}
	w.recent.Add(e.Hash)
	if w.opened[e.Hash]++; w.opened[e.Hash] > 1 {
		w.Fatalf("%v opened twice", e.Hash)
	}
	life := w.life
	w.after(w.delay, func() {
		if w.life == life && w.d != nil {
			w.kept[e.Hash] = true
		}
	})
	return true
}

// answer returns the envelopes of a page and how it ends; nil: never.
func (s *server) answer(w *world, q transport.Query) ([]transport.Envelope, *transport.Queried) {
	cursor := []byte(fmt.Sprint("cursor ", s.queries))
	switch s.temper {
	case silent:
		return nil, &transport.Queried{End: transport.QueryTimeout}
	case dead:
		return nil, nil
	case refusing:
		return nil, &transport.Queried{End: transport.QueryRefused, Reason: "no"}
	case unreachable:
		return nil, &transport.Queried{End: transport.QueryNobody}
	case hollow:
		return nil, &transport.Queried{Cursor: cursor}
	case wandering:
		return []transport.Envelope{{Hash: hash(-s.queries), Topic: topic(-1), Sent: q.From.Add(-time.Hour)}}, &transport.Queried{Cursor: cursor}
	case verbose:
		return nil, &transport.Queried{Cursor: make([]byte, transport.MaxCursor+1)}
	}
	page, next := s.selected(q)
	switch {
	case s.temper == repeating:
		q.Cursor = nil
		page, _ = s.selected(q)
		return page, &transport.Queried{Cursor: cursor}
	case s.temper == circling:
		return page, &transport.Queried{Cursor: []byte("round")}
	case s.temper == halting && s.queries%2 == 1:
		return page[:len(page)/2], &transport.Queried{End: transport.QueryTimeout}
	case s.temper == disorderly:
		page = append(page, page[:len(page)/3]...)
		page = append(page, transport.Envelope{Hash: hash(-s.queries), Topic: topic(-1), Sent: q.From})
		w.random.Shuffle(len(page), func(i, k int) { page[i], page[k] = page[k], page[i] })
	}
	return page, &transport.Queried{Cursor: next}
}

// selected returns one page in the order of the server.
func (s *server) selected(q transport.Query) ([]transport.Envelope, []byte) {
	var found []transport.Envelope
	for _, e := range s.stored {
		if !e.Sent.Before(q.From) && !e.Sent.After(q.To) && slices.Contains(q.Topics, e.Topic) {
			found = append(found, e)
		}
	}
	slices.SortStableFunc(found, func(a, b transport.Envelope) int {
		order := cmp.Or(a.Sent.Compare(b.Sent), bytes.Compare(a.Hash[:], b.Hash[:]))
		if s.temper == newestFirst {
			return -order
		}
		return order
	})
	if len(q.Cursor) == 32 {
		i := slices.IndexFunc(found, func(e transport.Envelope) bool { return bytes.Equal(e.Hash[:], q.Cursor) })
		found = found[i+1:]
	}
	limit := min(q.Limit, s.page)
	if len(found) < limit {
		return found, nil
	}
	// As servers of 2019 do it: a cursor even if nothing is left.
	return slices.Clone(found[:limit]), bytes.Clone(found[limit-1].Hash[:])
}

func (w *world) after(d time.Duration, do func()) {
	w.coming = append(w.coming, happening{w.now.Add(d), do})
	slices.SortStableFunc(w.coming, func(a, b happening) int { return a.at.Compare(b.at) })
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	end := w.now.Add(d)
	for rounds := 0; ; rounds++ {
		if rounds > 1_000_000 {
			w.Fatal("the driver never rests")
		}
		wake := w.d != nil && !w.alarm.IsZero() && !w.alarm.After(end)
		switch {
		case len(w.coming) > 0 && !w.coming[0].at.After(end) && (!wake || !w.coming[0].at.After(w.alarm)):
			h := w.coming[0]
			w.coming = w.coming[1:]
			w.now = h.at
			h.do()
		case wake:
			if w.alarm.After(w.now) {
				w.now = w.alarm
			}
			w.alarm = time.Time{}
			w.perform(w.d.Wake(w.now))
		default:
			w.now = end
			return
		}
	}
}

func (w *world) last() envelope.Progress {
	w.Helper()
	if len(w.progress) == 0 {
		w.Fatal("no progress")
	}
	return w.progress[len(w.progress)-1]
}

func (w *world) want(state envelope.CatchUp) envelope.Progress {
	w.Helper()
	p := w.last()
	if p.State != state {
		w.Fatalf("state: got %+v, want %v", p, state)
	}
	return p
}

func (w *world) wantOpened(n int) {
	w.Helper()
	if len(w.opened) != n {
		w.Fatalf("opened %d envelopes, want %d", len(w.opened), n)
	}
}
