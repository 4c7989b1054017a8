package interop

import (
	"bytes"
	"testing"

	"github.com/ethereum/go-ethereum/common/hexutil"
)

// TestGethPeersTalk shows that what the other tests measure with works by itself:
// two go-ethereum peers and nothing of ours.
func TestGethPeersTalk(t *testing.T) {
	s := newStage(t)
	a, b := s.newGeth("a", statusMinPoW), s.newGeth("b", statusMinPoW)
	a.dial(b.enode)
	a.linked(1)
	b.linked(1)
	exchange(a, b)
	exchange(b, a)
	a.keptLinks()
	b.keptLinks()
}

// exchange posts at one peer and wants the same at the other: every kind of
// message there is.
func exchange(from, to *geth) {
	from.Helper()
	const password = "interop"
	sym, writer, reader := from.symKey(password), from.newIdentity(), to.newIdentity()
	secret, open := topicOf("a private topic"), topicOf(password)
	inPublic := to.listen(criteria{SymKey: to.symKey(password), Topics: []topic{open}})
	inPrivate := to.listen(criteria{PrivateKey: reader.id, Topics: []topic{secret}})
	long := bytes.Repeat([]byte("0123456789abcdef"), 2<<10)
	for _, c := range []struct {
		kind string
		post posting
		in   <-chan received
		sig  hexutil.Bytes
		dst  hexutil.Bytes
	}{
		{"symmetric, signed", posting{SymKey: sym, Signer: writer.id, Topic: open, Payload: []byte("sealed by all who know")}, inPublic, writer.public, nil},
		{"symmetric, unsigned", posting{SymKey: sym, Topic: open, Payload: []byte("by nobody")}, inPublic, nil, nil},
		{"symmetric, empty", posting{SymKey: sym, Signer: writer.id, Topic: open, Payload: []byte{}}, inPublic, writer.public, nil},
		{"symmetric, 32 KiB", posting{SymKey: sym, Signer: writer.id, Topic: open, Payload: long, TTL: 10}, inPublic, writer.public, nil},
		{"asymmetric, signed", posting{To: reader.public, Signer: writer.id, Topic: secret, Payload: []byte("for one")}, inPrivate, writer.public, reader.public},
		{"asymmetric, unsigned", posting{To: reader.public, Topic: secret, Payload: []byte("for one, by nobody")}, inPrivate, nil, reader.public},
	} {
		hash := from.post(c.post)
		got := await(from.stage, to.name+" to get: "+c.kind, c.in, func(m received) bool { return bytes.Equal(m.Hash, hash) })
		if !bytes.Equal(got.Payload, c.post.Payload) {
			from.Errorf("%s: payload is %d bytes %.80q, want %d bytes %.80q", c.kind, len(got.Payload), got.Payload, len(c.post.Payload), c.post.Payload)
		}
		if !bytes.Equal(got.Sig, c.sig) {
			from.Errorf("%s: signed by %s, want %s", c.kind, got.Sig, c.sig)
		}
		if !bytes.Equal(got.Dst, c.dst) {
			from.Errorf("%s: for %s, want %s", c.kind, got.Dst, c.dst)
		}
	}
}
