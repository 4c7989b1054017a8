package interop

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
)

// What Status puts into a Whisper message, written down a second time from the
// specification, with go-ethereum's cryptography: nothing here is shared with
// the node that is tested.

// Message types of ApplicationMetadataMessage and ChatMessage (Status
// 6/PAYLOADS).
const (
	typeChatMessage = 1
	oneToOne        = 1
	publicGroup     = 2
	textPlain       = 1
)

// Fields of the messages around it (Status 5/SECURE-TRANSPORT, MVDS v0.0.23).
const (
	fieldInstallation = 2   // ProtocolMessage
	fieldDirect       = 101 // ProtocolMessage: map from device to DirectMessageProtocol
	fieldDHHeader     = 101 // DirectMessageProtocol
	fieldDHPayload    = 3   // DirectMessageProtocol
	fieldAcks         = 5001
	fieldMessages     = 5004
	fieldGroup        = 6001
	fieldTime         = 6002
	fieldBody         = 6003
)

// anyDevice is the key of a direct message that all devices can open.
const anyDevice = "none"

// partitioned returns the topic on which somebody is written to first.
func partitioned(key *ecdsa.PublicKey) topic {
	return topicOf(fmt.Sprintf("contact-discovery-%d", new(big.Int).Mod(key.X, big.NewInt(5000))))
}

// chat is what the tests check of a ChatMessage.
type chat struct {
	Clock, Timestamp  uint64 // milliseconds
	Text, ID          string
	Kind, ContentType uint64
	Author            hexutil.Bytes // by the signature inside
}

// sealChat returns an ApplicationMetadataMessage with a plain text.
func sealChat(by *ecdsa.PrivateKey, kind uint64, id, text string) ([]byte, error) {
	now := uint64(time.Now().UnixMilli())
	m := putNum(putNum(nil, 1, now), 2, now)
	m = putBytes(putBytes(m, 3, text), 6, id)
	m = putNum(putNum(m, 7, kind), 8, textPlain)
	sig, err := crypto.Sign(crypto.Keccak256(m), by)
	if err != nil {
		return nil, err
	}
	return putNum(putBytes(putBytes(nil, 1, sig), 2, m), 3, typeChatMessage), nil
}

// openChat is the other way round.
func openChat(b []byte) (c chat, err error) {
	wrapper, err := parse(b)
	if err != nil {
		return c, fmt.Errorf("ApplicationMetadataMessage: %w", err)
	}
	if got := wrapper.num(3); got != typeChatMessage {
		return c, fmt.Errorf("ApplicationMetadataMessage: type is %d, want %d", got, typeChatMessage)
	}
	author, err := crypto.SigToPub(crypto.Keccak256(wrapper.bytes(2)), wrapper.bytes(1))
	if err != nil {
		return c, fmt.Errorf("ApplicationMetadataMessage: signature: %w", err)
	}
	m, err := parse(wrapper.bytes(2))
	if err != nil {
		return c, fmt.Errorf("ChatMessage: %w", err)
	}
	return chat{
		Clock: m.num(1), Timestamp: m.num(2), Text: string(m.bytes(3)), ID: string(m.bytes(6)),
		Kind: m.num(7), ContentType: m.num(8), Author: crypto.FromECDSAPub(author),
	}, nil
}

// sealDirect returns a ProtocolMessage that any device of its receiver can open:
// the static form that is used before anything of the receiver is known.
func sealDirect(to *ecdsa.PublicKey, body []byte) ([]byte, error) {
	ephemeral, err := crypto.GenerateKey()
	if err != nil {
		return nil, err
	}
	gcm, err := staticCipher(ephemeral, to)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, gcm.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	header := putBytes(nil, 1, crypto.CompressPubkey(&ephemeral.PublicKey))
	direct := putBytes(nil, fieldDHPayload, append(gcm.Seal(nil, nonce, body, nil), nonce...))
	direct = putBytes(direct, fieldDHHeader, header)
	entry := putBytes(putBytes(nil, 1, anyDevice), 2, direct)
	return putBytes(putBytes(nil, fieldInstallation, "geth"), fieldDirect, entry), nil
}

// openDirect is the other way round.
func openDirect(by *ecdsa.PrivateKey, b []byte) ([]byte, error) {
	m, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("ProtocolMessage: %w", err)
	}
	entry, err := parse(m.bytes(fieldDirect))
	if err != nil {
		return nil, fmt.Errorf("direct_message: %w", err)
	}
	if device := string(entry.bytes(1)); device != anyDevice {
		return nil, fmt.Errorf("direct_message: for device %q, want %q", device, anyDevice)
	}
	direct, err := parse(entry.bytes(2))
	if err != nil {
		return nil, fmt.Errorf("direct_message: %w", err)
	}
	header, err := parse(direct.bytes(fieldDHHeader))
	if err != nil {
		return nil, fmt.Errorf("DH_header: %w", err)
	}
	ephemeral, err := crypto.DecompressPubkey(header.bytes(1))
	if err != nil {
		return nil, fmt.Errorf("DH_header: %w", err)
	}
	gcm, err := staticCipher(by, ephemeral)
	if err != nil {
		return nil, err
	}
	sealed := direct.bytes(fieldDHPayload)
	if len(sealed) < gcm.NonceSize() {
		return nil, fmt.Errorf("direct_message: payload: %d bytes", len(sealed))
	}
	at := len(sealed) - gcm.NonceSize()
	return gcm.Open(nil, sealed[at:], sealed[:at], nil)
}

// staticCipher is AES-256-GCM with the X coordinate of the shared point as key.
func staticCipher(own *ecdsa.PrivateKey, other *ecdsa.PublicKey) (cipher.AEAD, error) {
	x, _ := crypto.S256().ScalarMult(other.X, other.Y, own.D.Bytes())
	block, err := aes.NewCipher(x.FillBytes(make([]byte, 32)))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// synced is one message of data sync.
type synced struct {
	group []byte
	time  uint64
	body  []byte
}

// groupOf returns the data sync group of two people: Keccak-256 of both
// compressed keys, the one with the smaller X first.
func groupOf(a, b *ecdsa.PublicKey) []byte {
	if a.X.Cmp(b.X) > 0 {
		a, b = b, a
	}
	return crypto.Keccak256(crypto.CompressPubkey(a), crypto.CompressPubkey(b))
}

// id is what an acknowledgement names.
func (m synced) id() []byte {
	h := sha256.New()
	h.Write([]byte("MESSAGE_ID"))
	h.Write(m.group)
	h.Write(binary.LittleEndian.AppendUint64(nil, m.time))
	h.Write(m.body)
	return h.Sum(nil)
}

// seal returns a Payload with this message.
func (m synced) seal() []byte {
	b := putBytes(nil, fieldGroup, m.group)
	b = putBytes(putNum(b, fieldTime, m.time), fieldBody, m.body)
	return putBytes(nil, fieldMessages, b)
}

// openSynced returns the only message of a Payload.
func openSynced(b []byte) (m synced, err error) {
	p, err := parse(b)
	if err != nil {
		return m, fmt.Errorf("Payload: %w", err)
	}
	inner, err := parse(p.bytes(fieldMessages))
	if err != nil {
		return m, fmt.Errorf("Message: %w", err)
	}
	if m = (synced{inner.bytes(fieldGroup), inner.num(fieldTime), inner.bytes(fieldBody)}); m.body == nil {
		return m, fmt.Errorf("Payload: no message in %x", b)
	}
	return m, nil
}

// acknowledges reports whether a Payload acknowledges the message with this id.
func acknowledges(b, id []byte) bool {
	p, err := parse(b)
	if err != nil {
		return false
	}
	for _, v := range p[fieldAcks] {
		if bytes.Equal(v.bytes, id) {
			return true
		}
	}
	return false
}
