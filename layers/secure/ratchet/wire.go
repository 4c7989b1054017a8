package ratchet

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// What a stranger may put into one message. Genuine clients send one bundle of
// at most three installations, and one entry for each of at most three devices.
const (
	maxBundles       = 4   // bundles in a message
	maxBundleEntries = 16  // installations in a bundle
	maxDirect        = 16  // devices a message is encrypted for
	maxInstallation  = 64  // bytes of an installation id; a UUID has 36
	maxKeyBytes      = 65  // bytes of any public key, in either form
	maxSignature     = 128 // bytes of a bundle's signature; a good one has 65
)

// dhOnlyTarget is the key of a direct message that any device can open.
const dhOnlyTarget = "none"

// protocolMessage is what an envelope of the secure transport contains
// (Status 5/SECURE-TRANSPORT, "ProtocolMessage").
type protocolMessage struct {
	installation string // of the sender
	bundles      []bundle
	direct       []directMessage // sorted by target, each target once
	public       []byte
	hasPublic    bool
}

// bundle carries the signed prekeys of an identity's installations.
type bundle struct {
	identity  []byte        // 33 bytes
	prekeys   []bundleEntry // sorted by installation, each once
	signature []byte        // 65 bytes
	timestamp int64         // nanoseconds since 1970
}

// bundleEntry is the signed prekey of one installation.
type bundleEntry struct {
	installation    string
	prekey          []byte // 33 bytes
	version         uint32
	protocolVersion uint32 // not covered by the signature
}

// directMessage is the ciphertext for one device.
type directMessage struct {
	target  string
	x3dh    *x3dhHeader
	ratchet *ratchetHeader
	dh      *dhHeader
	payload []byte
}

// x3dhHeader opens a session.
type x3dhHeader struct {
	ephemeral []byte
	prekey    []byte // of the receiver, 33 bytes
}

// ratchetHeader says which message key of which session to use.
type ratchetHeader struct {
	key    []byte // 33 bytes; 32 in the flavour of 2019
	n, pn  uint32
	prekey []byte // names the session; not authenticated
}

// dhHeader carries the ephemeral key of a message without a session.
type dhHeader struct{ ephemeral []byte }

var (
	errWire      = errors.New("malformed protobuf")
	errTooMany   = errors.New("too many entries")
	errTooLong   = errors.New("field too long")
	errNotUTF8   = errors.New("text is not UTF-8")
	errNoMessage = errors.New("no ProtocolMessage")
)

// fields calls f for each field of b. Fields of a type other than expected are
// f's to skip; groups and malformed bytes are an error.
func fields(b []byte, f func(num protowire.Number, typ protowire.Type, value []byte, number uint64) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errWire
		}
		b = b[n:]
		var (
			value  []byte
			number uint64
		)
		switch typ {
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type, protowire.Fixed64Type:
			n = protowire.ConsumeFieldValue(num, typ, b)
		default:
			return errWire
		}
		if n < 0 {
			return errWire
		}
		b = b[n:]
		if err := f(num, typ, value, number); err != nil {
			return err
		}
	}
	return nil
}

// decodeMessage reads a ProtocolMessage. Its byte fields point into b.
// errNoMessage says that b is well-formed but nothing in it belongs to a
// ProtocolMessage: the raw message of an application can look like that.
func decodeMessage(b []byte) (protocolMessage, error) {
	var (
		m     protocolMessage
		other bool // a field that no ProtocolMessage has
	)
	err := fields(b, func(num protowire.Number, typ protowire.Type, value []byte, _ uint64) error {
		if typ != protowire.BytesType {
			other = true
			return nil
		}
		switch num {
		case 2:
			if !utf8.Valid(value) {
				return fmt.Errorf("installation_id: %w", errNotUTF8)
			}
			if len(value) > maxInstallation {
				return fmt.Errorf("installation_id: %w", errTooLong)
			}
			m.installation = string(value)
		case 3:
			if len(m.bundles) == maxBundles {
				return fmt.Errorf("bundles: %w", errTooMany)
			}
			d, err := decodeBundle(value)
			if err != nil {
				return fmt.Errorf("bundles: %w", err)
			}
			m.bundles = append(m.bundles, d)
		case 101:
			d, err := decodeDirect(value)
			if err != nil {
				return fmt.Errorf("direct_message: %w", err)
			}
			m.direct = put(m.direct, d, func(a, b directMessage) int { return cmp.Compare(a.target, b.target) })
			if len(m.direct) > maxDirect {
				return fmt.Errorf("direct_message: %w", errTooMany)
			}
		case 102:
			m.public, m.hasPublic = value, true
		default:
			other = true
		}
		return nil
	})
	if err != nil {
		return protocolMessage{}, err
	}
	if len(m.bundles) == 0 && len(m.direct) == 0 && !m.hasPublic && (other || m.installation == "") {
		return protocolMessage{}, errNoMessage
	}
	return m, nil
}

// put inserts v into the sorted list s, or replaces its equal: as in every
// protobuf map, the last entry counts.
func put[T any](s []T, v T, compare func(a, b T) int) []T {
	i, found := slices.BinarySearchFunc(s, v, compare)
	if found {
		s[i] = v
		return s
	}
	return slices.Insert(s, i, v)
}
