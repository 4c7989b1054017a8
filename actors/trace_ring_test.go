package actors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// known is a message with an identity.
type known []byte

func (k known) Identity() []byte { return k }

// other is a message without one.
type other struct{}

func noted(g *ring, span Span, input any, emitted ...any) {
	p := performed[any, any]{at: time.Unix(int64(span), 0), span: span, input: input}
	p.out.Up = emitted
	trace(g, &p)
}

// numbered is an identity of some length that begins with a number.
func numbered(i, size int) known {
	return append(binary.BigEndian.AppendUint64(nil, uint64(i)), bytes.Repeat([]byte{0xff}, size)...)
}

func TestTraceOfLargePacketsIsBoundedInBytes(t *testing.T) {
	tracer := NewTracer(1000)
	g := tracer.ring("a")
	const steps = 100
	for i := range steps {
		noted(g, Span(i+1), numbered(i, 1<<18), numbered(i, 1<<18), other{})
	}
	if held := cap(g.detail) + cap(g.ids) + cap(g.combined); held > 3*g.limit {
		t.Errorf("%d bytes are held, want about %d", held, g.limit)
	}
	if got := tracer.Find(numbered(0, 0)); got != nil {
		t.Errorf("the first is still found: %v", got)
	}
	got := tracer.Find(numbered(steps-1, 0))
	if len(got) != 1 || got[0].Span != steps || !slices.Equal(got[0].Emitted, []string{"actors.known", "actors.other"}) || len(got[0].Identity) != 1 {
		t.Errorf("the last is %v, want it with both messages and one identity", got)
	}
}

func TestStepThatEmitsNoEndOfMessagesIsTraced(t *testing.T) {
	tracer := NewTracer(1)
	g := tracer.ring("a")
	noted(g, 1, known("x"), slices.Repeat([]any{other{}}, 1_000_000)...)
	if got := tracer.Find([]byte("x")); len(got) != 1 || len(got[0].Emitted) != maxEmitted {
		t.Errorf("%d steps are found, want one with %d messages", len(got), maxEmitted)
	}
}

func TestFailedStepTellsItsReason(t *testing.T) {
	tracer := NewTracer(10)
	g := tracer.ring("a")
	g.refused(7, known("x"), errors.New("because"))
	got := tracer.Find([]byte("x"))
	if len(got) != 1 || got[0].Outcome != Refused || got[0].Reason != "because" || got[0].Input != "actors.known" {
		t.Errorf("found %+v, want one refused because", got)
	}
}

// TestRingRemembersTheLatestStepsAsTheyWere compares a ring with a list of all
// steps.
func TestRingRemembersTheLatestStepsAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := newRing("a", rapid.IntRange(1, 50).Draw(t, "places"))
		var all []Step
		for i := range rapid.IntRange(1, 120).Draw(t, "steps") {
			input := known(bytes.Repeat([]byte{byte(i)}, rapid.SampledFrom([]int{0, 1, 32, 5000, maxIdentities}).Draw(t, "size")))
			s := Step{Span: Span(i + 1), Input: "actors.known", Outcome: Done}
			if len(input) > 0 {
				s.Identity = []string{fmt.Sprintf("%x", []byte(input[:min(len(input), 32)]))}
			}
			if rapid.Bool().Draw(t, "fails") {
				s.Outcome, s.Reason = Refused, fmt.Sprint("step ", i)
				g.refused(s.Span, input, errors.New(s.Reason))
			} else {
				emitted := rapid.SliceOfN(rapid.SampledFrom([]any{other{}, 1, nil}), 0, 5).Draw(t, "emitted")
				for _, m := range emitted {
					s.Emitted = append(s.Emitted, fmt.Sprintf("%T", m))
					if m == nil {
						s.Emitted[len(s.Emitted)-1] = "wake"
					}
				}
				noted(g, s.Span, input, emitted...)
			}
			all = append(all, s)
		}
		var got []Step
		g.each(func(r *record, d detail) {
			s := g.step(r, d)
			s.At, s.Took, s.Layer = time.Time{}, 0, ""
			got = append(got, s)
		})
		slices.SortFunc(got, func(a, b Step) int { return int(a.Span) - int(b.Span) })
		if len(got) == 0 || len(got) > len(g.records) {
			t.Fatalf("%d steps in %d places", len(got), len(g.records))
		}
		want := all[len(all)-len(got):]
		for i := range got {
			if a, b := fmt.Sprintf("%+v", got[i]), fmt.Sprintf("%+v", want[i]); a != b {
				t.Fatalf("got  %s\nwant %s", a, b)
			}
		}
	})
}
