package status

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
	"github.com/stratanode/strata/layers/payload"
)

// The records of the layer. Keys are printable, numbers in them are 16 hex
// digits so that they sort. No record is secret beyond the encryption of the
// whole database.
//
//	c/<chat>               chat
//	m/<id>                 message
//	o/<chat>/<clock>/<id>  order of a chat: id
//	s/<seq>                order of becoming durable, over all chats: id
//	p/<id>                 body of an own message the layer below has not taken
//	r/<slot>               ring of answered Says: count | ref | id
const (
	prefixChat    = "c/"
	prefixMessage = "m/"
	prefixOrder   = "o/"
	prefixSeq     = "s/"
	prefixPending = "p/"
	prefixSaid    = "r/"
)

func hex16(v uint64) string {
	s := strconv.FormatUint(v, 16)
	return "0000000000000000"[len(s):] + s
}

func chatKey(id payload.ChatID) string       { return prefixChat + string(id) }
func messageKey(id payload.MessageID) string { return prefixMessage + hex.EncodeToString(id[:]) }
func pendingKey(id payload.MessageID) string { return prefixPending + hex.EncodeToString(id[:]) }
func orderPrefix(id payload.ChatID) string   { return prefixOrder + string(id) + "/" }
func seqKey(seq uint64) string               { return prefixSeq + hex16(seq) }

func orderKey(chat payload.ChatID, clock uint64, id payload.MessageID) string {
	return orderPrefix(chat) + hex16(clock) + "/" + hex.EncodeToString(id[:])
}

// broken panics: a record is not one that this layer wrote.
func broken(key string, err error) {
	panic(fmt.Errorf("status: record %q: %w", key, err))
}

// storedMessage is a message with its place in the order of becoming durable.
type storedMessage struct {
	payload.Message
	seq uint64
}

const (
	flagPublic = 1 << iota
	flagOwn
)

func (m storedMessage) encode() []byte {
	b := make([]byte, 0, len(m.Chat)+len(m.Text)+len(m.ResponseTo)+len(m.Reason)+128)
	var flags uint64
	if m.Public {
		flags |= flagPublic
	}
	if m.Own {
		flags |= flagOwn
	}
	b = appendString(b, 1, string(m.Chat))
	b = appendBytes(b, 2, m.From[:])
	b = appendString(b, 3, m.Text)
	b = appendString(b, 4, m.ResponseTo)
	b = appendUint(b, 5, m.Clock)
	b = appendUint(b, 6, milliseconds(m.Timestamp))
	b = appendUint(b, 7, uint64(m.Stored.UnixNano()))
	b = appendUint(b, 8, flags)
	b = appendUint(b, 9, uint64(m.Protection))
	b = appendUint(b, 10, uint64(m.Status))
	b = appendString(b, 11, m.Reason)
	return appendUint(b, 12, m.seq)
}

func decodeStored(id payload.MessageID, b []byte) (storedMessage, error) {
	m := storedMessage{Message: payload.Message{ID: id}}
	var (
		from                                         []byte
		chat                                         string
		timestamp, stored, flags, protection, status uint64
	)
	err := eachField(b, func(f field) error {
		switch f.number {
		case 1:
			return f.setString(&chat)
		case 2:
			return f.setBytes(&from)
		case 3:
			return f.setString(&m.Text)
		case 4:
			return f.setString(&m.ResponseTo)
		case 5:
			return f.setUint(&m.Clock)
		case 6:
			return f.setUint(&timestamp)
		case 7:
			return f.setUint(&stored)
		case 8:
			return f.setUint(&flags)
		case 9:
			return f.setUint(&protection)
		case 10:
			return f.setUint(&status)
		case 11:
			return f.setString(&m.Reason)
		case 12:
			return f.setUint(&m.seq)
		}
		return nil
	})
	if err != nil {
		return m, err
	}
	if len(from) != len(m.From) || chat == "" {
		return m, fmt.Errorf("author of %d bytes in chat %q", len(from), chat)
	}
	copy(m.From[:], from) // it was a point when it was written
	m.Chat = payload.ChatID(chat)
	m.Timestamp = time.UnixMilli(int64(timestamp)).UTC()
	m.Stored = time.Unix(0, int64(stored)).UTC()
	m.Public, m.Own = flags&flagPublic != 0, flags&flagOwn != 0
	m.Protection, m.Status = datasync.Protection(protection), payload.Status(status)
	return m, nil
}

func (m storedMessage) record() layers.Record {
	return layers.Record{Key: messageKey(m.ID), Value: m.encode()}
}

// message reads a message, if it is kept.
func (n *Node) message(id payload.MessageID) (storedMessage, bool) {
	key := messageKey(id)
	b, ok := n.saved.Get(key)
	if !ok {
		return storedMessage{}, false
	}
	m, err := decodeStored(id, b)
	if err != nil {
		broken(key, err)
	}
	return m, true
}

const (
	flagOpen = 1 << iota
	flagAnswered
)

func (c *chat) record() layers.Record {
	var flags uint64
	if c.open {
		flags |= flagOpen
	}
	if c.answered {
		flags |= flagAnswered
	}
	// The flags are shifted so that there is always a value.
	b := protowire.AppendVarint(nil, flags<<1|1)
	b = protowire.AppendVarint(b, c.clock)
	b = protowire.AppendVarint(b, uint64(c.count))
	return layers.Record{Key: chatKey(c.id), Value: b}
}

func decodeChat(key string, b []byte) (*chat, error) {
	id, person, err := parseChat(payload.ChatID(strings.TrimPrefix(key, prefixChat)))
	if err != nil {
		return nil, err
	}
	var numbers [3]uint64
	for i := range numbers {
		v, size := protowire.ConsumeVarint(b)
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		numbers[i], b = v, b[size:]
	}
	flags := numbers[0] >> 1
	return &chat{
		id: id, person: person,
		open: flags&flagOpen != 0, answered: flags&flagAnswered != 0,
		clock: numbers[1], count: int(numbers[2]),
	}, nil
}

// load reads what the layer keeps in memory: the chats, the own messages that
// wait, the answered Says and the last place in the order.
func (n *Node) load() {
	from, to := layers.Prefix(prefixChat)
	for key, b := range n.saved.Scan(from, to, false) {
		c, err := decodeChat(key, b)
		if err != nil {
			broken(key, err)
		}
		n.chats[c.id] = c
		if c.stranger() {
			n.strangers++
		}
	}
	from, to = layers.Prefix(prefixPending)
	for key, b := range n.saved.Scan(from, to, false) {
		p, err := decodePending(key, b)
		if err != nil {
			broken(key, err)
		}
		n.outbox.add(p)
		n.await(p, p.said.Add(n.cfg.PublicRetryFor))
	}
	from, to = layers.Prefix(prefixSaid)
	for key, b := range n.saved.Scan(from, to, false) {
		if err := n.said.restore(b); err != nil {
			broken(key, err)
		}
	}
	from, to = layers.Prefix(prefixSeq)
	for key := range n.saved.Scan(from, to, true) {
		last, err := strconv.ParseUint(strings.TrimPrefix(key, prefixSeq), 16, 64)
		if err != nil {
			broken(key, err)
		}
		n.seq = last + 1
		break
	}
}
