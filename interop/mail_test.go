package interop

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/interop/rawpeer"
)

// fullBloom asks for everything.
var fullBloom = bytes.Repeat([]byte{0xff}, 64)

// elsewhere is the topic of envelopes that nobody asks for.
const elsewhere = "another channel"

// kept posts envelopes of the channel, and one of another topic, and waits until
// the mail server has confirmed them: from then on they are durable.
func kept(p *status, count int) (hashes []string) {
	p.Helper()
	key := p.symKey(channel)
	post := func(name, text string) hexutil.Bytes {
		hash := p.post(posting{SymKey: key, Topic: topicOf(name), Payload: []byte(text)})
		if errs := p.acked(hash); len(errs) > 0 {
			p.Errorf("the mail server refuses %+v", errs)
		}
		return hash
	}
	for i := range count {
		hashes = append(hashes, post(channel, fmt.Sprint("kept ", i)).String())
	}
	post(elsewhere, "of no interest")
	slices.Sort(hashes)
	return hashes
}

// delivered waits for count messages and returns their hashes.
func delivered(s *stage, in <-chan received, count int) []string {
	s.Helper()
	got := map[string]bool{}
	for len(got) < count {
		m := await(s, fmt.Sprintf("%d messages of the past", count), in, func(received) bool { return true })
		if got[m.Hash.String()] {
			s.Errorf("%s is delivered twice", m.Hash)
		}
		got[m.Hash.String()] = true
	}
	return slices.Sorted(maps.Keys(got))
}

// TestOurMailServerAnswersStatus has the library ask our mail server in every
// form there is, and take the answers: packets 127 and 125.
func TestOurMailServerAnswersStatus(t *testing.T) {
	for _, form := range []string{"plain", "rlp6", "rlp7", "fixed"} {
		t.Run(form, func(t *testing.T) { answersStatus(t, form, mailPassword) })
	}
	t.Run("rlp6 for the node key", func(t *testing.T) { answersStatus(t, "rlp6", "") })
}

func answersStatus(t *testing.T, form, password string) {
	s := newStage(t)
	server, p := s.newServer("server"), s.newStatus("status")
	p.dial(server.enode)
	p.linked(1)
	hashes := kept(p, 3)
	in := p.listen(criteria{SymKey: p.symKey(channel), Topics: []topic{topicOf(channel)}, AllowP2P: true})
	from, to := lately()
	end := p.ask(mailRequest{
		Server: server.enode, Form: form, Password: password, From: from, To: to,
		Bloom: rawpeer.BloomOf(topicOf(channel)), Limit: 100,
	})
	if end.Error != "" || len(end.Cursor) > 0 {
		t.Fatalf("the answer ends with error %q and cursor %s, want neither", end.Error, end.Cursor)
	}
	if !slices.Contains(hashes, end.Last.String()) {
		t.Errorf("last envelope is %s, want one of %q", end.Last, hashes)
	}
	if got := delivered(s, in, len(hashes)); !slices.Equal(got, hashes) {
		t.Errorf("got %q, want %q", got, hashes)
	}
	p.keptLinks()
}

// TestOurMailServerHasPages follows the cursor with the library to the end. A
// page that is the last has none.
func TestOurMailServerHasPages(t *testing.T) {
	for _, form := range []string{"plain", "rlp7"} {
		t.Run(form, func(t *testing.T) {
			s := newStage(t)
			server, p := s.newServer("server"), s.newStatus("status")
			p.dial(server.enode)
			p.linked(1)
			hashes := kept(p, 4)
			in := p.listen(criteria{SymKey: p.symKey(channel), Topics: []topic{topicOf(channel)}, AllowP2P: true})
			from, to := lately()
			r := mailRequest{
				Server: server.enode, Form: form, Password: mailPassword, From: from, To: to,
				Bloom: rawpeer.BloomOf(topicOf(channel)), Limit: 2,
			}
			for page := 1; ; page++ {
				end := p.ask(r)
				if end.Error != "" {
					t.Fatalf("page %d: %s", page, end.Error)
				}
				if last := page == 2; last != (len(end.Cursor) == 0) {
					t.Fatalf("page %d of 2 has cursor %s", page, end.Cursor)
				} else if last {
					break
				}
				r.Cursor = end.Cursor
			}
			if got := delivered(s, in, len(hashes)); !slices.Equal(got, hashes) {
				t.Errorf("got %q, want %q", got, hashes)
			}
			p.keptLinks()
		})
	}
}

// TestOurMailServerRefuses: a request that cannot be read is answered with an
// error, under its id, and the link stays.
func TestOurMailServerRefuses(t *testing.T) {
	s := newStage(t)
	server, p := s.newServer("server"), s.newStatus("status")
	p.dial(server.enode)
	p.linked(1)
	from, to := lately()
	r := mailRequest{Server: server.enode, Form: "rlp6", Password: mailPassword, From: from, To: to, Bloom: fullBloom, Limit: 10}
	for name, change := range map[string]func(*mailRequest){
		"with the wrong password": func(r *mailRequest) { r.Password = "wrong" },
		"that ends before it begins": func(r *mailRequest) {
			r.From, r.To = to, from
		},
	} {
		bad := r
		change(&bad)
		if end := p.ask(bad); end.Error == "" {
			t.Errorf("a request %s succeeds", name)
		}
	}
	if end := p.ask(r); end.Error != "" {
		t.Errorf("after it a good request fails: %s", end.Error)
	}
	p.keptLinks()
}

// TestMailServersSync has the mail server of the library ask ours for its archive
// (packets 123 and 124).
func TestMailServersSync(t *testing.T) {
	s := newStage(t)
	server, writer := s.newServer("server"), s.newStatus("writer")
	writer.dial(server.enode)
	writer.linked(1)
	hashes := kept(writer, 3)
	other := s.newStatusServer("other", "rlp6")
	other.dial(server.enode)
	other.linked(1)
	var ok bool
	from, to := lately()
	other.call(&ok, "mail_sync", server.enode, from, to, hexutil.Bytes(rawpeer.BloomOf(topicOf(channel))), 100)
	end := await(s, "the end of the sync", other.events, func(h happening) bool { return h.Event == syncFinished })
	if end.Error != "" || len(end.Cursor) > 0 {
		t.Errorf("the sync ends with error %q and cursor %s, want neither", end.Error, end.Cursor)
	}
	var raws []hexutil.Bytes
	other.call(&raws, "mail_archived")
	got := map[string]bool{}
	for _, raw := range raws {
		var e rawpeer.Envelope
		s.must("envelope", rlp.DecodeBytes(raw, &e))
		got[e.Hash().String()] = true
	}
	for _, hash := range hashes {
		if !got[hash] {
			t.Errorf("%s is not in the archive that was synced", hash)
		}
	}
	other.keptLinks()
}

// TestOurMailServerSyncs has our mail server take over what that of the library
// has kept, when it is told to and by itself, and then serve it.
func TestOurMailServerSyncs(t *testing.T) {
	for name, start := range map[string]func(s *stage, from string) *strata{
		"when it is told to": func(s *stage, from string) *strata {
			n := s.newServer("server")
			var done struct{ Envelopes, Added int }
			n.cli(&done, "mail", "sync", "--server", from, "--from", "1h")
			if done.Envelopes != 5 || done.Added != 5 {
				s.Errorf("it took over %+v, want 5 new envelopes", done)
			}
			n.cli(&done, "mail", "sync", "--server", from, "--from", "1h")
			if done.Envelopes != 5 || done.Added != 0 {
				s.Errorf("once more it took over %+v, want the same, and nothing new", done)
			}
			return n
		},
		"by itself": func(s *stage, from string) *strata { return s.newSyncedServer("server", from) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			other := s.newStatusServer("other", "rlp6")
			key := other.symKey(channel)
			var hashes []string
			for i := range 5 {
				p := posting{SymKey: key, Topic: topicOf(channel), Payload: []byte(fmt.Sprint(i)), TTL: 2}
				hashes = append(hashes, other.post(p).String())
			}
			slices.Sort(hashes)
			s.eventually("the envelopes to expire", func() (bool, error) {
				var info struct{ Memory int }
				err := other.rpc.CallContext(s.ctx, &info, "shh_info")
				return info.Memory == 0, err
			})
			server := start(s, other.enode)
			other.linked(1)
			alice := s.newMailClient("alice", server.enode)
			alice.linked(1)
			var got []string
			s.eventually("the archive to be complete", func() (bool, error) {
				got = alice.query(server.enode, topicOf(channel))
				return len(got) >= len(hashes), nil
			})
			if slices.Sort(got); !slices.Equal(got, hashes) {
				t.Errorf("got %q, want %q", got, hashes)
			}
			other.keptLinks()
		})
	}
}

// TestOurClientAsksStatus has our client fetch from the mail server of the
// library. It does not know which form of sealed request the server reads.
func TestOurClientAsksStatus(t *testing.T) {
	for _, form := range []string{"rlp6", "rlp7"} {
		t.Run(form, func(t *testing.T) {
			s := newStage(t)
			p := s.newStatusServer("status", form)
			key := p.symKey(channel)
			var hashes []string
			for i := range 5 {
				hashes = append(hashes, p.post(posting{SymKey: key, Topic: topicOf(channel), Payload: []byte(fmt.Sprint(i))}).String())
			}
			p.post(posting{SymKey: key, Topic: topicOf(elsewhere), Payload: []byte("of no interest")})
			alice := s.newMailClient("alice", p.enode)
			p.linked(1)
			alice.linked(1)
			got := alice.query(p.enode, topicOf(channel))
			slices.Sort(got)
			slices.Sort(hashes)
			if !slices.Equal(got, hashes) {
				t.Errorf("got %q, want %q", got, hashes)
			}
			p.keptLinks()
		})
	}
}

// TestOurClientCatchesUpFromStatus: what has expired before the client came
// comes from the mail server, without being asked for.
func TestOurClientCatchesUpFromStatus(t *testing.T) {
	s := newStage(t)
	p := s.newStatusServer("status", "rlp7")
	writer := p.newIdentity()
	const text = "said while you were away"
	payload, err := sealChat(writer.key, publicGroup, channel, text)
	s.must("payload", err)
	p.post(posting{SymKey: p.symKey(channel), Signer: writer.id, Topic: topicOf(channel), Payload: payload, TTL: 2})
	s.eventually("the envelope to expire", func() (bool, error) {
		var info struct{ Memory int }
		err := p.rpc.CallContext(s.ctx, &info, "shh_info")
		return info.Memory == 0, err
	})
	alice := s.newMailClient("alice", p.enode)
	p.linked(1)
	alice.join(channel)
	if m := alice.shown(channel, text); !bytes.Equal(m.From, writer.public) {
		t.Errorf("shown as from %s, want %s", m.From, writer.public)
	}
	p.keptLinks()
}

// plain is packet 126 in the form without a seal (status-im/whisper v1.6.2
// MessagesRequest).
type plain struct {
	ID              []byte
	From, To, Limit uint32
	Cursor, Bloom   []byte
}

// requestID is an id of a plain request.
func requestID(n byte) []byte { return append(make([]byte, 31), n) }

// TestBytesOfAMailAnswer checks the packets themselves. One envelope goes bare,
// several as a list, and the end is one string: id, hash of the last envelope,
// and the cursor if there is one.
func TestBytesOfAMailAnswer(t *testing.T) {
	s := newStage(t)
	server := s.newServer("server")
	peer := s.raw(server.enode, rawpeer.StatusOf(0, nil, true))
	const count = 3
	envelopes := map[common.Hash]bool{}
	for i := range count {
		e := rawpeer.NewEnvelope(topicOf(channel), fmt.Appendf(nil, "envelope %d", i), statusTTL)
		e.Mine(statusPoW)
		envelopes[e.Hash()] = true
		peer.send(rawpeer.Messages, rawpeer.List(e.Raw()))
		peer.next(rawpeer.Acknowledged)
	}
	from, to := lately()
	bloom := rawpeer.BloomOf(topicOf(channel))
	seen := map[common.Hash]bool{}
	page := func(n byte, limit uint32, cursor []byte) (list []rawpeer.Envelope, end []byte) {
		peer.send(rawpeer.Request, encodeRLP(t, plain{requestID(n), from, to, limit, cursor, bloom}))
		b := peer.next(rawpeer.Direct)
		if list, err := rawpeer.Envelopes(b); err == nil {
			if len(list) < 2 {
				t.Errorf("packet 127 is a list of %d, want the bare envelope", len(list))
			}
			for _, e := range list {
				seen[e.Hash()] = true
			}
		} else {
			var one rawpeer.Envelope
			s.must("packet 127", rlp.DecodeBytes(b, &one))
			seen[one.Hash()] = true
			list = []rawpeer.Envelope{one}
		}
		s.must("packet 125", rlp.DecodeBytes(peer.next(rawpeer.Complete), &end))
		if !bytes.HasPrefix(end, requestID(n)) {
			t.Fatalf("packet 125 begins with %x, want the id %x", end, requestID(n))
		}
		return list, end
	}
	_, end := page(1, 2, nil)
	if len(end) != 100 {
		t.Fatalf("packet 125 of a full page has %d bytes, want 100", len(end))
	}
	_, end = page(2, 2, end[64:])
	if len(end) != 64 {
		t.Errorf("packet 125 of the last page has %d bytes, want 64", len(end))
	}
	if !maps.Equal(seen, envelopes) {
		t.Errorf("got %v, want %v", seen, envelopes)
	}
	peer.send(rawpeer.Request, encodeRLP(t, plain{requestID(3), 0, 1, 10, nil, fullBloom}))
	s.must("packet 125", rlp.DecodeBytes(peer.next(rawpeer.Complete), &end))
	if !bytes.Equal(end, append(requestID(3), make([]byte, 32)...)) {
		t.Errorf("packet 125 of an empty page is %x, want the id and a zero hash", end)
	}
}

// TestHostileMailRequests sends what has killed or confused mail servers. Each
// gets an error under its id, or an answer, and after all of them the server
// still works, for this peer or, where it dropped the link, for another.
func TestHostileMailRequests(t *testing.T) {
	s := newStage(t)
	server := s.newServer("server")
	from, to := lately()
	errorOf := func(n byte) []byte { return append([]byte("ERROR="), requestID(n)...) }
	peer := s.raw(server.enode, rawpeer.StatusOf(0, nil, true))
	e := rawpeer.NewEnvelope(topicOf(channel), []byte("kept"), statusTTL)
	e.Mine(statusPoW)
	peer.send(rawpeer.Messages, rawpeer.List(e.Raw()))
	peer.next(rawpeer.Acknowledged)
	for i, c := range []struct {
		name  string
		r     plain
		fails bool
	}{
		{"a bloom of one byte", plain{From: from, To: to, Limit: 10, Bloom: []byte{0xff}}, true},
		{"a bloom of 63 bytes", plain{From: from, To: to, Limit: 10, Bloom: fullBloom[:63]}, true},
		{"a bloom of 65 bytes", plain{From: from, To: to, Limit: 10, Bloom: append(fullBloom[:64:64], 0)}, true},
		{"a range that ends before it begins", plain{From: to, To: from, Limit: 10, Bloom: fullBloom}, true},
		{"until the end of time", plain{From: 0, To: 1<<32 - 1, Limit: 10, Bloom: fullBloom}, false},
	} {
		c.r.ID = requestID(byte(i))
		peer.send(rawpeer.Request, encodeRLP(t, c.r))
		var end []byte
		s.must("packet 125", rlp.DecodeBytes(peer.next(rawpeer.Complete), &end))
		if c.fails != bytes.HasPrefix(end, errorOf(byte(i))) {
			t.Errorf("%s: packet 125 is %q", c.name, end)
		}
		if hash := e.Hash(); !c.fails && (len(end) < 64 || !bytes.Equal(end[32:64], hash[:])) {
			t.Errorf("%s: the answer %x does not end with the envelope that is there", c.name, end)
		}
	}
	peer.heard()
	for _, b := range [][]byte{
		{0x80}, {0xc0}, encodeRLP(t, []any{requestID(1), from, to}), encodeRLP(t, bytes.Repeat([]byte{0xff}, 1<<16)),
		encodeRLP(t, plain{ID: requestID(9)[:31], From: from, To: to, Limit: 10, Bloom: fullBloom}),
	} {
		bad := s.raw(server.enode, rawpeer.StatusOf(0, nil, true))
		bad.send(rawpeer.Request, b)
	}
	s.raw(server.enode, rawpeer.StatusOf(0, nil, true)).heard()
	peer.heard()
}
