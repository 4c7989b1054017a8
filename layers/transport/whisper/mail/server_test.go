package mail

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope/whisper"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

// good is a request that any server takes.
func good() request {
	return request{from: seconds(t0.Add(-time.Hour)), to: seconds(t0), bloom: bloomOf([]transport.Topic{chat}), limit: 10, batch: true}
}

// enveloped puts contents into a request envelope sealed with the password.
func enveloped(t *testing.T, contents []byte) Request {
	t.Helper()
	data, err := (&sealer{key(t, 100), passwordKey, newEntropy(7)}).Seal(layers.PublicKey{}, contents)
	if err != nil {
		t.Fatal(err)
	}
	raw, _, err := make0(t0, transport.Topic{}, data)
	if err != nil {
		t.Fatal(err)
	}
	e, err := parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	e.PoW = 1
	return Request{e, len(raw)}
}

// plain is a request in clear with an id of its own.
func plain(n byte) PlainRequest {
	q := good()
	return PlainRequest{ID: transport.Hash{n}, From: q.from, To: q.to, Limit: q.limit, Bloom: q.bloom}
}

// serving is a server with one client linked.
func serving(t *testing.T) (*Post, identity) {
	t.Helper()
	p := newServer(t, newIdentity(t, 1))
	client := newIdentity(t, 2)
	p.Connected(t0, client.connected("x"))
	return p, client
}

func wantError(t *testing.T, o Out, request transport.Hash, reason string) {
	t.Helper()
	c, ok := sent(t, o).(Complete)
	if !ok || !c.Failed || c.Request != request || c.Reason != reason {
		t.Errorf("answered %+v, want the error %q", c, reason)
	}
	if len(all[transport.Asked](o)) > 0 {
		t.Error("and asked")
	}
}

func TestRequestIsAskedAndAnsweredPageByPage(t *testing.T) {
	p, client := serving(t)
	q := good()
	q.layout, q.topics, q.cursor = layoutRLP7, []transport.Topic{chat}, bytes.Repeat([]byte{3}, cursorSize)
	m := enveloped(t, q.encode())
	a := only[transport.Asked](t, p.Packet(t0, client.id, m))
	if a.Peer != client.id.String() || a.Address.String() != "127.0.0.1" || !a.From.Equal(t0.Add(-time.Hour)) || !a.To.Equal(t0) ||
		!slices.Equal(a.Topics, q.topics) || a.Bloom == nil || !bytes.Equal(a.Bloom[:], q.bloom) || a.Limit != 10 ||
		!bytes.Equal(a.Cursor, q.cursor) || a.Sync || a.Ask != uint64(t0.UnixNano()) {
		t.Errorf("asked %+v", a)
	}
	one, two, three := made(chat, t0, "1"), made(chat, t0, "2"), made(chat, t0, "3")
	o := p.Page(t0, transport.Page{Ask: a.Ask, Envelopes: []transport.Envelope{one, two}})
	if d := sent(t, o).(Delivery); !equalHashes(d.Envelopes, []transport.Envelope{one, two}) || !o.Packets[0].Tell || len(o.Up) > 0 {
		t.Errorf("delivered %+v", o)
	}
	if e := only[transport.Taken](t, p.Written(t0, client.id)); e.Ask != a.Ask {
		t.Errorf("taken %+v", e)
	}
	if o := p.Written(t0, client.id); len(o.Up) > 0 {
		t.Errorf("taken again: %+v", o.Up)
	}
	cursor := bytes.Repeat([]byte{4}, cursorSize)
	o = p.Page(t0, transport.Page{Ask: a.Ask, Envelopes: []transport.Envelope{three}, Last: true, Cursor: cursor})
	if len(o.Packets) != 2 || o.Packets[0].Tell || !o.Packets[1].Tell || !bytes.Equal(o.Packets[0].Packet.Payload, three.Raw) {
		t.Fatalf("sent %+v, want a bare envelope and the end", o.Packets)
	}
	c := decode(t, o.Packets[1].Packet).(Complete)
	if c.Request != m.Envelope.Hash || c.Last != three.Hash || !bytes.Equal(c.Cursor, cursor) || c.Failed {
		t.Errorf("ended by %+v", c)
	}
	if o := p.Written(t0, client.id); len(o.Up) > 0 {
		t.Errorf("after the last page: %+v", o.Up)
	}
	if o := p.Page(t0, transport.Page{Ask: a.Ask, Last: true}); len(o.Packets) > 0 {
		t.Errorf("after the last page: %+v", o)
	}
}

func TestSmallFormsHaveDefaults(t *testing.T) {
	p, client := serving(t)
	q := request{layout: layoutRLP6}
	a := only[transport.Asked](t, p.Packet(t0, client.id, enveloped(t, q.encode())))
	if a.Limit != transport.MaxPage || !a.To.Equal(t0.Add(time.Minute)) || a.Bloom != nil || a.Topics != nil || a.From.Unix() != 0 {
		t.Errorf("asked %+v", a)
	}
	full := good()
	full.bloom = bloomOf(nil)
	if a := only[transport.Asked](t, p.Packet(t0, client.id, enveloped(t, full.encode()))); a.Bloom != nil {
		t.Errorf("a full bloom is one of %x", a.Bloom)
	}
	full.to = 1<<32 - 1
	if a := only[transport.Asked](t, p.Packet(t0, client.id, enveloped(t, full.encode()))); a.To.Unix() != 1<<32-1 {
		t.Errorf("to %v", a.To)
	}
}

func TestBadRequestIsToldWhy(t *testing.T) {
	rlp := func(change func(*request)) []byte {
		q := good()
		change(&q)
		return q.encode()
	}
	fixed := good()
	fixed.layout = layoutFixed
	long := fixed.encode()
	for name, tt := range map[string]struct {
		contents []byte
		want     string
	}{
		"range":        {rlp(func(q *request) { q.from = q.to + 1 }), "request is invalid: query range is invalid: lower > upper (1577836801 > 1577836800)"},
		"limit":        {rlp(func(q *request) { q.limit = 1001 }), "request is invalid: limit exceeds the maximum allowed value"},
		"bloom":        {rlp(func(q *request) { q.bloom = q.bloom[:63] }), "request is invalid: bloom filter has 63 bytes, want 64"},
		"long bloom":   {rlp(func(q *request) { q.bloom = append(q.bloom, 0) }), "request is invalid: bloom filter has 65 bytes, want 64"},
		"cursor":       {rlp(func(q *request) { q.cursor = make([]byte, 40) }), "request is invalid: cursor has 40 bytes, want 36"},
		"fixed cursor": {append(long, 1), "request is invalid: cursor has 1 bytes, want 36"},
		"fixed":        {long[:7], "Undersized p2p request"},
		"fixed bloom":  {long[:71], "Undersized bloom filter in p2p request"},
		"empty":        {nil, "Undersized p2p request"},
		"items":        {[]byte{0xc1, 0x80}, "failed to decode data: items: 1, want 5 to 7"},
		"time": {[]byte{0xca, 0x85, 1, 0, 0, 0, 0, 0x80, 0x80, 0x80, 0x80},
			"failed to decode data: lower: more than 32 bits"},
	} {
		t.Run(name, func(t *testing.T) {
			p, client := serving(t)
			m := enveloped(t, tt.contents)
			wantError(t, p.Packet(t0, client.id, m), m.Envelope.Hash, tt.want)
		})
	}
}

func TestRequestEnvelopeIsChecked(t *testing.T) {
	unsigned, err := whisper.BuildPlaintext(good().encode(), nil, layers.PrivateKey{})
	if err != nil {
		t.Fatal(err)
	}
	data, err := whisper.SealSymmetric(passwordKey, [12]byte{1}, unsigned)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		spoil func(*transport.Envelope)
		want  string
	}{
		"work":      {func(e *transport.Envelope) { e.PoW = 0.0019 }, "PoW() is too low"},
		"no ttl":    {func(e *transport.Envelope) { e.TTL = 0 }, "PoW() is too low"},
		"old":       {func(e *transport.Envelope) { e.Sent = t0.Add(-111 * time.Second) }, "very old envelope"},
		"very long": {func(e *transport.Envelope) { e.Sent, e.TTL = t0.Add(-7*time.Minute), time.Hour }, "very old envelope"},
		"future":    {func(e *transport.Envelope) { e.Sent = t0.Add(121 * time.Second) }, "envelope from future"},
		"key":       {func(e *transport.Envelope) { e.Data = bytes.Clone(e.Data); e.Data[3]++ }, "failed to decrypt p2p request"},
		"unsigned":  {func(e *transport.Envelope) { e.Data = data }, "failed to decrypt p2p request"},
		"late":      {func(e *transport.Envelope) { e.Sent = t0.Add(-110 * time.Second) }, ""},
		"early":     {func(e *transport.Envelope) { e.Sent = t0.Add(2 * time.Minute) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, client := serving(t)
			m := enveloped(t, good().encode())
			tt.spoil(&m.Envelope)
			o := p.Packet(t0, client.id, m)
			if tt.want == "" {
				only[transport.Asked](t, o)
			} else {
				wantError(t, o, m.Envelope.Hash, tt.want)
			}
		})
	}
	p := New(DefaultConfig(), settings(), nil, newEntropy(1))
	p.Serve()
	client := newIdentity(t, 2)
	p.Connected(t0, client.connected("x"))
	m := enveloped(t, good().encode())
	wantError(t, p.Packet(t0, client.id, m), m.Envelope.Hash, "failed to decrypt p2p request")
	only[transport.Asked](t, p.Packet(t0, client.id, plain(1)))
}

func TestWhoIsNoServerIgnoresRequests(t *testing.T) {
	p := newClient(t)
	client := newIdentity(t, 2)
	p.Connected(t0, client.connected("x"))
	for _, m := range []Packet{enveloped(t, good().encode()), plain(1), SyncRequest{}, SyncRequest{Limit: 1}} {
		if o := p.Packet(t0, client.id, m); len(o.Up)+len(o.Down)+len(o.Packets) > 0 {
			t.Errorf("%T: %+v", m, o)
		}
	}
}

func TestAsksAreBounded(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Asks = 6
	p := New(cfg, settings(), nil, newEntropy(1))
	p.Open(t0)
	p.Serve()
	greedy, second, honest := newIdentity(t, 2), newIdentity(t, 3), newIdentity(t, 4)
	var asks []transport.Asked
	for _, c := range []identity{greedy, second, honest} {
		p.Connected(t0, c.connected("x"))
	}
	for n := range byte(4) {
		asks = append(asks, only[transport.Asked](t, p.Packet(t0, greedy.id, plain(n))))
	}
	wantError(t, p.Packet(t0, greedy.id, plain(4)), transport.Hash{4}, "rate limit exceeded")
	for n := range byte(2) {
		asks = append(asks, only[transport.Asked](t, p.Packet(t0, second.id, plain(n))))
	}
	nothing := func(o Out) {
		t.Helper()
		if len(o.Up)+len(o.Packets) > 0 {
			t.Errorf("got %+v", o)
		}
	}
	nothing(p.Packet(t0, second.id, plain(2)))
	nothing(p.Packet(t0, honest.id, plain(1)))
	nothing(p.Packet(t0, honest.id, plain(1)))
	// A peer has one place, and keeps it.
	wantError(t, p.Packet(t0, second.id, plain(3)), transport.Hash{2}, "rate limit exceeded")
	// An answer counts until the peer has taken it.
	p.Page(t0, transport.Page{Ask: asks[0].Ask, Last: true})
	a := only[transport.Asked](t, p.Written(t0, greedy.id))
	if a.Peer != second.id.String() {
		t.Errorf("the turn is that of %s", a.Peer)
	}
	// Who asks again and again does not get ahead of who waits.
	nothing(p.Packet(t0, greedy.id, plain(9)))
	turns := all[transport.Asked](p.Disconnected(t0, second.id))
	if len(turns) != 2 || turns[0].Peer != honest.id.String() || turns[1].Peer != greedy.id.String() {
		t.Errorf("the turns are %+v", turns)
	}
}

func TestRequestDoesNotWaitForEver(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Asks = 1
	p := New(cfg, settings(), nil, newEntropy(1))
	p.Serve()
	a, b := newIdentity(t, 2), newIdentity(t, 3)
	p.Connected(t0, a.connected("x"))
	p.Connected(t0, b.connected("x"))
	p.Packet(t0, a.id, plain(1))
	o := p.Packet(t0, b.id, plain(2))
	if want := t0.Add(holdFor); !o.Wake.Equal(want) {
		t.Errorf("wake at %v, want %v", o.Wake, want)
	}
	wantError(t, p.Wake(o.Wake), transport.Hash{2}, "rate limit exceeded")
	p.Packet(t0, b.id, plain(3))
	p.Disconnected(t0, b.id)
	if len(p.held) > 0 {
		t.Error("a peer that is gone still waits")
	}
}

func TestPeerThatDoesNotReadItsErrorsIsDropped(t *testing.T) {
	p, client := serving(t)
	bad := plain(1)
	bad.Limit = 1001
	for range 3 {
		for i := range maxOwed {
			if o := p.Packet(t0, client.id, bad); len(o.Packets) != 1 || !o.Packets[0].Tell || len(o.Down) > 0 {
				t.Fatalf("error %d: %+v", i, o)
			}
		}
		p.Written(t0, client.id)
	}
	for range maxOwed {
		p.Packet(t0, client.id, bad)
	}
	o := p.Packet(t0, client.id, bad)
	if drop, ok := o.Down[0].(overlay.Drop); !ok || drop.Peer != client.id || len(o.Packets) > 0 {
		t.Errorf("got %+v", o)
	}
}
