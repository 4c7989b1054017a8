package mvds

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
)

// Field numbers of MVDS v0.0.23. Later releases renumbered everything and are
// another wire format.
const (
	fieldAcks     protowire.Number = 5001
	fieldOffers   protowire.Number = 5002
	fieldRequests protowire.Number = 5003
	fieldMessages protowire.Number = 5004

	fieldGroup     protowire.Number = 6001
	fieldTimestamp protowire.Number = 6002
	fieldBody      protowire.Number = 6003
)

const (
	idSize = 32

	// wireID is what one id takes in a payload: tag, length, id.
	wireID = 3 + 1 + idSize

	// wireOverhead is the most that a payload with one message is longer than
	// the body: tag and length of the message, group, timestamp, tag and
	// length of the body.
	wireOverhead = (3 + 5) + (3 + 1 + 32) + (3 + 10) + (3 + 5)
)

// payload is one datagram of MVDS.
type payload struct {
	acks, offers, requests []datasync.MessageID
	messages               []wireMessage
}

// wireMessage is a message as it travels.
type wireMessage struct {
	group     []byte // 32 bytes; other lengths are kept, and accepted by nobody
	timestamp int64  // Unix seconds
	body      []byte
}

// id is the MVDS message identifier.
func (m wireMessage) id() datasync.MessageID {
	h := sha256.New()
	h.Write([]byte("MESSAGE_ID"))
	h.Write(m.group)
	var t [8]byte
	binary.LittleEndian.PutUint64(t[:], uint64(m.timestamp))
	h.Write(t[:])
	h.Write(m.body)
	return datasync.MessageID(h.Sum(nil))
}

// decode reads a payload. It is false for bytes that are not MVDS: those that
// are no protobuf, and those with all four lists empty, because every protobuf
// of other field numbers parses as such. Ids of a wrong length and entries
// beyond the bounds are left out one by one. The result shares memory with b.
func decode(b []byte) (p payload, isMVDS bool) {
	for len(b) > 0 {
		num, typ, value, rest, ok := field(b)
		if !ok {
			return payload{}, false
		}
		b = rest
		if typ != protowire.BytesType {
			continue
		}
		switch num {
		case fieldAcks:
			p.acks = appendID(p.acks, value)
		case fieldOffers:
			p.offers = appendID(p.offers, value)
		case fieldRequests:
			p.requests = appendID(p.requests, value)
		case fieldMessages:
			m, ok := decodeMessage(value)
			if !ok {
				return payload{}, false
			}
			if len(p.messages) < maxPayloadMessages {
				p.messages = append(p.messages, m)
			}
		default:
			continue
		}
		isMVDS = true
	}
	return p, isMVDS
}

func decodeMessage(b []byte) (m wireMessage, ok bool) {
	for len(b) > 0 {
		num, typ, value, rest, ok := field(b)
		if !ok {
			return m, false
		}
		b = rest
		switch {
		case num == fieldGroup && typ == protowire.BytesType:
			m.group = value
		case num == fieldTimestamp && typ == protowire.VarintType:
			v, _ := protowire.ConsumeVarint(value)
			m.timestamp = int64(v)
		case num == fieldBody && typ == protowire.BytesType:
			m.body = value
		}
	}
	return m, true
}

// field cuts the first field off b. The value of a bytes field comes without
// its length, others as they are.
func field(b []byte) (num protowire.Number, typ protowire.Type, value, rest []byte, ok bool) {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 || !num.IsValid() {
		return 0, 0, nil, nil, false
	}
	b = b[n:]
	if typ == protowire.BytesType {
		value, n = protowire.ConsumeBytes(b)
	} else {
		n = protowire.ConsumeFieldValue(num, typ, b)
		value = b[:max(n, 0)]
	}
	if n < 0 {
		return 0, 0, nil, nil, false
	}
	return num, typ, value, b[n:], true
}

func appendID(ids []datasync.MessageID, b []byte) []datasync.MessageID {
	if len(b) != idSize || len(ids) >= maxPayloadIDs {
		return ids
	}
	return append(ids, datasync.MessageID(b))
}

// encode returns the wire form, the lists in the order of their numbers.
func (p payload) encode() []byte {
	b := make([]byte, 0, p.size())
	b = encodeIDs(b, fieldAcks, p.acks)
	b = encodeIDs(b, fieldOffers, p.offers)
	b = encodeIDs(b, fieldRequests, p.requests)
	for _, m := range p.messages {
		b = protowire.AppendTag(b, fieldMessages, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(m.innerSize()))
		b = m.encode(b)
	}
	return b
}

func encodeIDs(b []byte, num protowire.Number, ids []datasync.MessageID) []byte {
	for i := range ids {
		b = protowire.AppendTag(b, num, protowire.BytesType)
		b = protowire.AppendBytes(b, ids[i][:])
	}
	return b
}

// encode appends the message; zero values are left out, as protobuf 3 does.
func (m wireMessage) encode(b []byte) []byte {
	if len(m.group) > 0 {
		b = protowire.AppendTag(b, fieldGroup, protowire.BytesType)
		b = protowire.AppendBytes(b, m.group)
	}
	if m.timestamp != 0 {
		b = protowire.AppendTag(b, fieldTimestamp, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(m.timestamp))
	}
	if len(m.body) > 0 {
		b = protowire.AppendTag(b, fieldBody, protowire.BytesType)
		b = protowire.AppendBytes(b, m.body)
	}
	return b
}

func (p payload) size() int {
	n := wireID * (len(p.acks) + len(p.offers) + len(p.requests))
	for _, m := range p.messages {
		n += m.size()
	}
	return n
}

// size is what the message takes in a payload.
func (m wireMessage) size() int {
	return protowire.SizeTag(fieldMessages) + protowire.SizeBytes(m.innerSize())
}

func (m wireMessage) innerSize() (n int) {
	if len(m.group) > 0 {
		n += protowire.SizeTag(fieldGroup) + protowire.SizeBytes(len(m.group))
	}
	if m.timestamp != 0 {
		n += protowire.SizeTag(fieldTimestamp) + protowire.SizeVarint(uint64(m.timestamp))
	}
	if len(m.body) > 0 {
		n += protowire.SizeTag(fieldBody) + protowire.SizeBytes(len(m.body))
	}
	return n
}

// oneToOne is the id of the group of two people, who may be the same: the hash
// of their compressed keys, the one with the smaller X first.
func oneToOne(a, b layers.PublicKey) [32]byte {
	ax, bx := a.X(), b.X()
	if bytes.Compare(ax[:], bx[:]) > 0 {
		a, b = b, a
	}
	ac, bc := a.Compressed(), b.Compressed()
	return layers.Keccak256(ac[:], bc[:])
}
