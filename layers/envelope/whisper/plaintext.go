package whisper

import (
	"errors"
	"fmt"

	"github.com/stratanode/strata/layers"
)

// What a plaintext is made of (Whisper v6 data field, EIP-627 §Contents of Data
// Field):
//
//	flags(1) | payload size (1..3, little-endian) | payload | padding | signature(65)
const (
	sizeMask   = 3 // bits 0 and 1 of the flags: how many bytes the size field has
	signedFlag = 4 // bit 2: a signature ends the plaintext; the other bits have no meaning

	signatureLen = 65
	paddedTo     = 256 // the writer pads to a multiple of it, in bytes

	// MaxPayload is the longest payload that a plaintext can describe, in bytes:
	// a size field has at most three.
	MaxPayload = 1<<24 - 1
)

// ErrPlaintext reports a decrypted message that is not well formed.
var ErrPlaintext = errors.New("whisper: plaintext")

// Plaintext is what an envelope holds once it is decrypted.
type Plaintext struct {
	Payload []byte
	Padding []byte
	Signer  layers.PublicKey // zero: not signed
}

// ParsePlaintext reads a decrypted message. The result shares the memory of b.
//
// It accepts what the nodes of the network accept: any padding or none, a size
// field longer than needed, or none at all, which stands for an empty payload.
// The errors wrap ErrPlaintext.
func ParsePlaintext(b []byte) (Plaintext, error) {
	if len(b) == 0 {
		return Plaintext{}, fmt.Errorf("%w: empty", ErrPlaintext)
	}
	end := len(b)
	signed := b[0]&signedFlag != 0
	if signed {
		// At least one byte stands between the flags and the signature.
		if end -= signatureLen; end < 2 {
			return Plaintext{}, fmt.Errorf("%w: signature: cut short, %d bytes in all", ErrPlaintext, len(b))
		}
	}
	start := 1 + int(b[0]&sizeMask)
	if start > end {
		return Plaintext{}, fmt.Errorf("%w: size field: %d of %d bytes", ErrPlaintext, end-1, start-1)
	}
	size := 0
	for i := start - 1; i > 0; i-- {
		size = size<<8 | int(b[i])
	}
	if size > end-start {
		return Plaintext{}, fmt.Errorf("%w: payload: %d of %d bytes", ErrPlaintext, end-start, size)
	}
	p := Plaintext{Payload: b[start : start+size], Padding: b[start+size : end]}
	if signed { // last, because it is what costs time
		signer, err := layers.Recover(layers.Keccak256(b[:end]), b[end:])
		if err != nil {
			return Plaintext{}, fmt.Errorf("%w: %w", ErrPlaintext, err)
		}
		p.Signer = signer
	}
	return p, nil
}

// BuildPlaintext writes a message with the padding given and signs it unless
// signer is zero. PaddingLen says how long padding should be. An error means
// that payload is longer than MaxPayload.
func BuildPlaintext(payload, padding []byte, signer layers.PrivateKey) ([]byte, error) {
	if len(payload) > MaxPayload {
		return nil, fmt.Errorf("%w: payload: %d bytes, the limit is %d", ErrPlaintext, len(payload), MaxPayload)
	}
	width := sizeFieldLen(len(payload))
	b := make([]byte, 0, 1+width+len(payload)+len(padding)+signatureLen)
	flags := byte(width)
	if !signer.IsZero() {
		flags |= signedFlag
	}
	b = append(b, flags)
	for i := range width {
		b = append(b, byte(len(payload)>>(8*i)))
	}
	b = append(b, payload...)
	b = append(b, padding...)
	if !signer.IsZero() {
		b = append(b, signer.Sign(layers.Keccak256(b))...)
	}
	return b, nil
}

// PaddingLen returns how many bytes of padding bring a message to a multiple of
// 256 bytes: 1 to 256, never none.
func PaddingLen(payload int, signed bool) int {
	raw := 1 + sizeFieldLen(payload) + payload
	if signed {
		raw += signatureLen
	}
	return paddedTo - raw%paddedTo
}

// sizeFieldLen returns the length of the size field, which is never left out.
func sizeFieldLen(payload int) int {
	switch {
	case payload < 1<<8:
		return 1
	case payload < 1<<16:
		return 2
	default:
		return 3
	}
}

// signedLen returns the length of a padded and signed plaintext.
func signedLen(payload int) int {
	return 1 + sizeFieldLen(payload) + payload + PaddingLen(payload, true) + signatureLen
}

// payloadLimit returns the longest payload that, signed, padded and sealed
// whichever way, fits into data bytes; -1 if not even the empty one does.
func payloadLimit(data int) int {
	room := max(0, data-asymmetricOverhead) / paddedTo * paddedTo
	limit := -1
	for width := 1; width <= 3; width++ {
		// One byte of the room is padding, which is never left out.
		payload := min(room-1-width-signatureLen-1, 1<<(8*width)-1)
		if payload >= 0 && sizeFieldLen(payload) == width {
			limit = max(limit, payload)
		}
	}
	return limit
}
