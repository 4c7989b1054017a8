package shh

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	gethrpc "github.com/ethereum/go-ethereum/rpc"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
)

const (
	someEnode  = "enode://1dd9d65c4552b5eb43d5ad55a2ee3f56c6cbc1c64a5c8d659f51fcd51bace24351232b8d7821617d2b29b54b81cdefb9b3e9c37d7fd5f63270bcc9e1a6f6a439@127.0.0.1:30303"
	groupOrder = "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
)

// Results and error texts are those of go-ethereum 1.9.20 and its client API.
func TestMethodsAnswerAsGoEthereumDoes(t *testing.T) {
	r, c := running(t, nil)
	id64 := strings.Repeat("0", 64)
	for _, tt := range []struct {
		method string
		params []any
		want   string // JSON, or the error after "error: "
	}{
		{"shh_version", nil, `"6.0"`},
		{"shh_info", nil, `{"memory":900,"messages":0,"minPow":0.002,"maxMessageSize":1048576}`},
		{"shh_setMaxMessageSize", []any{4096}, `true`},
		{"shh_setMaxMessageSize", []any{10485760}, `true`},
		{"shh_setMaxMessageSize", []any{10485761}, `error: message size too large [10485761>10485760]`},
		{"shh_setMinPoW", []any{0.5}, `true`},
		{"shh_setMinPoW", []any{0}, `true`},
		{"shh_setMinPoW", []any{-1.5}, `error: invalid PoW: -1.500000`},
		{"shh_setBloomFilter", []any{hexOf("0f", 64)}, `true`},
		{"shh_setBloomFilter", []any{hexOf("0f", 63)}, `error: invalid bloom filter size: 63`},
		{"shh_setBloomFilter", []any{"0x"}, `error: invalid bloom filter size: 0`},
		{"shh_markTrustedPeer", []any{someEnode}, `true`},
		{"shh_markTrustedPeer", []any{"http://nobody"}, `error: missing 'enr:' prefix for base64-encoded record`},
		{"shh_makeLightClient", nil, `true`},
		{"shh_cancelLightClient", nil, `true`},
		{"shh_addPrivateKey", []any{hexOf("01", 31)}, `error: invalid length, need 256 bits`},
		{"shh_addPrivateKey", []any{hexOf("00", 32)}, `error: invalid private key, zero or negative`},
		{"shh_addPrivateKey", []any{groupOrder}, `error: invalid private key, >=N`},
		{"shh_deleteKeyPair", []any{id64}, `error: key pair ` + id64 + ` not found`},
		{"shh_hasKeyPair", []any{id64}, `false`},
		{"shh_getPublicKey", []any{id64}, `error: invalid id`},
		{"shh_getPrivateKey", []any{""}, `error: invalid id`},
		{"shh_addSymKey", []any{hexOf("01", 31)}, `error: wrong key size: 31`},
		{"shh_hasSymKey", []any{id64}, `false`},
		{"shh_deleteSymKey", []any{id64}, `false`},
		{"shh_getSymKey", []any{id64}, `error: non-existent key ID`},
		{"shh_getFilterMessages", []any{id64}, `error: filter not found`},
		{"shh_deleteMessageFilter", []any{id64}, `error: Unsubscribe: Invalid ID`},
		{"shh_uninstallFilter", []any{id64}, `null`},
		{"shh_unsubscribe", []any{"0x1"}, `error: subscription not found`},
		{"shh_requestMessages", nil, `error: the method shh_requestMessages does not exist/is not available`},
	} {
		var got json.RawMessage
		err := c.CallContext(t.Context(), &got, tt.method, tt.params...)
		text := string(got)
		if err != nil {
			text = "error: " + err.Error()
		}
		if text != tt.want {
			t.Errorf("%s(%v): got %s, want %s", tt.method, tt.params, text, tt.want)
		}
		var coded gethrpc.Error
		if errors.As(err, &coded) && coded.ErrorCode() != -32000 && coded.ErrorCode() != -32601 {
			t.Errorf("%s: error code %d, want -32000", tt.method, coded.ErrorCode())
		}
	}
	// What was set is what the transport was told, and nothing that was refused.
	var pows []float64
	var light []bool
	for _, s := range of[transport.Set](r.fake) {
		if s.MinPoW != nil {
			pows = append(pows, *s.MinPoW)
		}
		if s.Light != nil {
			light = append(light, *s.Light)
		}
	}
	if len(of[transport.Set](r.fake)) != 7 || len(pows) != 2 || pows[0] != 0.5 || len(light) != 2 || !light[0] || light[1] {
		t.Errorf("settings %v and %v of %d", pows, light, len(of[transport.Set](r.fake)))
	}
	if trust := of[transport.Trust](r.fake); len(trust) != 1 || trust[0].Node != someEnode {
		t.Errorf("trusted %+v", trust)
	}
}

func TestWhatWasSetIsSetAgainWhenTheTransportStartsAnew(t *testing.T) {
	r, c := running(t, nil)
	must[bool](t, c, "shh_setMinPoW", 0.5)
	must[bool](t, c, "shh_makeLightClient")
	must[bool](t, c, "shh_setMinPoW", 0.7)
	r.fake.change(func(f *fake) { f.refuse = "whisper: no" })
	fails(t, c, "no", "shh_setMinPoW", 9)
	before := len(of[transport.Set](r.fake))
	r.fake.up(transport.Ready{Info: r.fake.info})
	var again []transport.Set
	until(t, func() bool { again = of[transport.Set](r.fake)[before:]; return len(again) >= 2 })
	if len(again) != 2 || again[0].Light == nil || !*again[0].Light || again[1].MinPoW == nil || *again[1].MinPoW != 0.7 {
		t.Errorf("set again: %+v, want light and a minimum of 0.7", again)
	}
}

func TestMalformedParametersAreRefusedInTheKnownWords(t *testing.T) {
	_, c := running(t, nil)
	for _, tt := range []struct {
		method string
		param  any
		want   string
	}{
		{"shh_addSymKey", "00", "invalid argument 0: json: cannot unmarshal hex string without 0x prefix into Go value of type hexutil.Bytes"},
		{"shh_post", obj{"payload": "0x123"}, "invalid argument 0: json: cannot unmarshal hex string of odd length into Go struct field NewMessage.payload of type hexutil.Bytes"},
		{"shh_post", obj{"pubKey": 5}, "invalid argument 0: json: cannot unmarshal non-string into Go struct field NewMessage.pubKey of type hexutil.Bytes"},
		{"shh_post", obj{"topic": "0x0102"}, "invalid argument 0: hex string has length 4, want 8 for Topic"},
		{"shh_newMessageFilter", obj{"topics": []string{"0x0102030405"}}, "invalid argument 0: hex string has length 10, want 8 for Topic"},
		{"shh_newMessageFilter", obj{"sig": "zz"}, "invalid argument 0: json: cannot unmarshal hex string without 0x prefix into Go struct field Criteria.sig of type hexutil.Bytes"},
	} {
		fails(t, c, tt.want, tt.method, tt.param)
	}
}

func TestNullIsTheSameAsNothing(t *testing.T) {
	_, c := running(t, nil)
	sym := must[string](t, c, "shh_newSymKey")
	id := must[string](t, c, "shh_newMessageFilter", json.RawMessage(
		`{"symKeyID":"`+sym+`","privateKeyID":null,"sig":null,"minPow":null,"topics":null,"allowP2P":null}`))
	must[string](t, c, "shh_post", json.RawMessage(
		`{"symKeyID":"`+sym+`","pubKey":null,"sig":null,"ttl":null,"topic":"0x01020304","payload":null,"padding":null,"powTime":1,"powTarget":0.002,"targetPeer":null}`))
	if m := polled(t, c, id, 1)[0]; len(m.Payload) != 0 || m.TTL != 50 {
		t.Errorf("got %+v", m)
	}
}

func TestRefusalsOfTheTransportKeepTheirText(t *testing.T) {
	r, c := running(t, nil)
	r.fake.change(func(f *fake) { f.refuse = "whisper: could not find peer with ID: 0102" })
	const want = "could not find peer with ID: 0102"
	fails(t, c, want, "shh_markTrustedPeer", someEnode)
	fails(t, c, want, "shh_setMinPoW", 1)
	fails(t, c, want, "shh_makeLightClient")
	sym := must[string](t, c, "shh_newSymKey")
	m := obj{"symKeyID": sym, "topic": "0x01020304", "powTime": 5, "powTarget": 0.002}
	fails(t, c, want, "shh_post", m)
	fails(t, c, want, "shh_post", m.with("targetPeer", someEnode))
}

var id64 = regexp.MustCompile(`^[0-9a-f]{64}$`)

func TestKeyPairsLiveUnderRandomIDs(t *testing.T) {
	r, c := running(t, nil)
	secret := hexOf("07", 32)
	one, two := must[string](t, c, "shh_addPrivateKey", secret), must[string](t, c, "shh_addPrivateKey", secret)
	made := must[string](t, c, "shh_newKeyPair")
	if !id64.MatchString(one) || !id64.MatchString(made) || one == two || one == made {
		t.Errorf("ids %s, %s, %s", one, two, made)
	}
	if got := must[string](t, c, "shh_getPrivateKey", one); got != secret {
		t.Errorf("private key %s, want %s", got, secret)
	}
	key, err := layers.ParsePrivateKeyText(secret)
	if err != nil {
		t.Fatal(err)
	}
	public := key.Public().String()
	if got := must[string](t, c, "shh_getPublicKey", two); got != public {
		t.Errorf("public key %s, want %s", got, public)
	}
	// The clients of Status know a key by itself.
	if !must[bool](t, c, "shh_hasKeyPair", public) || must[string](t, c, "shh_getPrivateKey", public) != secret {
		t.Error("the public key does not find its pair")
	}
	if must[bool](t, c, "shh_hasKeyPair", must[string](t, c, "shh_getPublicKey", made)[2:]+"00") {
		t.Error("a text that is no key finds one")
	}
	must[bool](t, c, "shh_deleteKeyPair", one)
	fails(t, c, "key pair "+one+" not found", "shh_deleteKeyPair", one)
	if !must[bool](t, c, "shh_hasKeyPair", two) {
		t.Error("deleting one id took the other")
	}
	must[bool](t, c, "shh_deleteKeyPair", public)
	if must[bool](t, c, "shh_hasKeyPair", two) || !must[bool](t, c, "shh_hasKeyPair", made) {
		t.Error("deleting by the public key took the wrong ones")
	}
	if got := r.api.Report().Keys; got != 1 {
		t.Errorf("%d keys are left, want 1", got)
	}
}

func TestSymmetricKeysLiveUnderRandomIDs(t *testing.T) {
	_, c := running(t, nil)
	text := hexOf("0a", 32)
	id := must[string](t, c, "shh_addSymKey", text)
	if got := must[string](t, c, "shh_getSymKey", id); got != text || !id64.MatchString(id) {
		t.Errorf("key %s of id %s", got, id)
	}
	other := must[string](t, c, "shh_newSymKey")
	if must[string](t, c, "shh_getSymKey", other) == text || !must[bool](t, c, "shh_hasSymKey", other) {
		t.Error("a new key is not new")
	}
	if !must[bool](t, c, "shh_deleteSymKey", id) || must[bool](t, c, "shh_hasSymKey", id) || must[bool](t, c, "shh_deleteSymKey", id) {
		t.Error("the key is still there")
	}
}

// passwordKey is PBKDF2-HMAC-SHA256 of "status" without salt, 65356 rounds, by the
// standard library of Python.
const passwordKey = "0x36224048e42c49e5c59c57bba5024fbb8822d6b4ee6ac5fbefd8b77f5323ecc4"

func TestPasswordMakesTheKeyOfTheNetwork(t *testing.T) {
	_, c := running(t, nil)
	id := must[string](t, c, "shh_generateSymKeyFromPassword", "status")
	if got, want := must[string](t, c, "shh_getSymKey", id), passwordKey; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
