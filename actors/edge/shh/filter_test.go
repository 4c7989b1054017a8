package shh

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	sealing "github.com/stratanode/strata/layers/envelope/whisper"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
)

var (
	topicA = transport.Topic{0xcd, 0x42, 0x37, 0x60}
	topicB = transport.Topic{1, 2, 3, 4}
	alice  = pairOf(1)
	bob    = pairOf(2)
)

func pairOf(b byte) layers.PrivateKey {
	key, err := layers.ParsePrivateKey(slices.Repeat([]byte{b}, 32))
	if err != nil {
		panic(err)
	}
	return key
}

func symOf(b byte) (k envelope.SymKey) {
	copy(k[:], slices.Repeat([]byte{b}, 32))
	return k
}

// sealed is an envelope that a peer sent.
func sealed(l letter, payload string) transport.Envelope {
	return sealedWith(l, payload, 0.01)
}

func sealedWith(l letter, payload string, pow float64) transport.Envelope {
	data, err := l.seal([]byte(payload), nil)
	if err != nil {
		panic(err)
	}
	s := whisper.NewSearch(whisper.Draft{Expiry: 1_577_836_850, TTL: 50, Topic: l.topic, Data: data}, pow)
	nonce, found := s.Try(0, 1<<24)
	if !found {
		panic("no nonce")
	}
	raw, _ := s.Seal(nonce)
	return carried(raw)
}

// history is an envelope of a peer that is asked for its archive.
func history(e transport.Envelope) transport.History {
	e.PoW = 0
	return transport.History{Envelopes: []transport.Envelope{e}}
}

func TestMessageHasTheFieldsOfGoEthereum(t *testing.T) {
	r, c := running(t, nil)
	sym := must[string](t, c, "shh_addSymKey", hexOf("0a", 32))
	pair := must[string](t, c, "shh_addPrivateKey", "0x"+fmt.Sprintf("%x", bob.Secret()))
	toSym := must[string](t, c, "shh_newMessageFilter", obj{"symKeyID": sym, "topics": []string{"0xcd423760"}})
	toPair := must[string](t, c, "shh_newMessageFilter", obj{"privateKeyID": pair})
	for _, tt := range []struct {
		name   string
		filter string
		letter letter
		signed bool
	}{
		{"symmetric, signed", toSym, letter{from: alice, sym: symOf(10), topic: topicA}, true},
		{"symmetric", toSym, letter{sym: symOf(10), topic: topicA}, false},
		{"asymmetric, signed", toPair, letter{from: alice, to: bob.Public(), topic: topicB}, true},
		{"asymmetric", toPair, letter{to: bob.Public()}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := sealed(tt.letter, "hello")
			r.fake.admit(e)
			var got map[string]any
			until(t, func() bool {
				list := must[[]map[string]any](t, c, "shh_getFilterMessages", tt.filter)
				if len(list) == 1 {
					got = list[0]
				}
				return got != nil
			})
			want := map[string]any{
				"ttl": 50.0, "timestamp": 1577836800.0, "topic": "0x" + tt.letter.topic.String(),
				"payload": "0x68656c6c6f", "pow": e.PoW, "hash": e.Hash.String(), "padding": got["padding"],
			}
			if tt.signed {
				want["sig"] = alice.Public().String()
			}
			if tt.letter.sym == (envelope.SymKey{}) {
				want["recipientPublicKey"] = bob.Public().String()
			}
			if !maps.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			if n := sealing.PaddingLen(5, tt.signed); len(got["padding"].(string)) != 2+2*n {
				t.Errorf("padding %v, want %d bytes", got["padding"], n)
			}
		})
	}
}

func TestFiltersAreRefusedInTheKnownWords(t *testing.T) {
	r, c := running(t, nil)
	sym, pair := must[string](t, c, "shh_newSymKey"), must[string](t, c, "shh_newKeyPair")
	zero := must[string](t, c, "shh_addSymKey", hexOf("00", 32))
	good := obj{"symKeyID": sym, "topics": []string{"0xcd423760"}}
	many := make([]string, maxTopics+1)
	for i := range many {
		many[i] = fmt.Sprintf("0x%08x", i)
	}
	for _, tt := range []struct {
		name       string
		criteria   obj
		poll, push string // empty: none
	}{
		{"good", good, "", ""},
		{"no key", obj{"topics": good["topics"]}, "specify either a symmetric or an asymmetric key", "specify either a symmetric or an asymmetric key"},
		{"two keys", good.with("privateKeyID", pair), "specify either a symmetric or an asymmetric key", "specify either a symmetric or an asymmetric key"},
		{"bad signer", good.with("sig", "0x0401"), "invalid signing public key", "invalid signing public key"},
		{"unknown symmetric key", good.with("symKeyID", "x"), "non-existent key ID", "non-existent key ID"},
		{"zero symmetric key", good.with("symKeyID", zero), "invalid symmetric key", "invalid symmetric key"},
		{"unknown key pair", obj{"privateKeyID": "x"}, "invalid id", "invalid public key"},
		{"symmetric without topic", obj{"symKeyID": sym}, "", "missing topic(s)"},
		{"asymmetric without topic", obj{"privateKeyID": pair}, "", ""},
		{"too many topics", good.with("topics", many), "shh: 1025 topics are more than 1024", "shh: 1025 topics are more than 1024"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.poll == "" {
				must[string](t, c, "shh_newMessageFilter", tt.criteria)
			} else {
				fails(t, c, tt.poll, "shh_newMessageFilter", tt.criteria)
			}
			ch := make(chan json.RawMessage, 1)
			sub, err := c.Subscribe(t.Context(), Namespace, ch, "messages", tt.criteria)
			text := ""
			if err != nil {
				text = err.Error()
			} else {
				sub.Unsubscribe()
			}
			if text != tt.push {
				t.Errorf("subscription: got error %q, want %q", text, tt.push)
			}
		})
	}
	until(t, func() bool { return r.api.Report().Subscriptions == 0 })
	if n := r.api.Report().Filters; n != 3 {
		t.Errorf("%d filters are left, want the 3 that were made", n)
	}
}

// table is what an envelope is matched by, without actors.
type table struct {
	*testing.T
	api *API
	o   opener
	of  map[string]*filter
}

func newTable(t *testing.T, change func(*Config)) *table {
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	api := New(cfg, quiet)
	t.Cleanup(api.filters.unwind)
	return &table{t, api, opener{api: api}, map[string]*filter{}}
}

func (tb *table) add(name string, f filter, key keyed) {
	tb.Helper()
	if err := tb.api.filters.add(&f, key); err != nil {
		tb.Fatal(err)
	}
	tb.of[name] = &f
}

// takers opens an envelope and returns which filters have it, sorted.
func (tb *table) takers(e transport.Envelope, direct bool) (names []string) {
	if direct {
		e.PoW = 0
	}
	tb.o.open(&waiting{e, direct})
	for name, f := range tb.of {
		if len(tb.api.filters.drain(f)) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func TestEnvelopesReachTheFiltersWhoseTheyAre(t *testing.T) {
	tb := newTable(t, nil)
	k1, k2, toBob := keyed{sym: symOf(1)}, keyed{sym: symOf(2)}, keyed{private: bob}
	inA, inBoth := []transport.Topic{topicA}, []transport.Topic{topicA, topicB}
	tb.add("a1", filter{topics: inA}, k1)
	tb.add("a1 again", filter{topics: inA}, k1)
	tb.add("a2", filter{topics: inA}, k2)
	tb.add("ab1", filter{topics: inBoth}, k1)
	tb.add("all1", filter{}, k1)
	tb.add("bob", filter{}, toBob)
	tb.add("bob in a", filter{topics: inA}, toBob)
	tb.add("of alice", filter{topics: inA, from: alice.Public()}, k1)
	tb.add("of bob", filter{topics: inA, from: bob.Public()}, k1)
	tb.add("hard", filter{topics: inA, minPoW: 1}, k1)
	tb.add("direct", filter{topics: inA, direct: true}, k1)
	tb.add("direct hard", filter{topics: inA, direct: true, minPoW: 1}, k1)

	one := letter{sym: symOf(1), topic: topicA}
	for _, tt := range []struct {
		name   string
		e      transport.Envelope
		direct bool
		want   []string
	}{
		{"a1", sealed(one, "x"), false, []string{"a1", "a1 again", "ab1", "all1", "direct"}},
		{"a1 of alice", sealed(letter{alice, symOf(1), layers.PublicKey{}, topicA}, "x"), false, []string{"a1", "a1 again", "ab1", "all1", "direct", "of alice"}},
		{"a2", sealed(letter{sym: symOf(2), topic: topicA}, "x"), false, []string{"a2"}},
		{"b1", sealed(letter{sym: symOf(1), topic: topicB}, "x"), false, []string{"ab1", "all1"}},
		{"b2", sealed(letter{sym: symOf(2), topic: topicB}, "x"), false, nil},
		{"to bob", sealed(letter{to: bob.Public(), topic: topicB}, "x"), false, []string{"bob"}},
		{"to bob in a", sealed(letter{to: bob.Public(), topic: topicA}, "x"), false, []string{"bob", "bob in a"}},
		{"to alice", sealed(letter{to: alice.Public(), topic: topicA}, "x"), false, nil},
		{"unknown key", sealed(letter{sym: symOf(9), topic: topicA}, "x"), false, nil},
		{"hard work", sealedWith(one, "x", 1), false, []string{"a1", "a1 again", "ab1", "all1", "direct", "direct hard", "hard"}},
		{"direct", sealed(one, "x"), true, []string{"direct"}},
		{"direct, hard work", sealedWith(one, "x", 1), true, []string{"direct", "direct hard"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tb.takers(tt.e, tt.direct); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("direct, work not known", func(t *testing.T) {
		e := sealed(one, "x")
		e.Raw = nil
		if got, want := tb.takers(e, true), []string{"direct", "direct hard"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// go-ethereum asks one filter after the other, as a map gives them, and stops at
// the first key that fits; each attempt costs as much.
func TestEachKeyIsTriedOnce(t *testing.T) {
	tb := newTable(t, nil)
	for i := range 20 {
		tb.add(fmt.Sprint("x", i), filter{topics: []transport.Topic{topicA}}, keyed{sym: symOf(1)})
		tb.add(fmt.Sprint("y", i), filter{topics: []transport.Topic{topicA}}, keyed{sym: symOf(2)})
	}
	if n := len(tb.api.filters.locks); n != 2 {
		t.Errorf("%d locks, want one for each key", n)
	}
	if got := tb.takers(sealed(letter{sym: symOf(2), topic: topicA}, "m"), false); len(got) != 20 || got[0] != "y0" {
		t.Errorf("got %q", got)
	}
	if got := tb.api.counts.opened.Load(); got != 1 {
		t.Errorf("opened %d times", got)
	}
	for _, f := range tb.of {
		tb.api.filters.end(f)
	}
	if n := len(tb.api.filters.locks) + len(tb.api.filters.byTopic) + len(tb.api.filters.byID); n != 0 {
		t.Errorf("%d entries are left of removed filters", n)
	}
}

func TestMalformedMessagesReachNobodyAndEndNothing(t *testing.T) {
	tb := newTable(t, nil)
	tb.add("x", filter{direct: true}, keyed{sym: symOf(1)})
	tb.add("bob", filter{direct: true}, keyed{private: bob})
	k := symOf(1)
	for _, plaintext := range [][]byte{{1}, {3, 1}, {4}, {1, 9, 0}, {5, 0}} {
		data, err := sealing.SealSymmetric(k, [12]byte{1}, plaintext)
		if err != nil {
			t.Fatal(err)
		}
		if got := tb.takers(transport.Envelope{Hash: transport.Hash{1}, Data: data}, false); got != nil {
			t.Errorf("%x: taken by %q", plaintext, got)
		}
	}
	if got := tb.api.counts.malformed.Load(); got != 5 {
		t.Errorf("%d malformed, want 5", got)
	}
	for n := range 130 { // too short for either form
		tb.takers(transport.Envelope{Data: slices.Repeat([]byte{4}, n), Raw: make([]byte, n)}, n%2 == 0)
	}
}

// One such envelope ended every node of 2020 that listened with a key pair: the
// MAC is right, and what it covers is shorter than the iv that it begins with.
func TestPoisonedEnvelopeEndsNothing(t *testing.T) {
	tb := newTable(t, nil)
	tb.add("bob", filter{direct: true}, keyed{private: bob})
	shared, err := alice.Shared(bob.Public())
	if err != nil {
		t.Fatal(err)
	}
	k := sha256.Sum256(append([]byte{0, 0, 0, 1}, shared[:]...))
	authentication := sha256.Sum256(k[16:])
	point := alice.Public()
	for n := range 17 {
		mac := hmac.New(sha256.New, authentication[:])
		mac.Write(make([]byte, n))
		data := mac.Sum(append(bytes.Clone(point[:]), make([]byte, n)...))
		for _, direct := range []bool{false, true} {
			if got := tb.takers(transport.Envelope{Hash: transport.Hash{byte(n)}, Data: data}, direct); got != nil {
				t.Errorf("body of %d bytes: taken by %q", n, got)
			}
		}
	}
	if got := tb.api.counts.malformed.Load(); got != 0 {
		t.Errorf("%d were opened, or broke the opener", got)
	}
	honest := letter{to: bob.Public(), topic: topicA}
	if got := tb.takers(sealed(honest, "x"), false); len(got) != 1 {
		t.Errorf("the next honest one: taken by %q", got)
	}
}

func TestHistoryReachesFiltersThatAllowIt(t *testing.T) {
	r, c := running(t, nil)
	sym := must[string](t, c, "shh_addSymKey", hexOf("01", 32))
	criteria := obj{"symKeyID": sym, "topics": []string{"0xcd423760"}, "minPow": 0.005}
	allowing := must[string](t, c, "shh_newMessageFilter", criteria.with("allowP2P", true))
	other := must[string](t, c, "shh_newMessageFilter", criteria)
	e := sealed(letter{sym: symOf(1), topic: topicA}, "old")
	r.fake.up(history(e))
	r.fake.up(history(e))
	if m := polled(t, c, allowing, 1)[0]; string(m.Payload) != "old" || m.PoW != e.PoW {
		t.Errorf("got %q with proof of work %v, want %v", m.Payload, m.PoW, e.PoW)
	}
	if m := must[[]Message](t, c, "shh_getFilterMessages", other); len(m) != 0 {
		t.Errorf("%d messages for a filter that does not allow it", len(m))
	}
}

func TestRepeatedEnvelopesAreNotReportedAgain(t *testing.T) {
	r, c := running(t, nil)
	sym := must[string](t, c, "shh_addSymKey", hexOf("01", 32))
	id := must[string](t, c, "shh_newMessageFilter", obj{"symKeyID": sym, "topics": []string{"0xcd423760"}})
	one, two := sealed(letter{sym: symOf(1), topic: topicA}, "1"), sealed(letter{sym: symOf(1), topic: topicA}, "2")
	one.Sent, two.Sent = time.Now(), time.Now()
	r.fake.admit(one)
	polled(t, c, id, 1)
	// A further Watch makes the transport repeat what it holds.
	r.fake.up(transport.Admitted{Mark: r.fake.mark, Envelopes: []transport.Envelope{one}})
	r.fake.admit(two)
	if m := polled(t, c, id, 1)[0]; string(m.Payload) != "2" {
		t.Errorf("got %q again", m.Payload)
	}
	// After an archive has asked again, even with higher marks.
	r.fake.admit(one, two)
	// Another transport begins to count anew.
	r.fake.up(transport.Ready{Info: transport.Info{Name: "other"}})
	three := sealed(letter{sym: symOf(1), topic: topicA}, "3")
	r.fake.up(transport.Admitted{Mark: 1, Envelopes: []transport.Envelope{three}})
	if m := polled(t, c, id, 1)[0]; string(m.Payload) != "3" { // the first again would come before it
		t.Errorf("got %q", m.Payload)
	}
}

func TestTopicsOfFiltersArePartOfTheInterest(t *testing.T) {
	r, c := running(t, nil)
	sym, pair := must[string](t, c, "shh_newSymKey"), must[string](t, c, "shh_newKeyPair")
	in := func(topics ...string) {
		must[string](t, c, "shh_newMessageFilter", obj{"symKeyID": sym, "topics": topics})
	}
	last := func(n int, want ...transport.Topic) {
		t.Helper()
		all := wait[transport.Watch](t, r.fake, n)
		w := all[len(all)-1]
		if len(all) != n || !slices.Equal(w.Topics, want) || w.Keeps || w.Serves {
			t.Errorf("%d watches, the last %+v; want %d and %v", len(all), w, n, want)
		}
	}
	n := len(of[transport.Watch](r.fake))
	last(n)
	in("0xcd423760")
	last(n+1, topicA)
	in("0xcd423760", "0xcd423760") // nothing new
	must[string](t, c, "shh_newMessageFilter", obj{"privateKeyID": pair})
	in("0x01020304", "0xcd423760")
	last(n+2, topicB, topicA)
	r.fake.up(transport.Ready{Info: r.fake.info})
	last(n+3, topicB, topicA)
}

func TestPolledMessagesComeInTheOrderOfArrivalAndOnce(t *testing.T) {
	r, c := running(t, nil)
	sym := must[string](t, c, "shh_addSymKey", hexOf("01", 32))
	id := must[string](t, c, "shh_newMessageFilter", obj{"symKeyID": sym, "topics": []string{"0xcd423760"}})
	if got := must[json.RawMessage](t, c, "shh_getFilterMessages", id); string(got) != "[]" {
		t.Errorf("an empty filter gives %s", got)
	}
	var want []string
	for i := range 50 {
		want = append(want, fmt.Sprint(i))
		r.fake.admit(sealed(letter{sym: symOf(1), topic: topicA}, want[i]))
	}
	var got []string
	for _, m := range polled(t, c, id, 50) {
		got = append(got, string(m.Payload))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if !must[bool](t, c, "shh_deleteMessageFilter", id) {
		t.Error("the filter was not deleted")
	}
	fails(t, c, "filter not found", "shh_getFilterMessages", id)
	if rep := r.api.Report(); rep.Filters != 0 || rep.StoredBytes != 0 || rep.Opened != 50 {
		t.Errorf("left: %+v", rep)
	}
}
