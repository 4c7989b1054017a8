package whisper_test

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/envelope/whisper"
	"github.com/stratanode/strata/layers/layertest"
	"github.com/stratanode/strata/layers/transport"
)

// hexBytes is a byte string in a vector; null and an absent field are nil.
type hexBytes []byte

func (h *hexBytes) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err != nil || s == nil {
		return err
	}
	d, err := hex.DecodeString(strings.TrimPrefix(*s, "0x"))
	*h = append([]byte{}, d...)
	return err
}

// openIn is the input of every vector that holds an envelope to open.
type openIn struct {
	EnvelopeRLP         hexBytes `json:"envelope_rlp"`
	SymKey              hexBytes `json:"symkey"`
	RecipientPrivateKey hexBytes `json:"recipient_private_key"`
	RecipientPublicKey  hexBytes `json:"recipient_public_key"`
	EphemeralPrivateKey hexBytes `json:"ephemeral_private_key"`
	SignerPrivateKey    hexBytes `json:"signer_private_key"`
	Salt                hexBytes `json:"salt"`
	Padding             hexBytes `json:"padding"`
}

type openOut struct {
	Result          string
	DataLen         int   `json:"data_len"`
	Flags           *byte `json:"flags"`
	Payload         hexBytes
	PayloadKeccak   hexBytes `json:"payload_keccak256"`
	PayloadLen      *int     `json:"payload_len"`
	PaddingLen      *int     `json:"padding_len"`
	PlaintextRaw    hexBytes `json:"plaintext_raw"`
	Signature       hexBytes
	SignerPublicKey hexBytes `json:"signer_public_key"`
	Hash            hexBytes
	Topic           hexBytes
	Sent            int64
	ECIES           *struct {
		IV           hexBytes `json:"iv"`
		EphemeralKey hexBytes `json:"ephemeral_public_key"`
		SharedX      hexBytes `json:"shared_x"`
	} `json:"ecies"`
}

// unwrap reads the outer form of an envelope, which is the transport's business.
func unwrap(t *testing.T, raw []byte) transport.Envelope {
	t.Helper()
	var e struct {
		Expiry, TTL uint32
		Topic       transport.Topic
		Data        []byte
		Nonce       uint64
	}
	if err := rlp.DecodeBytes(raw, &e); err != nil {
		t.Fatalf("envelope_rlp: %v", err)
	}
	return transport.Envelope{
		Hash: layers.Keccak256(raw), Topic: e.Topic, Data: e.Data, Sent: time.Unix(int64(e.Expiry-e.TTL), 0),
	}
}

func privateKey(t testing.TB, b []byte) layers.PrivateKey {
	t.Helper()
	k, err := layers.ParsePrivateKey(b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// decrypted opens the data with the key of the vector, as a function.
func decrypted(t *testing.T, in openIn, data []byte) ([]byte, error) {
	t.Helper()
	if in.SymKey != nil {
		return whisper.OpenSymmetric(envelope.SymKey(in.SymKey), data)
	}
	return whisper.OpenAsymmetric(privateKey(t, in.RecipientPrivateKey), data)
}

// reported opens the envelope with the key of the vector, as a layer.
func reported(t *testing.T, in openIn, e transport.Envelope) []envelope.Event {
	t.Helper()
	identity := self
	var key envelope.Key
	if in.SymKey != nil {
		key = envelope.SymKey(in.SymKey)
	} else {
		identity = privateKey(t, in.RecipientPrivateKey)
		key = envelope.Identity{Key: identity.Public()}
	}
	n := whisper.New(whisper.DefaultConfig(), identity, entropy(1))
	if _, err := n.FromAbove(t0, envelope.Listen{Filters: []envelope.Filter{{ID: "v", Topic: e.Topic, Key: key}}}); err != nil {
		t.Fatal(err)
	}
	out, _ := n.FromBelow(t0, transport.Received{Envelopes: []transport.Envelope{e}})
	return out.Up
}

func TestGoldenVectors(t *testing.T) {
	var opened, rejected int
	layertest.RunVectors(t, "whisper", map[string]func(*testing.T, layertest.Vector){
		"envelopes-symmetric":  runOpen,
		"envelopes-asymmetric": runOpen,
		"topics-and-keys":      runKeys,
		"invalid": func(t *testing.T, v layertest.Vector) {
			var in openIn
			layertest.Decode(t, v.In, &in)
			if in.SymKey == nil && in.RecipientPrivateKey == nil {
				return // admission and packets: layers/transport/whisper
			}
			if runMayNotOpen(t, v) {
				opened++
			} else {
				rejected++
			}
		},
		"pow":        layertest.Elsewhere("layers/transport/whisper"),
		"packets":    layertest.Elsewhere("layers/transport/whisper"),
		"mailserver": layertest.Elsewhere("layers/transport/whisper/mail"),
	})
	if !t.Failed() && (opened == 0 || rejected == 0) {
		t.Errorf("of group invalid %d vectors were opened and %d rejected, want some of each", opened, rejected)
	}
}

func runOpen(t *testing.T, v layertest.Vector) {
	var (
		in  openIn
		out openOut
	)
	layertest.Decode(t, v.In, &in)
	layertest.Decode(t, v.Out, &out)
	e := unwrap(t, in.EnvelopeRLP)
	if len(e.Data) != out.DataLen {
		t.Errorf("data: got %d bytes, want %d", len(e.Data), out.DataLen)
	}
	raw, err := decrypted(t, in, e.Data)
	if err != nil {
		t.Fatal(err)
	}
	p, err := whisper.ParsePlaintext(raw)
	if err != nil {
		t.Fatal(err)
	}
	checkContent(t, p, raw, out)

	up := reported(t, in, e)
	if len(up) != 1 {
		t.Fatalf("events: got %d, want 1", len(up))
	}
	o := up[0].(envelope.Opened)
	switch {
	case !bytes.Equal(o.Hash[:], out.Hash):
		t.Errorf("hash: got %v, want %x", o.Hash, []byte(out.Hash))
	case !bytes.Equal(o.Topic[:], out.Topic):
		t.Errorf("topic: got %v, want %x", o.Topic, []byte(out.Topic))
	case o.Sent.Unix() != out.Sent:
		t.Errorf("sent: got %d, want %d", o.Sent.Unix(), out.Sent)
	case o.Signer != p.Signer || !bytes.Equal(o.Payload, p.Payload):
		t.Errorf("the layer and the functions disagree")
	}
	rebuild(t, in, out, e.Data, raw, p)
}

func checkContent(t *testing.T, p whisper.Plaintext, raw []byte, out openOut) {
	t.Helper()
	if h := layers.Keccak256(p.Payload); !bytes.Equal(h[:], out.PayloadKeccak) {
		t.Errorf("payload: hash %x, want %x", h, []byte(out.PayloadKeccak))
	}
	if out.Payload != nil && !bytes.Equal(p.Payload, out.Payload) {
		t.Errorf("payload: got %x, want %x", p.Payload, []byte(out.Payload))
	}
	if out.PayloadLen != nil && len(p.Payload) != *out.PayloadLen {
		t.Errorf("payload: got %d bytes, want %d", len(p.Payload), *out.PayloadLen)
	}
	if out.PaddingLen != nil && len(p.Padding) != *out.PaddingLen {
		t.Errorf("padding: got %d bytes, want %d", len(p.Padding), *out.PaddingLen)
	}
	if out.Flags != nil && raw[0] != *out.Flags {
		t.Errorf("flags: got %d, want %d", raw[0], *out.Flags)
	}
	if out.PlaintextRaw != nil && !bytes.Equal(raw, out.PlaintextRaw) {
		t.Errorf("plaintext: got %x, want %x", raw, []byte(out.PlaintextRaw))
	}
	var signer []byte
	if !p.Signer.IsZero() {
		signer = p.Signer[:]
	}
	if !bytes.Equal(signer, out.SignerPublicKey) {
		t.Errorf("signer: got %x, want %x", signer, []byte(out.SignerPublicKey))
	}
}

// rebuild seals the message again with everything that was random given, and
// wants the same bytes.
func rebuild(t *testing.T, in openIn, out openOut, data, raw []byte, p whisper.Plaintext) {
	t.Helper()
	if in.SignerPrivateKey != nil || p.Signer.IsZero() {
		var signer layers.PrivateKey
		if in.SignerPrivateKey != nil {
			signer = privateKey(t, in.SignerPrivateKey)
		}
		padding := p.Padding
		if in.Padding != nil {
			padding = in.Padding
			// A writer may give padding of its own; else it fills up to 256.
			got := whisper.PaddingLen(len(p.Payload), !signer.IsZero())
			if len(raw)%256 == 0 && got != len(padding) {
				t.Errorf("PaddingLen: got %d, want %d", got, len(padding))
			}
		}
		got, err := whisper.BuildPlaintext(p.Payload, padding, signer)
		if err != nil || !bytes.Equal(got, raw) {
			t.Errorf("rebuilt plaintext differs (error %v)", err)
		}
		if out.Signature != nil && !bytes.HasSuffix(got, out.Signature) {
			t.Errorf("signature: got %x, want %x", got[len(got)-65:], []byte(out.Signature))
		}
	}
	if in.Salt != nil {
		got, err := whisper.SealSymmetric(envelope.SymKey(in.SymKey), [12]byte(in.Salt), raw)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("rebuilt symmetric data differs (error %v)", err)
		}
	}
	if in.EphemeralPrivateKey != nil && out.ECIES != nil {
		ephemeral := privateKey(t, in.EphemeralPrivateKey)
		to := privateKey(t, in.RecipientPrivateKey).Public()
		if !bytes.Equal(to[:], in.RecipientPublicKey) {
			t.Errorf("recipient: got %x, want %x", to, []byte(in.RecipientPublicKey))
		}
		if point := ephemeral.Public(); !bytes.Equal(point[:], out.ECIES.EphemeralKey) {
			t.Errorf("ephemeral key: got %x, want %x", point, []byte(out.ECIES.EphemeralKey))
		}
		if x, err := ephemeral.Shared(to); err != nil || !bytes.Equal(x[:], out.ECIES.SharedX) {
			t.Errorf("shared: got %x (error %v), want %x", x, err, []byte(out.ECIES.SharedX))
		}
		got, err := whisper.SealAsymmetric(to, ephemeral, [16]byte(out.ECIES.IV), raw)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("rebuilt asymmetric data differs (error %v)", err)
		}
	}
}

// runMayNotOpen reports whether the envelope was to be opened.
func runMayNotOpen(t *testing.T, v layertest.Vector) bool {
	var (
		in  openIn
		out openOut
	)
	layertest.Decode(t, v.In, &in)
	layertest.Decode(t, v.Out, &out)
	e := unwrap(t, in.EnvelopeRLP)
	raw, err := decrypted(t, in, e.Data)
	var p whisper.Plaintext
	if err == nil {
		p, err = whisper.ParsePlaintext(raw)
	}
	up := reported(t, in, e)
	switch out.Result {
	case "open":
		if err != nil || !bytes.Equal(p.Payload, out.Payload) {
			t.Errorf("payload: got %x (error %v), want %x", p.Payload, err, []byte(out.Payload))
		}
		if len(up) != 1 || !bytes.Equal(up[0].(envelope.Opened).Payload, out.Payload) {
			t.Errorf("events: got %v, want the payload %x", up, []byte(out.Payload))
		}
		return true
	case "reject":
		if err == nil {
			t.Errorf("opened, want it rejected")
		}
		if len(up) != 0 {
			t.Errorf("events: got %v, want none", up)
		}
	default:
		t.Errorf("unknown result %q", out.Result)
	}
	return false
}

func runKeys(t *testing.T, v layertest.Vector) {
	var in struct {
		Password, Chat *string
		PasswordUTF8   hexBytes `json:"password_utf8"`
		ChatUTF8       hexBytes `json:"chat_utf8"`
		PrivateKey     hexBytes `json:"private_key"`
		PublicKey      hexBytes `json:"public_key"`
		PeerPublicKey  hexBytes `json:"peer_public_key"`
	}
	var out struct {
		SymKey               hexBytes `json:"symkey"`
		Topic                hexBytes `json:"topic"`
		KeyID                *string  `json:"key_id"`
		SharedSecret         hexBytes `json:"shared_secret"`
		NegotiatedPassword   string   `json:"negotiated_symkey_password"`
		NegotiatedTopic      hexBytes `json:"negotiated_topic"`
		ContactCode          string   `json:"contact_code_string"`
		ContactCodeTopic     hexBytes `json:"contact_code_topic"`
		Partition            uint64   `json:"partition"`
		Partitioned          string   `json:"partitioned_string"`
		PartitionedTopic     hexBytes `json:"partitioned_topic"`
		PersonalDiscovery    string   `json:"personal_discovery_string"`
		PersonalDiscoveryTop hexBytes `json:"personal_discovery_topic"`
	}
	layertest.Decode(t, v.In, &in)
	layertest.Decode(t, v.Out, &out)
	topicIs := func(text string, want hexBytes) {
		t.Helper()
		if got := transport.TopicOf(text); !bytes.Equal(got[:], want) {
			t.Errorf("topic of %q: got %v, want %x", text, got, []byte(want))
		}
	}
	keyIs := func(text string, want hexBytes) {
		t.Helper()
		if got := envelope.KeyFromPassword(text); !bytes.Equal(got[:], want) {
			t.Errorf("key of %q: got %x, want %x", text, got[:], []byte(want))
		}
	}
	switch {
	case in.Password != nil:
		keyIs(string(in.PasswordUTF8), out.SymKey)
	case in.Chat != nil:
		keyIs(string(in.ChatUTF8), out.SymKey)
		topicIs(string(in.ChatUTF8), out.Topic)
	case out.KeyID != nil:
		// The fork's key ids are local to its API; what is checked is that our
		// text form of a key is the one they are made of.
		p, err := layers.ParsePublicKey(in.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		id, err := pbkdf2.Key(sha256.New, p.String(), nil, 4096, 32)
		if got := hex.EncodeToString(id); err != nil || got != *out.KeyID {
			t.Errorf("key id: got %s (error %v), want %s", got, err, *out.KeyID)
		}
	case in.PeerPublicKey != nil:
		own := privateKey(t, in.PrivateKey)
		peer, err := layers.ParsePublicKey(in.PeerPublicKey)
		if err != nil {
			t.Fatal(err)
		}
		shared, err := own.Shared(peer)
		if err != nil || !bytes.Equal(shared[:], out.SharedSecret) {
			t.Errorf("shared: got %x (error %v), want %x", shared, err, []byte(out.SharedSecret))
		}
		if got := hex.EncodeToString(shared[:]); got != out.NegotiatedPassword {
			t.Errorf("negotiated: got %s, want %s", got, out.NegotiatedPassword)
		}
		if got := own.Public().String() + "-contact-code"; got != out.ContactCode {
			t.Errorf("contact code: got %s, want %s", got, out.ContactCode)
		}
		topicIs(hex.EncodeToString(shared[:]), out.NegotiatedTopic)
		topicIs(out.ContactCode, out.ContactCodeTopic)
		topicIs(out.Partitioned, out.PartitionedTopic)
		topicIs(out.PersonalDiscovery, out.PersonalDiscoveryTop)
		if got := partition(own.Public()); got != out.Partition {
			t.Errorf("partition: got %d, want %d", got, out.Partition)
		}
	default:
		// Topic to bloom: layers/transport/whisper.
	}
}

// partition returns X mod 5000, four bytes of X at a time.
func partition(k layers.PublicKey) uint64 {
	x, r := k.X(), uint64(0)
	for i := 0; i < len(x); i += 4 {
		r = (r<<32 | uint64(binary.BigEndian.Uint32(x[i:]))) % 5000
	}
	return r
}
