package ratchet

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"testing"
	"time"

	doubleratchet "github.com/status-im/doubleratchet"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/layertest"
)

// hexBytes is a byte string in hexadecimal.
type hexBytes []byte

func (h *hexBytes) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := hex.DecodeString(s)
	*h = v
	return err
}

func TestVectors(t *testing.T) {
	layertest.RunVectors(t, "secure", map[string]func(*testing.T, layertest.Vector){
		"bundle":                  bundleVector,
		"x3dh":                    x3dhVector,
		"dh_only":                 dhOnlyVector,
		"ratchet_primitives":      primitivesVector,
		"dr_script":               scriptVector,
		"protocol_message_script": scriptVector,
	})
}

func mustPrivate(t testing.TB, b []byte) layers.PrivateKey {
	t.Helper()
	k, err := layers.ParsePrivateKey(b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func mustPublic(t testing.TB, b []byte) layers.PublicKey {
	t.Helper()
	k, err := layers.ParsePublicKey(b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func equal(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got %x, want %x", what, got, want)
	}
}

func bundleVector(t *testing.T, v layertest.Vector) {
	var in struct {
		Protobuf hexBytes `json:"bundle_protobuf"`
		Fields   struct {
			Identity, Signature hexBytes
			Prekeys             map[string]struct {
				Key             hexBytes `json:"signed_pre_key"`
				Version         uint32   `json:"version"`
				ProtocolVersion uint32   `json:"protocol_version"`
			} `json:"signed_pre_keys"`
			Timestamp int64
		}
	}
	var out struct {
		Identity hexBytes `json:"identity_public_key"`
		Hash     hexBytes `json:"signature_hash"`
		Material hexBytes `json:"signature_material"`
		Valid    bool
	}
	layertest.Decode(t, v.In, &in)
	layertest.Decode(t, v.Out, &out)
	d, err := decodeBundle(in.Protobuf)
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	if d.timestamp != in.Fields.Timestamp || len(d.prekeys) != len(in.Fields.Prekeys) {
		t.Errorf("got timestamp %d and %d prekeys, want %d and %d", d.timestamp, len(d.prekeys), in.Fields.Timestamp, len(in.Fields.Prekeys))
	}
	for _, e := range d.prekeys {
		w := in.Fields.Prekeys[e.installation]
		equal(t, "prekey of "+e.installation, e.prekey, w.Key)
		if e.version != w.Version || e.protocolVersion != w.ProtocolVersion {
			t.Errorf("%s: got versions %d, %d, want %d, %d", e.installation, e.version, e.protocolVersion, w.Version, w.ProtocolVersion)
		}
	}
	if out.Material != nil {
		equal(t, "material", d.material(), out.Material)
	}
	if out.Hash != nil {
		h := layers.Keccak256(d.material())
		equal(t, "hash", h[:], out.Hash)
	}
	owner, err := d.verify()
	if (err == nil) != out.Valid {
		t.Fatalf("verify: got %v, want valid = %v", err, out.Valid)
	}
	if out.Valid && out.Identity != nil {
		equal(t, "identity", owner[:], out.Identity)
	}
	again, err := decodeBundle(d.encode())
	if err != nil {
		t.Fatalf("decode again: %v", err)
	}
	equal(t, "encoded again", again.encode(), d.encode())
}

func x3dhVector(t *testing.T, v layertest.Vector) {
	var in struct {
		EphemeralPrivate hexBytes `json:"initiator_ephemeral_private"`
		EphemeralPublic  hexBytes `json:"initiator_ephemeral_compressed"`
		Initiator        hexBytes `json:"initiator_identity_private"`
		Responder        hexBytes `json:"responder_identity_private"`
		Prekey           hexBytes `json:"responder_signed_prekey_private"`
		PrekeyPublic     hexBytes `json:"responder_signed_prekey_compressed"`
	}
	var out struct {
		Shared hexBytes `json:"shared_key"`
	}
	layertest.Decode(t, v.In, &in)
	layertest.Decode(t, v.Out, &out)
	initiator, responder := mustPrivate(t, in.Initiator), mustPrivate(t, in.Responder)
	ephemeral, prekey := mustPrivate(t, in.EphemeralPrivate), mustPrivate(t, in.Prekey)
	a, err := initiate(initiator, ephemeral, responder.Public(), mustPublic(t, in.PrekeyPublic))
	if err != nil {
		t.Fatal(err)
	}
	b, err := respond(responder, prekey, initiator.Public(), mustPublic(t, in.EphemeralPublic))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "initiator", a[:], out.Shared)
	equal(t, "responder", b[:], out.Shared)
}

func dhOnlyVector(t *testing.T, v layertest.Vector) {
	var in struct {
		Message   hexBytes `json:"direct_message_protocol"`
		Ephemeral hexBytes `json:"ephemeral_private"`
		Nonce     hexBytes
		Plaintext hexBytes
		Recipient hexBytes `json:"recipient_private"`
	}
	var out struct {
		Message hexBytes `json:"direct_message_protocol"`
		MapKey  string   `json:"map_key"`
		Valid   bool
	}
	layertest.Decode(t, v.In, &in)
	layertest.Decode(t, v.Out, &out)
	recipient := mustPrivate(t, in.Recipient)
	wire := in.Message
	if out.Valid {
		wire = out.Message
		d := sealStatic(bytes.NewReader(append(bytes.Clone(in.Ephemeral), in.Nonce...)), recipient.Public(), in.Plaintext)
		equal(t, "sealed", d.encode(), out.Message)
		if d.target != out.MapKey {
			t.Errorf("map key: got %q, want %q", d.target, out.MapKey)
		}
	}
	d, err := decodeDirectValue(dhOnlyTarget, wire)
	if err != nil {
		t.Fatal(err)
	}
	body, err := openStatic(recipient, d)
	if (err == nil) != out.Valid {
		t.Fatalf("open: got %v, want valid = %v", err, out.Valid)
	}
	equal(t, "opened", body, in.Plaintext)
}

func primitivesVector(t *testing.T, v layertest.Vector) {
	var in struct {
		DH     hexBytes `json:"dh_output"`
		Header struct {
			DH    hexBytes
			N, PN uint32
		}
		Own       hexBytes `json:"my_ratchet_private"`
		OwnPublic hexBytes `json:"my_ratchet_public"`
		Theirs    hexBytes `json:"their_ratchet_public"`
		Plaintext hexBytes
		Root      hexBytes `json:"root_key"`
	}
	var out struct {
		Chain      hexBytes `json:"chain_key"`
		Ciphertext hexBytes
		DH         hexBytes `json:"dh_output"`
		AD         hexBytes `json:"encoded_header_as_associated_data"`
		Message    hexBytes `json:"message_key"`
		Root       hexBytes `json:"new_root_key"`
		Next       hexBytes `json:"next_chain_key"`
	}
	layertest.Decode(t, v.In, &in)
	layertest.Decode(t, v.Out, &out)
	f := flavour2020
	if len(in.Header.DH) == flavour2019.keyLen() {
		f = flavour2019
	}
	s := suite{flavour: f}
	dh := doubleratchet.Key(in.DH)
	if in.Own != nil {
		own := f.pair(mustPrivate(t, in.Own))
		equal(t, "public key", own.public, in.OwnPublic)
		var err error
		if dh, err = s.DH(own, doubleratchet.Key(in.Theirs)); err != nil {
			t.Fatal(err)
		}
		equal(t, "dh", dh, out.DH)
	}
	root, chain, _ := s.KdfRK(doubleratchet.Key(in.Root), dh)
	equal(t, "root", root, out.Root)
	equal(t, "chain", chain, out.Chain)
	next, mk := s.KdfCK(chain)
	equal(t, "next chain", next, out.Next)
	equal(t, "message key", mk, out.Message)
	ad := doubleratchet.MessageHeader{DH: doubleratchet.Key(in.Header.DH), N: in.Header.N, PN: in.Header.PN}.Encode()
	equal(t, "associated data", ad, out.AD)
	sealed, err := s.Encrypt(mk, in.Plaintext, ad)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "ciphertext", sealed, out.Ciphertext)
	body, err := s.Decrypt(mk, sealed, ad)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "plaintext", body, in.Plaintext)
}

// script is a random source that yields given bytes first, and then others that
// are no secret but never repeat.
type script struct {
	given []byte
	count uint64
	rest  []byte
}

func (s *script) Read(b []byte) (int, error) {
	if len(s.given) > 0 {
		n := copy(b, s.given)
		s.given = s.given[n:]
		return n, nil
	}
	for len(s.rest) < len(b) {
		s.count++
		h := sha256.Sum256([]byte{byte(s.count), byte(s.count >> 8), byte(s.count >> 16), byte(s.count >> 24), 's'})
		s.rest = append(s.rest, h[:]...)
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

var _ io.Reader = (*script)(nil)

var t0 = time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
