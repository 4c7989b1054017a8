package libp2p

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// The protocol /strata/recent/1 gives a peer what it has missed. All numbers
// are big-endian; a frame is its length as an unsigned varint and so many bytes.
// Who opens the stream writes a request frame:
//
//	0   1   kind: 1 ask, 2 hint
//	1   8   scope: the first bytes of sha256 of "recent/1", 0, network, 0, wire form, 0, number of shards
//	9   4   age in seconds: only what the other has got since; 0 for everything
//	13  …   the shards, a bit each, the lowest in the lowest bit of the first byte
//
// A hint ends here: it says that there is something new to ask for. To an ask the
// other answers with frames of 16-byte names of envelopes (the first half of
// sha256 of the wire form), at most 4096 each, and an empty frame; the asker with
// one frame of a bit for each name it wants, or an empty one if there is none; and
// the other with those envelopes, a frame each in the order of the names, and an
// empty frame, which may come early. Who breaks a rule is reset.
const (
	recentProtocol = "/strata/recent/1"

	kindAsk  = 1
	kindHint = 2

	scopeSize    = 8
	requestSize  = 13 // bytes before the shards
	namesInFrame = 4096
	maxNames     = 1 << 16 // in one answer
	maxRequest   = requestSize + maxShards/8
)

var errRecent = errors.New("libp2p: peer broke the rules of " + recentProtocol)

type request struct {
	kind   byte
	scope  [scopeSize]byte
	age    time.Duration // 0 for everything
	shards []bool
}

// scopeOf names a network, so that nodes of different ones do not exchange
// anything.
func scopeOf(network, wire string, shards int) [scopeSize]byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "recent/1\x00%s\x00%s\x00%d", network, wire, shards))
	return [scopeSize]byte(sum[:scopeSize])
}

func (r request) encode() []byte {
	b := make([]byte, requestSize, maxRequest)
	b[0] = r.kind
	copy(b[1:], r.scope[:])
	binary.BigEndian.PutUint32(b[9:], uint32(r.age/time.Second))
	return append(b, packBits(r.shards)...)
}

// decodeRequest reads a request to a node with the number of shards.
func decodeRequest(b []byte, shards int) (request, error) {
	if len(b) < requestSize || (b[0] != kindAsk && b[0] != kindHint) {
		return request{}, fmt.Errorf("%w: request", errRecent)
	}
	list, ok := unpackBits(b[requestSize:], shards)
	if !ok {
		return request{}, fmt.Errorf("%w: shards", errRecent)
	}
	return request{
		kind:   b[0],
		scope:  [scopeSize]byte(b[1:9]),
		age:    time.Duration(binary.BigEndian.Uint32(b[9:])) * time.Second,
		shards: list,
	}, nil
}

func writeFrame(w *bufio.Writer, b []byte) error {
	var length [binary.MaxVarintLen64]byte
	if _, err := w.Write(length[:binary.PutUvarint(length[:], uint64(len(b)))]); err != nil {
		return err
	}
	_, err := w.Write(b)
	return err
}

// readFrame reads a frame of at most limit bytes. Memory is used as bytes
// arrive, not as the sender claims.
func readFrame(r *bufio.Reader, limit int) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if n > uint64(limit) {
		return nil, fmt.Errorf("%w: frame of %d bytes", errRecent, n)
	}
	if n <= 64<<10 {
		b := make([]byte, n)
		_, err := io.ReadFull(r, b)
		return b, err
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, r, int64(n)); err != nil {
		return nil, err
	}
	return bytes.Clone(b.Bytes()), nil
}
