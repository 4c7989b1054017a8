package whisper

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/mail"
)

// node is a node key made of a number: its enode URL and id.
func node(t testing.TB, number byte) (url string, id overlay.PeerID) {
	t.Helper()
	key, err := crypto.ToECDSA(append(make([]byte, 31), number))
	if err != nil {
		t.Fatal(err)
	}
	point := crypto.FromECDSAPub(&key.PublicKey)[1:]
	return "enode://" + hex.EncodeToString(point) + "@127.0.0.1:30303", layers.Keccak256(point)
}

func TestTrustAndDirectNameWhatIsWrongWithTheNode(t *testing.T) {
	url, id := node(t, 7)
	raw := sealed(t0, 15, chat, "x")
	tests := []struct {
		name, node, want string
	}{
		{"no URL", "127.0.0.1:30303", `mail: enode URL "127.0.0.1:30303": does not begin with enode://`},
		{"no hex", "enode://" + strings.Repeat("zz", 64) + "@127.0.0.1:1", `mail: enode URL "enode://` + strings.Repeat("zz", 36) + `": node key is not hex`},
		{"short key", "enode://0102@127.0.0.1:1", `mail: enode URL "enode://0102@127.0.0.1:1": node key of 4 hex digits, want 128`},
		{"no point", "enode://" + strings.Repeat("11", 64) + "@127.0.0.1:1", `mail: enode URL "enode://` + strings.Repeat("11", 36) + `": node key: no secp256k1 public key`},
		{"not linked", url, fmt.Sprintf("Could not find peer with ID: %x", id[:])},
	}
	for _, tt := range tests {
		n := opened(t, nil)
		connect(t, n, t0, alice)
		for _, c := range []transport.Command{
			transport.Trust{Ref: layers.Ref{1}, Node: tt.node}, transport.Direct{Ref: layers.Ref{1}, Node: tt.node, Raw: raw},
		} {
			got := ups[transport.Refused](above(t, n, t0, c))
			if len(got) != 1 || got[0].Ref != (layers.Ref{1}) || !strings.HasPrefix(got[0].Reason, tt.want) {
				t.Errorf("%s: %T: %v, want %q", tt.name, c, got, tt.want)
			}
		}
	}
}

func TestTrustedPeerMayDeliverUnaskedAsLongAsTheLinkLives(t *testing.T) {
	url, id := node(t, 7)
	n := opened(t, nil)
	connect(t, n, t0, id)
	raw := sealed(t0, 15, chat, "x")
	push := func() []transport.History {
		return ups[transport.History](below(t, n, t0, incoming(t, id, mail.CodeDelivery, raw)))
	}
	if got := push(); got != nil {
		t.Errorf("from a stranger: %v", got)
	}
	if out := above(t, n, t0, transport.Trust{Ref: layers.Ref{1}, Node: url}); len(ups[transport.Done](out)) != 1 {
		t.Errorf("answer %v", out.Up)
	}
	got := push()
	if len(got) != 1 || got[0].Ref != (layers.Ref{}) || got[0].Envelopes[0].Hash != hashOf(raw) {
		t.Fatalf("from a trusted peer: %v, want History", got)
	}
	if n.pool.byHash(hashOf(raw)) != nil {
		t.Error("it was pooled")
	}
	below(t, n, t0, overlay.Disconnected{Peer: id})
	connect(t, n, t0, id)
	if got := push(); got != nil {
		t.Errorf("over a new link: %v", got)
	}
}

func TestDirectIsDoneWhenItIsWrittenAndNobodyElseGetsIt(t *testing.T) {
	url, id := node(t, 7)
	n := opened(t, nil)
	connect(t, n, t0, alice)
	connect(t, n, t0, id)
	weak := EncodeEnvelope(Envelope{Expiry: 1, TTL: 1, Topic: chat, Data: []byte("no work, no time")})
	d := transport.Direct{Ref: layers.Ref{1}, Node: url, Raw: weak}
	out := above(t, n, t0, d)
	if got := sends(out)[id][mail.CodeDelivery]; !bytes.Equal(got, weak) || len(out.Down) != 1 || len(out.Up) != 0 {
		t.Fatalf("sent %v, answered %v", out.Down, out.Up)
	}
	if out := above(t, n, t0, d); len(out.Down)+len(out.Up) != 0 {
		t.Errorf("the same command again: %+v", out)
	}
	second := transport.Direct{Ref: layers.Ref{2}, Node: url, Raw: weak}
	above(t, n, t0, second)
	out = below(t, n, t0, overlay.Written{Peer: id})
	if got := ups[transport.Done](out); len(got) != 1 || got[0].Ref != d.Ref || sends(out)[id][mail.CodeDelivery] == nil {
		t.Errorf("written: %+v, want the first done and the second sent", out)
	}
	above(t, n, t0, transport.Direct{Ref: layers.Ref{3}, Node: url, Raw: weak})
	got := ups[transport.Refused](below(t, n, t0, overlay.Disconnected{Peer: id}))
	if len(got) != 2 || got[0].Ref != second.Ref || got[1].Ref != (layers.Ref{3}) {
		t.Errorf("link ended: %v, want the two refused that nobody has written", got)
	}
	if n.pool.len() != 0 {
		t.Error("it was pooled")
	}
}

func TestDirectRefusesWhatIsNoEnvelopeAndTooMuch(t *testing.T) {
	url, id := node(t, 7)
	n := opened(t, nil)
	connect(t, n, t0, id)
	good := EncodeEnvelope(Envelope{Topic: chat, Data: make([]byte, 1<<19)})
	refused := func(ref byte, raw []byte) string {
		if got := ups[transport.Refused](above(t, n, t0, transport.Direct{Ref: layers.Ref{ref}, Node: url, Raw: raw})); len(got) == 1 {
			return got[0].Reason
		}
		return ""
	}
	for _, tt := range []struct {
		raw  []byte
		want string
	}{
		{nil, "whisper: envelope: "}, {append(bytes.Clone(good), 0), "whisper: envelope: 1 bytes follow"},
		{EncodeEnvelope(Envelope{Data: make([]byte, 1<<20)}), huge.String()},
	} {
		if got := refused(1, tt.raw); !strings.HasPrefix(got, tt.want) {
			t.Errorf("refused %q, want %q", got, tt.want)
		}
	}
	refusals := 0
	for i := range 20 {
		if got := refused(byte(10+i), good); got != "" {
			refusals++
		}
	}
	if p := n.peers[id]; p.mail.bytes > maxDirect || refusals < 10 || refusals == 20 {
		t.Errorf("%d bytes wait and %d of 20 were refused", p.mail.bytes, refusals)
	}
}
