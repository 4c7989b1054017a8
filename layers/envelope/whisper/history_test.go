package whisper_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/envelope/whisper"
	"github.com/stratanode/strata/layers/layertest"
	"github.com/stratanode/strata/layers/transport"
)

// client is a node with a past, driven by hand.
type client struct {
	testing.TB
	n     *whisper.Node
	now   time.Time
	store *layertest.Memory
	asked []transport.Query
}

func newClient(t testing.TB, store *layertest.Memory, now time.Time, seed byte) *client {
	t.Helper()
	c := &client{TB: t, n: whisper.Restore(whisper.DefaultConfig(), self, entropy(seed), store), now: now, store: store}
	c.did(c.n.Wake(now), nil)
	c.below(transport.Ready{Info: info})
	c.below(transport.Archives{Servers: []string{"archive"}})
	return c
}

// did carries out a step and returns what was opened.
func (c *client) did(out output, err error) (opened []string) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
	c.store.Commit(out.Save)
	for _, m := range out.Down {
		if q, ok := m.(transport.Query); ok {
			c.asked = append(c.asked, q)
		}
	}
	for _, e := range out.Up {
		if o, ok := e.(envelope.Opened); ok {
			opened = append(opened, string(o.Filter)+" "+string(o.Payload))
		}
	}
	return opened
}

func (c *client) below(e transport.Event) []string {
	c.Helper()
	return c.did(c.n.FromBelow(c.now, e))
}

func (c *client) listen(filters ...envelope.Filter) []string {
	c.Helper()
	return c.did(c.n.FromAbove(c.now, envelope.Listen{Filters: filters}))
}

// query returns the query that is on its way after a moment.
func (c *client) query() transport.Query {
	c.Helper()
	c.now = c.now.Add(2 * time.Second)
	c.did(c.n.Wake(c.now), nil)
	if len(c.asked) != 1 {
		c.Fatalf("got %d queries, want one", len(c.asked))
	}
	q := c.asked[0]
	c.asked = nil
	return q
}

func (c *client) answer(q transport.Query, envelopes ...transport.Envelope) []string {
	c.Helper()
	opened := c.below(transport.History{Ref: q.Ref, Server: "archive", Envelopes: envelopes})
	c.below(transport.Queried{Ref: q.Ref, Server: "archive", Count: len(envelopes)})
	return opened
}

func wantOpened(t testing.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("opened: got %q, want %q", got, want)
	}
}

func TestClientFetchesUnaskedWhatItMissed(t *testing.T) {
	store := layertest.NewMemory()
	c := newClient(t, store, t0, 1)
	c.listen(filter("f", topicA, keyA))
	q := c.query()
	if !slices.Equal(q.Topics, []transport.Topic{topicA}) || q.Server != "archive" {
		t.Errorf("query: got %+v", q)
	}
	wantOpened(t, c.answer(q, carried(t, topicA, keyA, "one"), carried(t, topicA, keyB, "not ours"), carried(t, topicB, keyA, "not asked for")), "f one")
	p := c.progress()
	if p.State != envelope.CaughtUp || p.Envelopes != 3 || p.Opened != 1 || p.Pages != 1 {
		t.Errorf("progress: got %+v", p)
	}
	c.now = c.now.Add(time.Minute)
	c.did(c.n.Wake(c.now), nil)

	later := newClient(t, store, t0.Add(72*time.Hour), 2)
	later.listen(filter("f", topicA, keyA))
	if got, want := later.query().From, q.To.Add(-5*time.Minute); !got.Equal(want) {
		t.Errorf("after a restart: asks from %v, want %v", got, want)
	}
}

// progress returns the state, which a layer above that attaches is told.
func (c *client) progress() envelope.Progress {
	c.Helper()
	out, err := c.n.FromAbove(c.now, envelope.Attach{})
	if err != nil || len(out.Up) != 2 {
		c.Fatalf("attach: got %v and error %v, want Ready and Progress", out.Up, err)
	}
	return out.Up[1].(envelope.Progress)
}

func TestEnvelopeIsOpenedOnceWhicheverWayItComes(t *testing.T) {
	a, b := carried(t, topicA, keyA, "a"), carried(t, topicA, keyA, "b")
	c := newClient(t, layertest.NewMemory(), t0, 1)
	c.listen(filter("f", topicA, keyA), filter("g", topicA, keyA))
	live := func(e ...transport.Envelope) []string { return c.below(transport.Received{Envelopes: e}) }
	wantOpened(t, live(a), "f a", "g a")
	wantOpened(t, live(a))
	wantOpened(t, c.answer(c.query(), a, b, b, a), "f b", "g b")
	wantOpened(t, live(b))
	if got := c.n.Stats(); got.Opened != 2 || got.Repeated != 5 {
		t.Errorf("stats: got %+v, want 2 opened and 5 repeated", got)
	}
}

func TestKeyThatComesLaterOpensWhatIsFetchedAgain(t *testing.T) {
	e := carried(t, topicA, keyB, "for B")
	c := newClient(t, layertest.NewMemory(), t0, 1)
	c.listen(filter("a", topicA, keyA))
	wantOpened(t, c.answer(c.query(), e))
	c.now = c.now.Add(time.Hour)
	c.did(c.n.Wake(c.now), nil)
	c.answer(c.query(), e)

	c.listen(filter("a", topicA, keyA), filter("b", topicA, keyB))
	q := c.query()
	if q.From.After(t0) {
		t.Errorf("a new key on a topic: asks from %v only", q.From)
	}
	wantOpened(t, c.answer(q, e), "b for B")
}

func TestEnvelopesOfThePastAreOpenedWhoeverAskedForThem(t *testing.T) {
	e := carried(t, topicA, keyA, "x")
	for _, ref := range []layers.Ref{{}, {1}} {
		c := newClient(t, layertest.NewMemory(), t0, 1)
		wantOpened(t, c.below(transport.History{Ref: ref, Envelopes: []transport.Envelope{e}}))
		wantOpened(t, c.listen(filter("f", topicA, keyA)), "f x") // held until then
		wantOpened(t, c.below(transport.History{Ref: ref, Envelopes: []transport.Envelope{e, carried(t, topicA, keyA, "y")}}), "f y")
		c.query()
		c.below(transport.History{Ref: ref, Envelopes: []transport.Envelope{e}})
		c.below(transport.Queried{Ref: ref, Cursor: []byte{1}})
		if p := c.progress(); p.State != envelope.CatchingUp || p.Envelopes+p.Pages != 0 {
			t.Errorf("progress: got %+v, want nothing of it", p)
		}
	}
}

func TestOwnEnvelopeIsNotOpenedWhenAServerBringsIt(t *testing.T) {
	for _, reported := range []func(layers.Ref, transport.Hash) transport.Event{
		func(r layers.Ref, h transport.Hash) transport.Event { return transport.Accepted{Ref: r, Hash: h} },
		func(r layers.Ref, h transport.Hash) transport.Event { return transport.Relayed{Ref: r, Hash: h} },
	} {
		c := newClient(t, layertest.NewMemory(), t0, 1)
		c.listen(filter("f", topicA, keyA))
		out, err := c.n.FromAbove(t0, seal(1, keyA, "mine"))
		if err != nil {
			t.Fatal(err)
		}
		own := out.Down[0].(transport.Publish)
		e := transport.Envelope{Hash: transport.Hash{7}, Topic: topicA, Data: own.Data, Sent: t0}
		c.below(reported(own.Ref, e.Hash))
		wantOpened(t, c.answer(c.query(), e))
	}
}

func TestMalformedEnvelopesDoNotHideThatAPageCame(t *testing.T) {
	data, err := whisper.SealSymmetric(keyA, [12]byte{1}, []byte{3})
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, layertest.NewMemory(), t0, 1)
	c.listen(filter("f", topicA, keyA))
	wantOpened(t, c.answer(c.query(), transport.Envelope{Topic: topicA, Data: data}))
	if p := c.progress(); p.State != envelope.CaughtUp || p.Envelopes != 1 {
		t.Errorf("progress: got %+v, want one envelope", p)
	}
}

func TestEventsForOthersChangeNothing(t *testing.T) {
	c := newClient(t, layertest.NewMemory(), t0, 1)
	c.listen(filter("f", topicA, keyA))
	c.answer(c.query())
	before := fmt.Sprint(c.progress(), c.n.Stats())
	e := carried(t, topicA, keyA, "x")
	for _, m := range []transport.Event{
		transport.Admitted{Mark: 1, Envelopes: []transport.Envelope{e}}, transport.Asked{}, transport.Taken{}, transport.Abandoned{},
		transport.Done{}, transport.Described{}, transport.Explained{}, transport.Queried{}, transport.Relayed{}, transport.Refused{},
	} {
		out, err := c.n.FromBelow(c.now, m)
		if err != nil || len(out.Up)+len(out.Down)+len(out.Save) != 0 {
			t.Errorf("%T: got %v and error %v, want nothing", m, out, err)
		}
	}
	if after := fmt.Sprint(c.progress(), c.n.Stats()); after != before {
		t.Errorf("got %s, want %s", after, before)
	}
}

func TestFaultOfHistoryIsNamedByItsWholePath(t *testing.T) {
	cfg := whisper.DefaultConfig()
	cfg.History.Page = 0
	if err := cfg.Validate(); err == nil || err.Error() != "history.page: 0 is not in 1 to 1000" {
		t.Errorf("error: got %v", err)
	}
}
