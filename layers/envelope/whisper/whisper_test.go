package whisper_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/envelope/whisper"
	"github.com/stratanode/strata/layers/transport"
)

var (
	t0 = time.Date(2019, 8, 1, 12, 0, 0, 0, time.UTC)

	self  = mustKey(1)
	other = mustKey(2)

	topicA = transport.TopicOf("a")
	topicB = transport.TopicOf("b")
	topicC = transport.TopicOf("c")

	keyA = envelope.SymKey{1}
	keyB = envelope.SymKey{2}

	info = transport.Info{Name: "test", MaxData: 1 << 20, MinTTL: time.Second, MaxTTL: time.Hour, Latency: 3 * time.Second}
)

func mustKey(seed byte) layers.PrivateKey {
	k, err := layers.GenerateKey(entropy(seed))
	if err != nil {
		panic(err)
	}
	return k
}

// entropy is a random source that can be repeated.
func entropy(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

func newNode(t testing.TB, change ...func(*whisper.Config)) *whisper.Node {
	t.Helper()
	cfg := whisper.DefaultConfig()
	cfg.History.Enabled = false // history_test.go
	for _, c := range change {
		c(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return whisper.New(cfg, self, entropy(9))
}

type steps struct {
	testing.TB
	n *whisper.Node
}

type output = layers.Output[envelope.Event, transport.Command]

// above and below carry out a step that must not be refused.
func (s steps) above(c envelope.Command) output {
	s.Helper()
	out, err := s.n.FromAbove(t0, c)
	if err != nil {
		s.Fatalf("%T: %v", c, err)
	}
	return out
}

func (s steps) below(e transport.Event) output {
	s.Helper()
	out, err := s.n.FromBelow(t0, e)
	if err != nil {
		s.Fatalf("%T: %v", e, err)
	}
	return out
}

func opened(t testing.TB, change ...func(*whisper.Config)) steps {
	t.Helper()
	s := steps{t, newNode(t, change...)}
	s.n.Wake(t0)
	s.below(transport.Ready{Info: info})
	return s
}

func ref(i int) layers.Ref { return layers.Ref{byte(i), byte(i >> 8)} }

func seal(i int, key envelope.Key, payload string) envelope.Seal {
	return envelope.Seal{Ref: ref(i), Topic: topicA, Key: key, Payload: []byte(payload), TTL: 15 * time.Second}
}

// carried seals a payload of another node and returns the envelope as a
// transport would deliver it.
func carried(t testing.TB, topic transport.Topic, key envelope.Key, payload string) transport.Envelope {
	t.Helper()
	n := whisper.New(whisper.DefaultConfig(), other, entropy(7))
	n.Wake(t0)
	s := steps{t, n}
	s.below(transport.Ready{Info: info})
	out := s.above(envelope.Seal{Topic: topic, Key: key, Payload: []byte(payload)})
	if len(out.Down) != 1 {
		t.Fatalf("seal: got %v, want one Publish", out)
	}
	p := out.Down[0].(transport.Publish)
	return transport.Envelope{Hash: layers.Keccak256(p.Data), Topic: topic, Data: p.Data, Sent: t0}
}

func filter(id envelope.FilterID, topic transport.Topic, key envelope.Key) envelope.Filter {
	return envelope.Filter{ID: id, Topic: topic, Key: key}
}

func only[M any, X any](t testing.TB, got []X) M {
	t.Helper()
	if len(got) == 1 {
		if m, ok := any(got[0]).(M); ok {
			return m
		}
	}
	var want M
	t.Fatalf("got %v, want one %T", got, want)
	return want
}

func TestFirstWakeAttachesAndNothingElse(t *testing.T) {
	out := newNode(t).Wake(t0)
	only[transport.Attach](t, out.Down)
	if len(out.Up) != 0 || len(out.Save) != 0 || !out.Wake.IsZero() {
		t.Errorf("got %+v, want an Attach only", out)
	}
}

func TestAttachIsAnsweredOnceTheTransportIsReady(t *testing.T) {
	s := steps{t, newNode(t)}
	s.n.Wake(t0)
	if out := s.above(envelope.Attach{}); len(out.Up)+len(out.Down) != 0 {
		t.Errorf("before the transport is ready: got %v, want nothing", out)
	}
	first := only[envelope.Ready](t, s.below(transport.Ready{Info: info}).Up)
	if again := only[envelope.Ready](t, s.above(envelope.Attach{}).Up); again != first {
		t.Errorf("got %v, want %v", again, first)
	}
	if first.Info.Latency != info.Latency || first.Info.MaxTTL != info.MaxTTL {
		t.Errorf("info: got %+v", first.Info)
	}
}

func TestSealedMessageIsOpenedByItsKeyOnly(t *testing.T) {
	mine := envelope.Identity{Key: self.Public()}
	for _, tt := range []struct {
		name string
		key  envelope.Key
		want envelope.FilterID
	}{
		{"symmetric", keyA, "sym"},
		{"identity", mine, "id"},
		{"foreign symmetric", keyB, ""},
		{"foreign identity", envelope.Identity{Key: mustKey(3).Public()}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := opened(t)
			s.above(envelope.Listen{Filters: []envelope.Filter{filter("sym", topicA, keyA), filter("id", topicA, mine)}})
			e := carried(t, topicA, tt.key, "hello")
			up := s.below(transport.Received{Envelopes: []transport.Envelope{e}}).Up
			if tt.want == "" {
				if len(up) != 0 || s.n.Stats().Unopened != 1 {
					t.Errorf("got %v and %+v, want nothing opened", up, s.n.Stats())
				}
				return
			}
			o := only[envelope.Opened](t, up)
			want := envelope.Opened{Hash: e.Hash, Filter: tt.want, Topic: topicA, Payload: []byte("hello"), Signer: other.Public(), Sent: t0}
			if fmt.Sprint(o) != fmt.Sprint(want) {
				t.Errorf("got %v, want %v", o, want)
			}
		})
	}
}

func TestUnsignedMessageHasNoSigner(t *testing.T) {
	s := opened(t)
	s.above(envelope.Listen{Filters: []envelope.Filter{filter("f", topicA, keyA)}})
	raw, err := whisper.BuildPlaintext([]byte("x"), nil, layers.PrivateKey{})
	if err != nil {
		t.Fatal(err)
	}
	data, err := whisper.SealSymmetric(keyA, [12]byte{1}, raw)
	if err != nil {
		t.Fatal(err)
	}
	o := only[envelope.Opened](t, s.below(transport.Received{Envelopes: []transport.Envelope{{Topic: topicA, Data: data}}}).Up)
	if !o.Signer.IsZero() || string(o.Payload) != "x" {
		t.Errorf("got %v, want the payload x of nobody", o)
	}
}

func TestAllFiltersOfTheKeyMatchInTheirOrderAndNoOther(t *testing.T) {
	s := opened(t)
	s.above(envelope.Listen{Filters: []envelope.Filter{
		filter("z", topicA, keyA), filter("b", topicA, keyB), filter("a", topicA, keyA), filter("z", topicA, keyA), filter("elsewhere", topicB, keyA),
	}})
	up := s.below(transport.Received{Envelopes: []transport.Envelope{carried(t, topicA, keyA, "x")}}).Up
	var got []envelope.FilterID
	for _, e := range up {
		got = append(got, e.(envelope.Opened).Filter)
	}
	if want := []envelope.FilterID{"z", "a"}; !slices.Equal(got, want) {
		t.Errorf("filters: got %v, want %v", got, want)
	}
}

func TestListenReplacesTheWholeSet(t *testing.T) {
	s := opened(t)
	first := only[transport.Subscribe](t, s.above(envelope.Listen{Filters: []envelope.Filter{
		filter("1", topicC, keyA), filter("2", topicA, keyA), filter("3", topicC, keyB), filter("4", topicB, keyA),
	}}).Down)
	want := []transport.Topic{topicA, topicB, topicC}
	slices.SortFunc(want, func(a, b transport.Topic) int { return bytes.Compare(a[:], b[:]) })
	if !slices.Equal(first.Topics, want) {
		t.Errorf("topics: got %v, want %v", first.Topics, want)
	}
	second := only[transport.Subscribe](t, s.above(envelope.Listen{Filters: []envelope.Filter{filter("1", topicB, keyB)}}).Down)
	if !slices.Equal(second.Topics, []transport.Topic{topicB}) {
		t.Errorf("topics: got %v, want %v", second.Topics, topicB)
	}
	if up := s.below(transport.Received{Envelopes: []transport.Envelope{carried(t, topicA, keyA, "x")}}).Up; len(up) != 0 {
		t.Errorf("got %v from a filter that is gone", up)
	}
	if last := only[transport.Subscribe](t, s.above(envelope.Listen{}).Down); len(last.Topics) != 0 {
		t.Errorf("topics: got %v, want none", last.Topics)
	}
}

func TestTopicsAreRepeatedForATransportThatIsReadyAgainOnly(t *testing.T) {
	s := opened(t)
	set := envelope.Listen{Filters: []envelope.Filter{filter("f", topicA, keyA)}}
	s.above(set)
	if out := s.above(set); len(out.Down) != 0 {
		t.Errorf("same topics: got %v, want nothing", out.Down)
	}
	only[transport.Subscribe](t, s.below(transport.Ready{Info: info}).Down)
	if out := s.above(set); len(out.Down) != 0 {
		t.Errorf("same topics: got %v, want nothing", out.Down)
	}
}

func TestTopicsOfAnEarlierLifeStayUntilTheFirstListen(t *testing.T) {
	s := steps{t, newNode(t)}
	s.n.Wake(t0)
	e := carried(t, topicA, keyA, "early")
	if out := s.below(transport.Ready{Info: info}); len(out.Down) != 0 {
		t.Errorf("before the first Listen: got %v, want nothing", out.Down)
	}
	if out := s.below(transport.Received{Envelopes: []transport.Envelope{e}}); len(out.Up) != 0 {
		t.Errorf("before the first Listen: got %v, want nothing", out.Up)
	}
	out := s.above(envelope.Listen{Filters: []envelope.Filter{filter("f", topicA, keyA)}})
	only[transport.Subscribe](t, out.Down)
	if o := only[envelope.Opened](t, out.Up); string(o.Payload) != "early" {
		t.Errorf("payload: got %q, want early", o.Payload)
	}
	if out := s.above(envelope.Listen{Filters: []envelope.Filter{filter("f", topicA, keyA)}}); len(out.Up) != 0 {
		t.Errorf("second Listen: got %v, want nothing", out.Up)
	}
}

func TestEnvelopesBeforeTheFirstListenAreBounded(t *testing.T) {
	for _, tt := range []struct {
		name string
		size int
	}{{"many", 1}, {"large", 1 << 20}} {
		t.Run(tt.name, func(t *testing.T) {
			s := steps{t, newNode(t)}
			data := make([]byte, tt.size)
			const sent = 5000
			for range sent {
				s.below(transport.Received{Envelopes: []transport.Envelope{{Topic: topicA, Data: data}}})
			}
			shed := s.n.Stats().Shed
			s.above(envelope.Listen{})
			kept := s.n.Stats().Unfiltered
			if kept+shed != sent || kept == 0 || kept > 1024 || kept*uint64(tt.size) > 8<<20 {
				t.Errorf("kept %d and shed %d of %d", kept, shed, sent)
			}
		})
	}
}

func TestBadFilterIsRefusedAndTheSetBeforeStays(t *testing.T) {
	for _, tt := range []struct {
		name string
		key  envelope.Key
		text string
	}{
		{"zero symmetric key", envelope.SymKey{}, "all zero"},
		{"no key", nil, "none"},
		{"nobody", envelope.Identity{}, "not the own one"},
		{"another identity", envelope.Identity{Key: other.Public()}, "not the own one"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := opened(t)
			s.above(envelope.Listen{Filters: []envelope.Filter{filter("good", topicA, keyA)}})
			_, err := s.n.FromAbove(t0, envelope.Listen{Filters: []envelope.Filter{filter("fine", topicB, keyA), filter("bad", topicA, tt.key)}})
			if err == nil || !strings.HasPrefix(err.Error(), "whisper: ") || !strings.Contains(err.Error(), tt.text) || !strings.Contains(err.Error(), "bad") {
				t.Errorf("error: got %v, want one with %q and the filter", err, tt.text)
			}
			only[envelope.Opened](t, s.below(transport.Received{Envelopes: []transport.Envelope{carried(t, topicA, keyA, "x")}}).Up)
		})
	}
}

func TestFiltersAreBounded(t *testing.T) {
	s := opened(t, func(c *whisper.Config) { c.MaxFilters = 2 })
	_, err := s.n.FromAbove(t0, envelope.Listen{Filters: make([]envelope.Filter, 3)})
	if err == nil || !strings.Contains(err.Error(), "max_filters") {
		t.Errorf("error: got %v, want one that names max_filters", err)
	}
}

func TestOneBadEnvelopeCostsNoneOfTheOthers(t *testing.T) {
	s := opened(t)
	s.above(envelope.Listen{Filters: []envelope.Filter{filter("s", topicA, keyA), filter("i", topicA, envelope.Identity{Key: self.Public()})}})
	malformed, err := whisper.SealSymmetric(keyA, [12]byte{1}, []byte{3})
	if err != nil {
		t.Fatal(err)
	}
	bad := transport.Envelope{Topic: topicA, Data: malformed}
	out := s.below(transport.Received{Envelopes: []transport.Envelope{
		bad, carried(t, topicA, keyA, "one"), {Topic: topicA}, {Topic: topicB, Data: []byte("?")},
		{Topic: topicA, Data: make([]byte, 300)}, carried(t, topicA, envelope.Identity{Key: self.Public()}, "two"), bad,
	}})
	var got []string
	for _, e := range out.Up {
		got = append(got, string(e.(envelope.Opened).Payload))
	}
	if want := []string{"one", "two"}; !slices.Equal(got, want) {
		t.Errorf("payloads: got %q, want %q", got, want)
	}
	if got, want := s.n.Stats(), (whisper.Stats{Opened: 2, Unfiltered: 1, Unopened: 2, Malformed: 2}); got != want {
		t.Errorf("stats: got %+v, want %+v", got, want)
	}
	out, err = s.n.FromBelow(t0, transport.Received{Envelopes: []transport.Envelope{bad}})
	if err == nil || len(out.Up) != 0 {
		t.Errorf("nothing but a malformed envelope: got %v and error %v, want an error", out, err)
	}
}

func TestPayloadsOfOneBundleDoNotShareMemory(t *testing.T) {
	s := opened(t)
	s.above(envelope.Listen{Filters: []envelope.Filter{filter("s", topicA, keyA)}})
	out := s.below(transport.Received{Envelopes: []transport.Envelope{
		carried(t, topicA, keyA, "first"), carried(t, topicA, keyA, "other"),
	}})
	s.below(transport.Received{Envelopes: []transport.Envelope{carried(t, topicA, keyA, "third")}})
	if a, b := out.Up[0].(envelope.Opened), out.Up[1].(envelope.Opened); string(a.Payload) != "first" || string(b.Payload) != "other" {
		t.Errorf("got %q and %q, want first and other", a.Payload, b.Payload)
	}
}

func TestNoVerbPrintsAKeyOfTheLayer(t *testing.T) {
	secret := envelope.KeyFromPassword("secret")
	s := opened(t)
	s.above(envelope.Listen{Filters: []envelope.Filter{filter("s", topicA, secret)}})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		got := strings.ToLower(fmt.Sprintf(verb, s.n))
		for _, leak := range []string{
			hex.EncodeToString(secret[:4]), fmt.Sprintf("%d %d %d", secret[0], secret[1], secret[2]),
			fmt.Sprintf("%#x, %#x, %#x", secret[0], secret[1], secret[2]), hex.EncodeToString(self.Secret()[:4]),
		} {
			if strings.Contains(got, leak) {
				t.Errorf("%s prints a key: %s", verb, got)
			}
		}
	}
}

func TestConfigReportsEveryFault(t *testing.T) {
	if err := whisper.DefaultConfig().Validate(); err != nil {
		t.Errorf("default: %v", err)
	}
	err := whisper.Config{MaxUnanswered: -1, MaxUnansweredBytes: 100}.Validate()
	for _, name := range []string{"max_unanswered:", "max_unanswered_bytes:", "max_filters:"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error: got %v, want it to name %s", err, name)
		}
	}
}
