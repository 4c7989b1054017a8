package whisper

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

// facts returns what the node remembers of an envelope, one text each, and
// checks that it is in order.
func facts(t testing.TB, n *Node, now time.Time, h transport.Hash) (list []string) {
	t.Helper()
	got := ups[transport.Explained](above(t, n, now, transport.Explain{Ref: layers.Ref{5}, Hash: h}))
	if len(got) != 1 || got[0].Ref != (layers.Ref{5}) || got[0].Hash != h {
		t.Fatalf("answer to Explain: %v", got)
	}
	if !slices.IsSortedFunc(got[0].Facts, func(a, b transport.Fact) int { return a.At.Compare(b.At) }) {
		t.Errorf("not in the order of time: %v", got[0].Facts)
	}
	for _, f := range got[0].Facts {
		who := ""
		if f.Peer != "" {
			who = " " + f.Peer[:2]
		}
		list = append(list, fmt.Sprintf("%v %s%s", f.At.Sub(t0), f.Deed, who))
	}
	return list
}

func expectFacts(t testing.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("facts\n %s\nwant\n %s", strings.Join(got, "\n "), strings.Join(want, "\n "))
	}
}

func TestLifeOfAnEnvelopeIsExplained(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	connect(t, n, t0, bob)
	above(t, n, t0, transport.Subscribe{Topics: []transport.Topic{chat}})
	above(t, n, t0, transport.Watch{Keeps: true})
	raw := sealed(t0, 15, chat, "x")
	h := hashOf(raw)
	expectFacts(t, facts(t, n, t0, h))
	mark := ups[transport.Admitted](below(t, n, t0.Add(time.Second), arrival(t, alice, raw)))[0].Mark
	connect(t, n, t0.Add(2*time.Second), carol)
	below(t, n, t0.Add(3*time.Second), arrival(t, carol, raw))
	above(t, n, t0.Add(4*time.Second), transport.Kept{Mark: mark})
	pooled := []string{"1s received 01", "1s pooled", "1s reported", "1s forwarded 02", "2s forwarded 03", "3s repeated 03"}
	expectFacts(t, facts(t, n, t0.Add(5*time.Second), h), append(slices.Clone(pooled), "4s archived")...)

	below(t, n, t0.Add(6*time.Second), overlay.Disconnected{Peer: alice})
	expectFacts(t, facts(t, n, t0.Add(16*time.Second), h), append(pooled, "16s expired")...)
}

func TestOwnEnvelopeIsExplained(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	out := above(t, n, t0, publish)
	payload := sends(out)[alice][codeMessages]
	h := ups[transport.Accepted](out)[0].Hash
	below(t, n, t0.Add(time.Second), incoming(t, alice, codeAcknowledged, encodeAcknowledged(hashOf(payload)).Payload))
	expectFacts(t, facts(t, n, t0, h), "0s published", "0s pooled", "0s forwarded 01", "1s confirmed 01")
}

func TestRefusalAndEvictionAreExplainedWithTheReason(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	old := mined(0.002, uint32(t0.Unix())-60, 10, chat, []byte("old"))
	below(t, n, t0, arrival(t, alice, old))
	got := ups[transport.Explained](above(t, n, t0, transport.Explain{Hash: hashOf(old)}))[0].Facts
	want := transport.Fact{At: t0.UTC(), Deed: transport.Rejected, Peer: alice.String(), Detail: "very old envelope"}
	if len(got) != 1 || got[0] != want {
		t.Errorf("facts %v, want %v", got, want)
	}

	n = opened(t, func(c *Config) {
		c.PoolBytes, c.MaxMessageSize, c.BundleBytes = 1<<20, 1<<18, 1<<18
		c.PoW, c.MinPoW = 0, 0
	})
	connect(t, n, t0, alice)
	first := EncodeEnvelope(Envelope{Expiry: uint32(t0.Unix()) + 3600, TTL: 3600, Data: make([]byte, 1<<17)})
	below(t, n, t0, arrival(t, alice, first))
	for i := range 10 {
		below(t, n, t0, arrival(t, alice, mined(0.0001, uint32(t0.Unix())+60, 60, chat, append(make([]byte, 1<<17), byte(i)))))
	}
	expectFacts(t, facts(t, n, t0, hashOf(first)), "0s received 01", "0s pooled", "0s evicted")
}

func TestPooledEnvelopeIsExplainedWhenItsFactsAreForgotten(t *testing.T) {
	n := opened(t, func(c *Config) { c.MinPoW, c.PoW = 0, 0 })
	connect(t, n, t0, alice)
	connect(t, n, t0, bob, Status{})
	raw := sealed(t0, 3600, chat, "x")
	below(t, n, t0, arrival(t, alice, raw))
	var batch [][]byte
	for i := range 2 * maxFacts {
		batch = append(batch, EncodeEnvelope(Envelope{Expiry: uint32(t0.Unix()) + 1, TTL: 1, Nonce: uint64(i)}))
	}
	below(t, n, t0, arrival(t, alice, batch...))
	expectFacts(t, facts(t, n, t0, hashOf(raw)), "0s pooled", "0s forwarded 01")
	if got := len(facts(t, n, t0, hashOf(batch[len(batch)-1]))); got != 2 {
		t.Errorf("%d facts about the last, want 2", got)
	}
	if got := facts(t, n, t0.Add(10*time.Second), hashOf(batch[0])); len(got) != 0 {
		t.Errorf("of one that is long gone: %v", got)
	}
}

func TestFactsAreBounded(t *testing.T) {
	var j journal
	for i := range 3*maxFacts + 5 {
		j.now = int64(i)
		j.fate(deedCame, transport.Hash{1}, nil)
		j.move(deedRepeated, &transport.Hash{1}, nil)
	}
	all := j.of(transport.Hash{1})
	if last := len(all) - 1; len(all) != 2*maxFacts || all[0].at != 2*maxFacts+5 || all[last].at != 3*maxFacts+4 {
		t.Errorf("%d facts from %d to %d, want the latest %d of both kinds", len(all), all[0].at, all[last].at, maxFacts)
	}
}
