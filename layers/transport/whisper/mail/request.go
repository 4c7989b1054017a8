package mail

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/internal/rlpwrite"
)

// layout is how the contents of a request are written down.
type layout uint8

const (
	layoutRLP7  layout = iota // status-go from 0.40 on
	layoutRLP6                // status-go of October 2018 to 0.39
	layoutRLP5                // the written specification 4/WHISPER-MAILSERVER
	layoutFixed               // the oldest clients: no RLP
	layoutPlain               // in clear, with an id
	layoutSync                // packet 123: for the archive of a mail server, and with no id
)

// request is what a request of any form says.
type request struct {
	layout   layout
	from, to uint32 // unix seconds, both included; a zero to is now and a bit
	bloom    []byte // empty: all
	topics   []transport.Topic
	limit    uint32 // zero: the server's
	cursor   []byte
	batch    bool // several envelopes per packet
}

// Lengths of the fixed layout in bytes, up to the end of what they are named
// after. A cursor has 36 or, with the topic behind it, 40.
const (
	fixedTimes  = 8
	fixedBloom  = fixedTimes + bloomSize
	fixedLimit  = fixedBloom + 4
	fixedCursor = fixedLimit + cursorSize
	fixedTopic  = fixedCursor + 4
)

// decodeRequest reads the contents of a request envelope in any of their forms.
// Its errors are told the peer; the deployed servers have the same texts.
func decodeRequest(b []byte) (request, error) {
	if isList(b) {
		return decodeListed(b)
	}
	return decodeFixed(b)
}

// isList says whether b is one list and nothing more. No request in the fixed
// layout is: its first byte would be that of a time after the year 2070.
func isList(b []byte) bool {
	kind, _, rest, err := rlp.Split(b)
	return err == nil && kind == rlp.List && len(rest) == 0
}

func decodeListed(b []byte) (request, error) {
	r := readList(b)
	n, err := rlp.CountValues(r.rest)
	r.fault("items", err)
	if r.err == nil && (n < 5 || n > 7) {
		r.fault("items", fmt.Errorf("%d, want 5 to 7", n))
	}
	q := request{layout: [...]layout{layoutRLP5, layoutRLP6, layoutRLP7}[min(max(n, 5), 7)-5]}
	q.from, q.to = r.uint32("lower"), r.uint32("upper")
	q.bloom = r.bytes("bloom")
	if q.layout == layoutRLP7 {
		q.topics = r.topics("topics")
	}
	q.limit = r.uint32("limit")
	q.cursor = r.bytes("cursor")
	if q.layout != layoutRLP5 {
		q.batch = r.bool("batch")
	}
	if err := r.end(); err != nil {
		return request{}, fmt.Errorf("failed to decode data: %w", err)
	}
	return q, nil
}

func decodeFixed(b []byte) (request, error) {
	switch n := len(b); {
	case n < fixedTimes:
		return request{}, errors.New("Undersized p2p request")
	case n > fixedTimes && n < fixedBloom:
		return request{}, errors.New("Undersized bloom filter in p2p request")
	}
	q := request{layout: layoutFixed, from: binary.BigEndian.Uint32(b), to: binary.BigEndian.Uint32(b[4:])}
	if len(b) >= fixedBloom {
		q.bloom = b[fixedTimes:fixedBloom:fixedBloom]
	}
	if len(b) >= fixedLimit {
		q.limit = binary.BigEndian.Uint32(b[fixedBloom:])
	}
	switch len(b) {
	case fixedCursor, fixedTopic:
		q.cursor = b[fixedLimit:fixedCursor:fixedCursor]
	default:
		// Between bloom and limit there may be a piece of one, which nobody reads;
		// a cursor of another length must not pass for none.
		if len(b) > fixedLimit {
			q.cursor = b[fixedLimit:]
		}
	}
	return q, nil
}

// encode returns the contents of a request envelope, or nil for the plain form,
// which has none.
func (q request) encode() []byte {
	switch q.layout {
	case layoutPlain:
		return nil
	case layoutFixed:
		return q.encodeFixed()
	}
	b := appendUint(appendUint(nil, q.from), q.to)
	b = rlpwrite.String(b, q.bloom)
	if q.layout == layoutRLP7 {
		topics := make([]byte, 0, topicLen*len(q.topics))
		for _, t := range q.topics {
			topics = rlpwrite.String(topics, t[:])
		}
		b = rlpwrite.List(b, topics)
	}
	b = rlpwrite.String(appendUint(b, q.limit), q.cursor)
	if q.layout != layoutRLP5 {
		b = rlpwrite.Bool(b, q.batch)
	}
	return rlpwrite.List(nil, b)
}

func (q request) encodeFixed() []byte {
	b := binary.BigEndian.AppendUint32(nil, q.from)
	b = binary.BigEndian.AppendUint32(b, q.to)
	b = append(b, q.bloom...)
	if len(q.bloom) == 0 {
		return b
	}
	b = binary.BigEndian.AppendUint32(b, q.limit)
	return append(b, q.cursor...)
}

// plain returns a request that came in clear. The form implies several
// envelopes per packet.
func (p PlainRequest) request() request {
	return request{layout: layoutPlain, from: p.From, to: p.To, bloom: p.Bloom, limit: p.Limit, cursor: p.Cursor, batch: true}
}

// request returns s as a request, without what is peculiar to it.
func (s SyncRequest) request() request {
	return request{from: s.Lower, to: s.Upper, bloom: s.Bloom, limit: s.Limit, cursor: s.Cursor, batch: true}
}

// openEnd is how far beyond now a request without an end reaches: the clocks of
// senders may be ahead.
const openEnd = time.Minute

// fill puts the defaults in (Status 4/WHISPER-MAILSERVER; status-go 0.40).
func (q *request) fill(now time.Time) {
	if q.limit == 0 {
		q.limit = transport.MaxPage
	}
	if q.to == 0 {
		q.to = seconds(now.Add(openEnd))
	}
}

// check tells what is wrong with a filled request. A bloom of another length
// than 64 bytes ended the servers of 2019.
func (q *request) check() error {
	switch {
	case q.to < q.from:
		return fmt.Errorf("request is invalid: query range is invalid: lower > upper (%d > %d)", q.from, q.to)
	case len(q.bloom) != 0 && len(q.bloom) != bloomSize:
		return fmt.Errorf("request is invalid: bloom filter has %d bytes, want %d", len(q.bloom), bloomSize)
	case q.limit > transport.MaxPage:
		return errors.New("request is invalid: limit exceeds the maximum allowed value")
	case len(q.cursor) != 0 && len(q.cursor) != cursorSize:
		return fmt.Errorf("request is invalid: cursor has %d bytes, want %d", len(q.cursor), cursorSize)
	}
	return nil
}

// asked returns a checked request as it is reported.
func (q *request) asked() transport.Asked {
	a := transport.Asked{
		From: time.Unix(int64(q.from), 0), To: time.Unix(int64(q.to), 0),
		Topics: q.topics, Limit: int(q.limit), Cursor: bytes.Clone(q.cursor),
	}
	if b := bloom(q.bloom); len(b) == bloomSize && !b.full() {
		a.Bloom = (*[bloomSize]byte)(bytes.Clone(b))
	}
	return a
}

// seconds returns t in unix seconds, at the nearest bound if it is beyond.
func seconds(t time.Time) uint32 {
	return uint32(min(max(t.Unix(), 0), 1<<32-1))
}
