package mail

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

func TestFormFollowsTheNameOfTheServer(t *testing.T) {
	for name, want := range map[string]layout{
		"Statusd/v0.40.0/linux-amd64/go1.13":        layoutRLP7,
		"Statusd/v0.41.1-beta/linux":                layoutRLP7,
		"Statusd/v1.2.0/linux":                      layoutRLP7,
		"Statusd/v0.39.11/linux-amd64/go1.13":       layoutRLP6,
		"StatusIM/v0.34.0-beta.3/linux-amd64/go1.1": layoutRLP6,
		"statusd/fleet/v0.23/linux":                 layoutRLP6,
		"Statusd":                                   layoutRLP7,
		"Statusd/v/x.y":                             layoutRLP7,
		"Geth/v1.9.20/linux":                        layoutRLP7,
		"Strata/v0.3.0":                             layoutRLP7,
		"":                                          layoutRLP7,
	} {
		s := newIdentity(t, 1)
		p := newClient(t, s)
		p.Connected(t0, s.connected(name))
		q := readRequest(t, s.key, p.Query(t0, askFor(1)))
		if q.layout != want {
			t.Errorf("%q is asked in form %d, want %d", name, q.layout, want)
		}
		strata := strings.HasPrefix(name, "Strata")
		if (len(q.topics) == 1) != strata {
			t.Errorf("%q is told the topics %v", name, q.topics)
		}
		if wantLimit := map[bool]uint32{true: transport.MaxPage, false: pageLimit}[strata]; q.limit != wantLimit {
			t.Errorf("%q is asked for %d envelopes, want %d", name, q.limit, wantLimit)
		}
		if !bytes.Equal(q.bloom, bloomOf([]transport.Topic{chat})) || q.from != seconds(t0.Add(-time.Hour)) || q.to != seconds(t0) || !q.batch {
			t.Errorf("request %+v", q)
		}
	}
}

func TestMisreadRequestIsPutInAnotherForm(t *testing.T) {
	tests := []struct {
		name, reason string
		want         []form // after the first, RLP-7 with the password
	}{
		{"other number of fields", "query range is invalid: from > to (4165960798 > 177176708)", []form{{layoutRLP6, false}}},
		{"too short for it", "Undersized p2p request", []form{{layoutRLP6, false}}},
		{"other password", "failed to decrypt p2p request", []form{{layoutRLP7, true}}},
		{"too little work", "PoW() is too low", []form{{layoutPlain, false}}},
		{"signature", "wrong signature of p2p request", []form{{layoutPlain, false}}},
		{"understood", "rate limit exceeded", nil},
		{"understood and refused", "request is invalid: limit exceeds the maximum allowed value", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newIdentity(t, 1)
			p := newClient(t, s)
			p.Connected(t0, s.connected("x"))
			id := idOf(t, p.Query(t0, askFor(1)))
			o := p.Packet(t0, s.id, Complete{Request: id, Failed: true, Reason: tt.reason})
			if tt.want == nil {
				if e := only[transport.Queried](t, o); e.End != transport.QueryRefused || e.Reason != tt.reason || len(o.Packets) > 0 {
					t.Errorf("got %+v", e)
				}
				return
			}
			q := p.current(s.id)
			if last := q.attempts[len(q.attempts)-1].form; last != tt.want[0] || len(all[transport.Queried](o)) > 0 {
				t.Errorf("asked again in form %+v, want %+v", last, tt.want[0])
			}
			if got := readRequest(t, s.key, o).layout; got != tt.want[0].layout {
				t.Errorf("sent in form %d", got)
			}
		})
	}
}

func TestSilenceTriesEveryFormOnceAndThenEnds(t *testing.T) {
	s := newIdentity(t, 1)
	p := newClient(t, s)
	p.Connected(t0, s.connected("x"))
	now := t0
	o := p.Query(now, askFor(1))
	var forms []layout
	for len(all[transport.Queried](o)) == 0 {
		forms = append(forms, readRequest(t, s.key, o).layout)
		if early := p.Wake(o.Wake.Add(-1)); len(early.Up)+len(early.Packets) > 0 {
			t.Fatalf("an early wake does %+v", early)
		}
		now = o.Wake
		o = p.Wake(now)
	}
	if want := []layout{layoutRLP7, layoutRLP6, layoutRLP7, layoutRLP6, layoutPlain}; !slices.Equal(forms, want) {
		t.Errorf("forms %v, want %v", forms, want)
	}
	if e := only[transport.Queried](t, o); e.End != transport.QueryTimeout || e.Reason != "silent for 10s" {
		t.Errorf("got %+v", e)
	}
	if now.Sub(t0) != 50*time.Second {
		t.Errorf("ended after %v", now.Sub(t0))
	}
}

func TestServerIsAskedAsItLastAnswered(t *testing.T) {
	s := newIdentity(t, 1)
	p := newClient(t, s)
	p.Connected(t0, s.connected("x"))
	id := idOf(t, p.Query(t0, askFor(1)))
	o := p.Packet(t0, s.id, Complete{Request: id, Failed: true, Reason: "rlp: too few elements"})
	p.Packet(t0, s.id, Complete{Request: idOf(t, o)})
	o = p.Query(t0, askFor(2))
	if q := readRequest(t, s.key, o); q.layout != layoutRLP6 {
		t.Errorf("asked in form %d, want %d", q.layout, layoutRLP6)
	}
	// It is known to understand, so its silence is one.
	if e := only[transport.Queried](t, p.Wake(o.Wake)); e.End != transport.QueryTimeout {
		t.Errorf("got %+v", e)
	}
}

func TestLateAnswerToAnEarlierFormCounts(t *testing.T) {
	s := newIdentity(t, 1)
	p := newClient(t, s)
	p.Connected(t0, s.connected("x"))
	o := p.Query(t0, askFor(1))
	first := idOf(t, o)
	p.Wake(o.Wake)
	if o := p.Packet(t0, s.id, Complete{Request: first, Failed: true, Reason: "rlp"}); len(o.Up) > 0 || len(o.Packets) > 0 {
		t.Errorf("a late error does %+v", o)
	}
	if e := only[transport.Queried](t, p.Packet(t0, s.id, Complete{Request: first})); e.End != transport.QueryDone {
		t.Errorf("got %+v", e)
	}
}

func TestWithoutASealerRequestsAreInClear(t *testing.T) {
	s := newIdentity(t, 1)
	cfg := DefaultConfig()
	cfg.Servers = []string{s.url}
	p := New(cfg, settings(), nil, newEntropy(1))
	p.Connected(t0, s.connected("x"))
	if m, ok := sent(t, p.Query(t0, askFor(1))).(PlainRequest); !ok || m.Limit != pageLimit || len(m.Bloom) != bloomSize {
		t.Errorf("sent %+v", m)
	}
	// The same if no envelope can be made.
	failing := settings()
	failing.Make = func(time.Time, transport.Topic, []byte) ([]byte, transport.Hash, error) {
		return nil, transport.Hash{}, errors.New("no")
	}
	p = newClient(t, s)
	p.Settle(failing)
	p.Connected(t0, s.connected("x"))
	if m, ok := sent(t, p.Query(t0, askFor(1))).(PlainRequest); !ok {
		t.Errorf("sent %T", m)
	}
}

func TestErrorAfterEnvelopesIsNoMisreading(t *testing.T) {
	s := newIdentity(t, 1)
	p := newClient(t, s)
	p.Connected(t0, s.connected("x"))
	id := idOf(t, p.Query(t0, askFor(1)))
	deliver(p, s, made(chat, t0.Add(-time.Minute), "x"))
	o := p.Packet(t0, s.id, Complete{Request: id, Failed: true, Reason: "rlp: disk"})
	if e := only[transport.Queried](t, o); e.End != transport.QueryRefused || e.Count != 1 || len(o.Packets) > 0 {
		t.Errorf("got %+v", e)
	}
}
