package mail

import (
	"bytes"
	"fmt"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/internal/rlpwrite"
)

// PlainRequest is packet 126 in clear: a request that no mail server can refuse
// for want of a password (status-im/whisper 1.6, MessagesRequest). Times are in
// unix seconds and both included.
type PlainRequest struct {
	ID       transport.Hash // comes back in Complete
	From, To uint32
	Limit    uint32
	Cursor   []byte
	Bloom    []byte
	Bytes    int // of the payload, if it came from a peer
}

// DecodePlainRequest reads the payload of a packet 126 that is no envelope. The
// lengths of Cursor and Bloom are for the server to judge, who can answer.
func DecodePlainRequest(payload []byte) (PlainRequest, error) {
	r := readList(payload)
	id := r.bytes("id")
	p := PlainRequest{Bytes: len(payload)}
	if r.err == nil && len(id) != len(p.ID) {
		r.fault("id", fmt.Errorf("%d bytes, want %d", len(id), len(p.ID)))
	}
	p.From, p.To, p.Limit = r.uint32("from"), r.uint32("to"), r.uint32("limit")
	p.Cursor, p.Bloom = r.bytes("cursor"), r.bytes("bloom")
	if err := r.end(); err != nil {
		return PlainRequest{}, fmt.Errorf("mail: plain request: %w", err)
	}
	p.ID = transport.Hash(id)
	return p, nil
}

// Encode returns p as a packet.
func (p PlainRequest) Encode() overlay.Outgoing {
	b := rlpwrite.String(nil, p.ID[:])
	b = appendUint(appendUint(appendUint(b, p.From), p.To), p.Limit)
	b = rlpwrite.String(rlpwrite.String(b, p.Cursor), p.Bloom)
	return overlay.Outgoing{Code: CodeRequest, Payload: rlpwrite.List(nil, b)}
}

// SyncRequest is packet 123: a mail server asks another one for its archive.
// Times are in unix seconds and both included.
type SyncRequest struct {
	Lower, Upper uint32
	Bloom        []byte
	Limit        uint32
	Cursor       []byte
	Bytes        int // of the payload, if it came from a peer
}

// DecodeSyncRequest reads the payload of a packet 123. Its values are for the
// server to judge, who can answer.
func DecodeSyncRequest(payload []byte) (SyncRequest, error) {
	r := readList(payload)
	s := SyncRequest{Bytes: len(payload)}
	s.Lower, s.Upper = r.uint32("lower"), r.uint32("upper")
	s.Bloom = r.bytes("bloom")
	s.Limit = r.uint32("limit")
	s.Cursor = r.bytes("cursor")
	if err := r.end(); err != nil {
		return SyncRequest{}, fmt.Errorf("mail: sync request: %w", err)
	}
	return s, nil
}

// Encode returns s as a packet.
func (s SyncRequest) Encode() overlay.Outgoing {
	b := appendUint(appendUint(nil, s.Lower), s.Upper)
	b = appendUint(rlpwrite.String(b, s.Bloom), s.Limit)
	b = rlpwrite.String(b, s.Cursor)
	return overlay.Outgoing{Code: CodeSyncRequest, Payload: rlpwrite.List(nil, b)}
}

// SyncResponse is packet 124: a part of an archive, or the end of it.
type SyncResponse struct {
	Envelopes []transport.Envelope // with Raw and PoW
	Cursor    []byte
	Final     bool
	Error     string // what went wrong, as the peer says; it ends the answer too
	Bytes     int    // of the payload, if it came from a peer
}

// DecodeSyncResponse reads the payload of a packet 124; list reads the RLP list
// of envelopes in it, and computes their PoW.
func DecodeSyncResponse(payload []byte, list func([]byte) ([]transport.Envelope, error)) (SyncResponse, error) {
	r := readList(payload)
	s := SyncResponse{Bytes: len(payload)}
	_, rest, err := rlp.SplitList(r.rest)
	if r.fault("envelopes", err); r.err == nil {
		s.Envelopes, err = list(r.rest[:len(r.rest)-len(rest)])
		r.rest = rest
		r.fault("envelopes", err)
	}
	s.Cursor = r.bytes("cursor")
	s.Final = r.bool("final")
	s.Error = string(r.bytes("error"))
	if err := r.end(); err != nil {
		return SyncResponse{}, fmt.Errorf("mail: sync response: %w", err)
	}
	return s, nil
}

// Encode returns s as a packet.
func (s SyncResponse) Encode() overlay.Outgoing {
	group := make([]sealed, len(s.Envelopes))
	for i, e := range s.Envelopes {
		group[i] = rawOf(e)
	}
	return syncPart(group, s.Cursor, s.Final, s.Error)
}

// Lengths of the contents of packet 125 in bytes.
const (
	minComplete = 32  // the request alone
	maxComplete = 100 // request, last envelope and cursor and nothing more
)

// failure marks a packet 125 that tells an error.
var failure = []byte("ERROR=")

// Complete is packet 125: the end of the answer to a request.
type Complete struct {
	Request transport.Hash // hash of its envelope, or its id if it was plain
	Last    transport.Hash // of the envelopes; zero: none
	Cursor  []byte         // 36 bytes or none
	Failed  bool           // then Reason counts, and Last and Cursor do not
	Reason  string         // as the server says
	Bytes   int            // of the payload, if it came from a peer
}

// DecodeComplete reads the payload of a packet 125. Contents that are shorter
// than 32 bytes, or longer than 100 and no failure, are an error.
func DecodeComplete(payload []byte) (Complete, error) {
	b, _, err := rlp.SplitString(payload)
	if err != nil {
		return Complete{}, fmt.Errorf("mail: complete: %w", err)
	}
	c := Complete{Bytes: len(payload)}
	if text, failed := bytes.CutPrefix(b, failure); failed && len(text) >= len(c.Request) {
		c.Failed = true
		c.Request = transport.Hash(text[:32])
		c.Reason = string(text[32:])
		return c, nil
	}
	if len(b) < minComplete || len(b) > maxComplete {
		return Complete{}, fmt.Errorf("mail: complete: %d bytes, want %d to %d", len(b), minComplete, maxComplete)
	}
	c.Request = transport.Hash(b[:32])
	if len(b) >= 64 {
		c.Last = transport.Hash(b[32:64])
	}
	if len(b) == maxComplete {
		c.Cursor = bytes.Clone(b[64:])
	}
	return c, nil
}

// Encode returns c as a packet.
func (c Complete) Encode() overlay.Outgoing {
	var b []byte
	if c.Failed {
		b = append(append(b, failure...), c.Request[:]...)
		b = append(b, c.Reason...)
	} else {
		b = append(append(b, c.Request[:]...), c.Last[:]...)
		b = append(b, c.Cursor...)
	}
	return overlay.Outgoing{Code: CodeComplete, Payload: rlpwrite.String(nil, b)}
}

// Size implements overlay.Packet.
func (p PlainRequest) Size() int { return p.Bytes }

// Size implements overlay.Packet.
func (s SyncRequest) Size() int { return s.Bytes }

// Size implements overlay.Packet.
func (s SyncResponse) Size() int { return s.Bytes }

// Size implements overlay.Packet.
func (c Complete) Size() int { return c.Bytes }

func (PlainRequest) mailPacket() {}
func (SyncRequest) mailPacket()  {}
func (SyncResponse) mailPacket() {}
func (Complete) mailPacket()     {}
