package mail

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/envelope/whisper"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

var t0 = time.Unix(1577836800, 0)

const password = "status-offline-inbox"

var passwordKey = envelope.KeyFromPassword(password)

// entropy is a deterministic random source.
type entropy struct{ *rand.ChaCha8 }

func newEntropy(seed byte) entropy { return entropy{rand.NewChaCha8([32]byte{seed})} }

func key(t testing.TB, seed byte) layers.PrivateKey {
	t.Helper()
	k, err := layers.GenerateKey(newEntropy(seed))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sealer seals with the password of the network, and opens as the node with a key.
type sealer struct {
	node     layers.PrivateKey
	password envelope.SymKey // zero: none
	random   entropy
}

func (s *sealer) Seal(server layers.PublicKey, payload []byte) ([]byte, error) {
	padding := make([]byte, whisper.PaddingLen(len(payload), true))
	s.random.Read(padding)
	plain, err := whisper.BuildPlaintext(payload, padding, s.node)
	if err != nil {
		return nil, err
	}
	if server.IsZero() {
		var salt [12]byte
		s.random.Read(salt[:])
		return whisper.SealSymmetric(s.password, salt, plain)
	}
	ephemeral, err := layers.GenerateKey(s.random)
	if err != nil {
		return nil, err
	}
	var iv [16]byte
	s.random.Read(iv[:])
	return whisper.SealAsymmetric(server, ephemeral, iv, plain)
}

func (s *sealer) Open(data []byte) ([]byte, layers.PublicKey, error) {
	raw, err := whisper.OpenAsymmetric(s.node, data)
	if err != nil && s.password != (envelope.SymKey{}) {
		raw, err = whisper.OpenSymmetric(s.password, data)
	}
	if err != nil {
		return nil, layers.PublicKey{}, err
	}
	p, err := whisper.ParsePlaintext(raw)
	if err == nil && p.Signer.IsZero() {
		err = errors.New("not signed")
	}
	return p.Payload, p.Signer, err
}

// wire is an envelope as the deployed nodes declare it.
type wire struct {
	Expiry, TTL uint32
	Topic       transport.Topic
	Data        []byte
	Nonce       uint64
}

// parse reads an envelope as the other half does.
func parse(b []byte) (transport.Envelope, error) {
	var w wire
	if err := rlp.DecodeBytes(b, &w); err != nil {
		return transport.Envelope{}, err
	}
	return transport.Envelope{
		Hash: layers.Keccak256(b), Topic: w.Topic, Data: w.Data,
		Sent: time.Unix(int64(w.Expiry-w.TTL), 0), TTL: time.Duration(w.TTL) * time.Second, Raw: b,
	}, nil
}

func parseList(b []byte) ([]transport.Envelope, error) {
	var raws []rlp.RawValue
	if err := rlp.DecodeBytes(b, &raws); err != nil {
		return nil, err
	}
	envelopes := make([]transport.Envelope, len(raws))
	for i, raw := range raws {
		var err error
		if envelopes[i], err = parse(raw); err != nil {
			return nil, err
		}
	}
	return envelopes, nil
}

// worthList is parseList, and all envelopes have a proof of work.
func worthList(b []byte) ([]transport.Envelope, error) {
	envelopes, err := parseList(b)
	for i := range envelopes {
		envelopes[i].PoW = 1
	}
	return envelopes, err
}

// parseDelivery reads packet 127: a list, or a bare envelope.
func parseDelivery(t fataler, b []byte) Delivery {
	t.Helper()
	if list, err := parseList(b); err == nil {
		return Delivery{list, len(b)}
	}
	e, err := parse(b)
	if err != nil {
		t.Fatalf("packet 127: %v", err)
	}
	return Delivery{[]transport.Envelope{e}, len(b)}
}

// decode reads any packet of the mail half as the other half does.
func decode(t fataler, o overlay.Outgoing) Packet {
	t.Helper()
	var (
		p   Packet
		err error
	)
	switch o.Code {
	case CodeRequest:
		if e, bad := parse(o.Payload); bad == nil {
			e.PoW = 1
			return Request{e, len(o.Payload)}
		}
		p, err = DecodePlainRequest(o.Payload)
	case CodeDelivery:
		return parseDelivery(t, o.Payload)
	case CodeComplete:
		p, err = DecodeComplete(o.Payload)
	case CodeSyncRequest:
		p, err = DecodeSyncRequest(o.Payload)
	case CodeSyncResponse:
		p, err = DecodeSyncResponse(o.Payload, worthList)
	default:
		t.Fatalf("packet with code %d", o.Code)
	}
	if err != nil {
		t.Fatalf("packet %d: %v", o.Code, err)
	}
	return p
}

// made is an envelope of a topic, sent at a time.
func made(topic transport.Topic, sent time.Time, data string) transport.Envelope {
	raw, err := rlp.EncodeToBytes(wire{uint32(sent.Unix()) + 15, 15, topic, []byte(data), 7})
	if err != nil {
		panic(err)
	}
	e, err := parse(raw)
	if err != nil {
		panic(err)
	}
	return e
}

// settings are those of a node with default limits. Nothing is mined.
func settings() Settings {
	return Settings{
		MaxMessage: 1 << 20, Bundle: 512 << 10, MinPoW: 0.002, MaxTTL: time.Hour, Skew: 10 * time.Second, Make: make0,
	}
}

func make0(now time.Time, topic transport.Topic, data []byte) ([]byte, transport.Hash, error) {
	raw, err := rlp.EncodeToBytes(wire{uint32(now.Unix()) + 50, 50, topic, data, 1})
	return raw, layers.Keccak256(raw), err
}

// identity is a node key with what is made of it.
type identity struct {
	key layers.PrivateKey
	id  overlay.PeerID
	url string
}

func newIdentity(t testing.TB, seed byte) identity {
	t.Helper()
	k := key(t, seed)
	point := k.Public()
	return identity{
		key: k, id: layers.Keccak256(point[1:]),
		url: fmt.Sprintf("enode://%s@127.0.0.1:%d", hex.EncodeToString(point[1:]), 30300+int(seed)),
	}
}

func (i identity) connected(name string) overlay.Connected {
	return overlay.Connected{Peer: i.id, Name: name, Address: netip.MustParseAddrPort("[::ffff:127.0.0.1]:4000")}
}

// newClient is a client with two servers in its configuration.
func newClient(t testing.TB, servers ...identity) *Post {
	t.Helper()
	cfg := DefaultConfig()
	for _, s := range servers {
		cfg.Servers = append(cfg.Servers, s.url)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return New(cfg, settings(), &sealer{key(t, 200), passwordKey, newEntropy(201)}, newEntropy(202))
}

// newServer is a mail server that serves.
func newServer(t testing.TB, self identity) *Post {
	t.Helper()
	p := New(DefaultConfig(), settings(), &sealer{self.key, passwordKey, newEntropy(203)}, newEntropy(204))
	p.Open(t0)
	p.Serve()
	return p
}

// only returns the one event of kind E in an output.
func only[E transport.Event](t testing.TB, o Out) E {
	t.Helper()
	found := all[E](o)
	if len(found) != 1 {
		t.Fatalf("%d events of type %T, want 1; all: %+v", len(found), *new(E), o.Up)
	}
	return found[0]
}

func all[E transport.Event](o Out) (found []E) {
	for _, e := range o.Up {
		if e, ok := e.(E); ok {
			found = append(found, e)
		}
	}
	return found
}

// sent returns the one packet in an output.
func sent(t testing.TB, o Out) Packet {
	t.Helper()
	if len(o.Packets) != 1 {
		t.Fatalf("%d packets, want 1", len(o.Packets))
	}
	return decode(t, o.Packets[0].Packet)
}

func equalHashes(a, b []transport.Envelope) bool {
	return bytes.Equal(transport.Received{Envelopes: a}.Identity(), transport.Received{Envelopes: b}.Identity())
}

// fataler is what tests and model tests have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}
