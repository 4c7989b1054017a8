package whisper_test

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/envelope/whisper"
	"github.com/stratanode/strata/layers/transport"
)

// model is what the layer should be doing, as simply as it can be said.
type model struct {
	ready    bool
	pending  []layers.Ref // in their order
	bytes    map[layers.Ref][]byte
	topics   []transport.Topic
	listened bool
	filters  []envelope.Filter
	count    int // of envelopes that came
}

var choices = []transport.Topic{topicA, topicB, topicC}

func TestEverySealHasOneAnswerWhateverHappens(t *testing.T) {
	const room = 5
	sent := map[transport.Topic]map[envelope.SymKey]transport.Envelope{}
	for _, topic := range choices {
		sent[topic] = map[envelope.SymKey]transport.Envelope{
			keyA: carried(t, topic, keyA, "A"), keyB: carried(t, topic, keyB, "B"),
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		cfg := whisper.DefaultConfig()
		cfg.MaxUnanswered = room
		cfg.History.Enabled = false // history_test.go
		n := whisper.New(cfg, self, entropy(3))
		only[transport.Attach](t, n.Wake(t0).Down)
		m := model{bytes: map[layers.Ref][]byte{}}
		above := func(c envelope.Command) output { return must(rt)(n.FromAbove(t0, c)) }
		below := func(e transport.Event) output { return must(rt)(n.FromBelow(t0, e)) }

		rt.Repeat(map[string]func(*rapid.T){
			"seal": func(rt *rapid.T) {
				r := ref(rapid.IntRange(0, 8).Draw(rt, "ref"))
				out := above(envelope.Seal{Ref: r, Topic: topicA, Key: keyA})
				m.sealed(rt, r, out, room)
			},
			"answer": func(rt *rapid.T) {
				r := ref(rapid.IntRange(0, 8).Draw(rt, "ref"))
				final := rapid.SampledFrom([]transport.Event{
					transport.Relayed{Ref: r}, transport.Expired{Ref: r}, transport.Refused{Ref: r, Reason: "no"},
				}).Draw(rt, "final")
				out := below(final)
				want := 0
				if i := slices.Index(m.pending, r); i >= 0 {
					want, m.pending = 1, slices.Delete(m.pending, i, i+1)
				}
				if len(out.Up) != want || len(out.Down) != 0 {
					rt.Fatalf("%T: got %v, want %d events", final, out, want)
				}
			},
			"ready":  func(rt *rapid.T) { m.resumed(rt, below(transport.Ready{Info: info})) },
			"attach": func(rt *rapid.T) { m.attached(rt, above(envelope.Attach{})) },
			"wake": func(rt *rapid.T) {
				want := 1 // Attach, until the transport is ready
				if m.ready {
					want = 0
				}
				if out := n.Wake(t0); len(out.Up) != 0 || len(out.Down) != want {
					rt.Fatalf("wake: got %v, want %d commands", out, want)
				}
			},
			"listen": func(rt *rapid.T) {
				m.filters = rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) envelope.Filter {
					return filter(rapid.SampledFrom([]envelope.FilterID{"1", "2", "3"}).Draw(rt, "id"),
						rapid.SampledFrom(choices).Draw(rt, "topic"), rapid.SampledFrom([]envelope.SymKey{keyA, keyB}).Draw(rt, "key"))
				}), 0, 6).Draw(rt, "filters")
				m.listening(rt, above(envelope.Listen{Filters: m.filters}))
			},
			"receive": func(rt *rapid.T) {
				topic := rapid.SampledFrom(choices).Draw(rt, "topic")
				key := rapid.SampledFrom([]envelope.SymKey{keyA, keyB}).Draw(rt, "key")
				if m.listened {
					e := sent[topic][key]
					m.count++
					e.Hash = transport.Hash{byte(m.count), byte(m.count >> 8)} // another envelope
					m.received(rt, topic, key, below(transport.Received{Envelopes: []transport.Envelope{e}}))
				}
			},
		})
	})
}

func must(rt *rapid.T) func(output, error) output {
	return func(out output, err error) output {
		if err != nil {
			rt.Fatal(err)
		}
		if len(out.Save) != 0 || !out.Wake.IsZero() {
			rt.Fatalf("got %+v, want neither records nor an alarm", out)
		}
		return out
	}
}

func (m *model) sealed(rt *rapid.T, r layers.Ref, out output, room int) {
	switch {
	case slices.Contains(m.pending, r):
		if len(out.Up)+len(out.Down) != 0 {
			rt.Fatalf("repeated: got %v", out)
		}
	case len(m.pending) == room:
		if len(out.Up) != 1 || out.Up[0].(envelope.Refused).Ref != r || len(out.Down) != 0 {
			rt.Fatalf("no room: got %v", out)
		}
	default:
		m.pending = append(m.pending, r)
		delete(m.bytes, r)
		m.published(rt, out.Down, m.pending[len(m.pending)-1:])
		if len(out.Up) != 0 {
			rt.Fatalf("sealed: got %v", out.Up)
		}
	}
}

// published checks that refs are published, in their order and with the bytes
// they had before, or that nothing is while the transport is not ready.
func (m *model) published(rt *rapid.T, down []transport.Command, refs []layers.Ref) {
	if !m.ready {
		if len(down) != 0 {
			rt.Fatalf("not ready: got %v", down)
		}
		return
	}
	if len(down) != len(refs) {
		rt.Fatalf("got %d commands, want %d Publish", len(down), len(refs))
	}
	for i, c := range down {
		p := c.(transport.Publish)
		if before, known := m.bytes[p.Ref]; p.Ref != refs[i] || known && !bytes.Equal(before, p.Data) {
			rt.Fatalf("publish %d: got %v, want %v with the same bytes", i, p.Ref, refs[i])
		}
		m.bytes[p.Ref] = p.Data
	}
}

func (m *model) resumed(rt *rapid.T, out output) {
	m.ready = true
	if m.listened {
		if got := out.Down[0].(transport.Subscribe).Topics; !slices.Equal(got, m.topics) {
			rt.Fatalf("topics: got %v, want %v", got, m.topics)
		}
		out.Down = out.Down[1:]
	}
	m.published(rt, out.Down, m.pending)
	m.attached(rt, output{Up: out.Up})
}

func (m *model) attached(rt *rapid.T, out output) {
	want := 0
	if m.ready {
		want = 1
	}
	if len(out.Up) != want || len(out.Down) != 0 {
		rt.Fatalf("got %v, want %d Ready", out, want)
	}
	for _, e := range out.Up {
		if r, ok := e.(envelope.Ready); !ok || r.Info.MaxPayload == 0 {
			rt.Fatalf("got %v, want a Ready", e)
		}
	}
}

func (m *model) listening(rt *rapid.T, out output) {
	var topics []transport.Topic
	for _, f := range m.filters {
		topics = append(topics, f.Topic)
	}
	slices.SortFunc(topics, func(a, b transport.Topic) int { return bytes.Compare(a[:], b[:]) })
	topics = slices.Compact(topics)
	same := m.listened && slices.Equal(topics, m.topics)
	m.topics, m.listened = topics, true
	if !m.ready || same {
		if len(out.Down) != 0 {
			rt.Fatalf("got %v, want nothing", out.Down)
		}
		return
	}
	if len(out.Down) != 1 || !slices.Equal(out.Down[0].(transport.Subscribe).Topics, topics) {
		rt.Fatalf("got %v, want %v", out.Down, topics)
	}
}

func (m *model) received(rt *rapid.T, topic transport.Topic, key envelope.SymKey, out output) {
	var want, got []envelope.FilterID
	for _, f := range m.filters {
		if f.Topic == topic && f.Key == key && !slices.Contains(want, f.ID) {
			want = append(want, f.ID)
		}
	}
	for _, e := range out.Up {
		got = append(got, e.(envelope.Opened).Filter)
	}
	if !slices.Equal(got, want) {
		rt.Fatalf("filters: got %v, want %v", got, want)
	}
}
