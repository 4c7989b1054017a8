package whisper

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/internal/rlpwrite"
	"github.com/stratanode/strata/layers/transport/whisper/mail"
)

// An archive that has been filled with what no relay takes is asked by another
// one, which gets the rest.
func TestSyncBringsOnlyWhatTheRelayWouldHaveTaken(t *testing.T) {
	client, server, clientID, serverID, url := clientAndServer(t)

	query := transport.Query{Ref: layers.Ref{1}, From: t0.Add(-time.Hour), Server: url, Sync: true}
	out := above(t, client, t0, query)
	if got := codes(out, serverID); !slices.Equal(got, []uint64{mail.CodeSyncRequest}) {
		t.Fatalf("sent %v", got)
	}
	asked := ups[transport.Asked](pass(t, out, server, serverID, clientID))
	if len(asked) != 1 || !asked[0].Sync || asked[0].Bloom != nil || !asked[0].To.Equal(t0) {
		t.Fatalf("asked %+v", asked)
	}
	now := uint32(t0.Unix())
	good := decoded(t, mined(statusPoW, now-600, 10, chat, []byte("good")))
	page := transport.Page{Ask: asked[0].Ask, Last: true, Envelopes: []transport.Envelope{good.whole(0)}}
	bad := [][]byte{
		EncodeEnvelope(Envelope{Expiry: now, TTL: 100, Topic: chat, Data: make([]byte, 1000)}), // too little work
		mined(statusPoW, now-7200, 10, chat, []byte("old")),
		mined(statusPoW, now+600, 10, chat, []byte("future")),
		mined(0, now-600, 0, chat, []byte("endless")),
		EncodeEnvelope(Envelope{Expiry: now - 600 + 3*86400, TTL: 3 * 86400, Topic: chat}), // lives too long
	}
	for _, raw := range bad {
		e := decoded(t, raw)
		page.Envelopes = append(page.Envelopes, e.whole(0))
	}
	var up output
	for out = above(t, server, t0, page); len(out.Down) > 0; out = below(t, server, t0, overlay.Written{Peer: clientID}) {
		up.Add(pass(t, out, client, clientID, serverID))
	}
	history := ups[transport.History](up)
	if len(history) != 1 || len(history[0].Envelopes) != 1 || string(history[0].Envelopes[0].Data) != "good" || len(history[0].Envelopes[0].Raw) == 0 {
		t.Errorf("%d histories, want one of one envelope", len(history))
	}
	if end := ups[transport.Queried](up); len(end) != 1 || end[0].Ref != query.Ref || end[0].End != transport.QueryDone || end[0].Count != 1 {
		t.Errorf("end %+v", end)
	}
	if len(ups[transport.Received](up))+len(ups[transport.Admitted](up)) > 0 {
		t.Errorf("a sync is no relaying: %+v", up.Up)
	}
	expectFacts(t, facts(t, client, t0, good.Hash), "0s fetched "+serverID.String()[:2])
	for _, e := range page.Envelopes[1:] {
		expectFacts(t, facts(t, client, t0, e.Hash))
	}
}

func TestSyncIsAnsweredWhileItIsAskedForOnly(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	e := decoded(t, mined(statusPoW, uint32(t0.Unix())-60, 10, chat, []byte("unasked")))
	answer := mail.SyncResponse{Envelopes: []transport.Envelope{e.whole(0)}, Final: true}.Encode().Payload
	for range 2 {
		if out := below(t, n, t0, incoming(t, alice, mail.CodeSyncResponse, answer)); len(out.Up)+len(out.Down) > 0 {
			t.Errorf("unasked: %+v", out)
		}
		expectFacts(t, facts(t, n, t0, e.Hash))
		above(t, n, t0, transport.Query{From: t0.Add(-time.Hour), Server: alice.String(), Sync: true, Ref: layers.Ref{1}})
		above(t, n, t0, transport.Cancel{Ref: layers.Ref{1}})
	}
}

func TestWorkOfEveryEnvelopeOfASyncIsComputed(t *testing.T) {
	for n := range 3*weighAtOnce + 2 {
		var m mail.SyncResponse
		var want []float64
		for i := range n {
			e := Envelope{Expiry: uint32(t0.Unix()), TTL: uint32(i % 5), Topic: chat, Data: fmt.Appendf(nil, "%*d", 1+i*37%600, i), Nonce: uint64(i)}
			m.Envelopes = append(m.Envelopes, transport.Envelope{Raw: EncodeEnvelope(e)})
			want = append(want, e.PoW(0))
		}
		got := incoming(t, alice, mail.CodeSyncResponse, m.Encode().Payload).Packet.(mail.SyncResponse).Envelopes
		if len(got) != n {
			t.Fatalf("%d envelopes, want %d", len(got), n)
		}
		for i, e := range got {
			if e.PoW != want[i] || e.Hash != layers.Keccak256(e.Raw) || math.IsInf(e.PoW, 0) != (e.TTL == 0) {
				t.Errorf("%d of %d: work %v, want %v", i, n, e.PoW, want[i])
			}
		}
	}
}

func TestDamagedSyncResponseIsAnError(t *testing.T) {
	codec := NewCodec(DefaultConfig())
	good := sealed(t0, 15, chat, "x")
	answer := func(envelopes []byte, rest ...byte) []byte {
		return rlpwrite.List(nil, append(slices.Clone(envelopes), rest...))
	}
	if _, err := codec.Decode(t0, mail.CodeSyncResponse, answer(payloadOf(good, good), 0x80, 0x80, 0x80)); err != nil {
		t.Fatalf("an honest one: %v", err)
	}
	for name, payload := range map[string][]byte{
		"no list":               {0x80},
		"nothing":               nil,
		"an empty list":         {0xc0},
		"a length beyond":       {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"no list of envelopes":  answer([]byte{0x80}, 0x80, 0x80, 0x80),
		"a bare envelope":       answer(good, 0x80, 0x80, 0x80),
		"one bad envelope":      answer(payloadOf(good, []byte{0xc1, 0x80}, good), 0x80, 0x80, 0x80),
		"too many envelopes":    answer(payloadOf(slices.Repeat([]byte{0xc0}, maxEnvelopes+1)), 0x80, 0x80, 0x80),
		"three items":           answer([]byte{0xc0}, 0x80, 0x80),
		"five items":            answer([]byte{0xc0}, 0x80, 0x80, 0x80, 0x80),
		"a cursor that is list": answer([]byte{0xc0}, 0xc0, 0x80, 0x80),
		"final is 2":            answer([]byte{0xc0}, 0x80, 0x02, 0x80),
		"the error is a list":   answer([]byte{0xc0}, 0x80, 0x01, 0xc0),
		"above the limit":       make([]byte, 1<<20+1),
	} {
		if p, err := codec.Decode(t0, mail.CodeSyncResponse, payload); err == nil || p != nil {
			t.Errorf("%s: %v, %v, want an error", name, p, err)
		}
	}
}

func TestMailHalfKnowsTheRulesOfTheRelay(t *testing.T) {
	n := opened(t, func(c *Config) { c.MaxTTL = time.Hour })
	work, size := 0.001, 8192
	above(t, n, t0, transport.Set{MinPoW: &work, MaxMessage: &size})
	if s := n.mailSettings(); s.MaxTTL != time.Hour || s.Skew != 10*time.Second || s.MinPoW != work || s.MaxMessage != size {
		t.Errorf("settings %+v", s)
	}
}

func BenchmarkDecodeSyncResponse(b *testing.B) {
	var m mail.SyncResponse
	for i := range transport.MaxPage {
		raw := EncodeEnvelope(Envelope{Expiry: uint32(t0.Unix()), TTL: 10, Topic: chat, Data: fmt.Appendf(nil, "%500d", i)})
		m.Envelopes = append(m.Envelopes, transport.Envelope{Raw: raw})
	}
	payload := m.Encode().Payload
	codec := NewCodec(DefaultConfig())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := codec.Decode(t0, mail.CodeSyncResponse, payload); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*transport.MaxPage)/b.Elapsed().Seconds(), "envelopes/s")
}
