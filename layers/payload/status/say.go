package status

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
	"github.com/stratanode/strata/layers/payload"
)

// say makes a text durable, answers, and offers it to data sync.
func (n *Node) say(out *output, now time.Time, s payload.Say) error {
	if id, again := n.said.ids[s.Ref]; again {
		m, kept := n.message(id)
		if !kept {
			return fmt.Errorf("ref: message %v was said with it and is no longer kept", id)
		}
		out.Up = append(out.Up, payload.Said{Ref: s.Ref, Message: m.Message})
		return nil
	}
	text, err := n.checkText(s.Text)
	if err != nil {
		return err
	}
	id, person, err := parseChat(s.Chat)
	if err != nil {
		return err
	}
	if person == n.self {
		return errors.New("chat: this is the own key; messages to oneself have nobody to acknowledge them")
	}
	if s.Ref == (layers.Ref{}) {
		return errors.New("ref: missing")
	}
	if n.outbox.len() >= n.cfg.MaxPending {
		return fmt.Errorf("%d messages wait to be sent, which is the limit (max_pending)", n.cfg.MaxPending)
	}
	c := n.find(id, person)
	if err := n.mayEnter(c); err != nil {
		return err
	}
	m, body := n.compose(c, now, text)
	if n.tooLong(body) {
		return fmt.Errorf("text: %d bytes, the limit in this chat is %d: the layers below carry messages of %d bytes",
			len(text), max(n.info.MaxBody-(len(body)-len(text)), 0), n.info.MaxBody)
	}

	entered := n.enter(c)
	c.clock = m.Clock
	p := &pending{id: m.ID, chat: c.id, person: c.person, said: m.Stored, seq: n.seq}
	out.Save = append(out.Save, p.record(body), n.said.add(s.Ref, m.ID))
	n.store(out, c, m)
	out.Up = append(out.Up, payload.Said{Ref: s.Ref, Message: m})
	if entered {
		n.watchAgain(out)
	}
	n.outbox.add(p)
	n.offerBody(out, now, p, body)
	return nil
}

// checkText returns text without the white space around it.
func (n *Node) checkText(text string) (string, error) {
	if !utf8.ValidString(text) {
		return "", errors.New("text: not valid UTF-8")
	}
	text = strings.TrimSpace(text)
	if text == "" {
		return "", errors.New("text: blank")
	}
	if len(text) > n.cfg.MaxTextBytes {
		return "", fmt.Errorf("text: %d bytes, the limit is %d (max_text_bytes)", len(text), n.cfg.MaxTextBytes)
	}
	return text, nil
}

// compose makes the message and its signed bytes. Nothing is changed by it.
func (n *Node) compose(c *chat, now time.Time, text string) (payload.Message, []byte) {
	chat := chatMessage{
		clock: nextClock(c.clock, now), timestamp: max(milliseconds(now), 1), text: text,
		chatID: string(c.id), kind: typeOneToOne, content: contentText,
	}
	// The weakest protection a private message is sent with: what it got is only
	// known below.
	protection := datasync.Static
	if c.public() {
		chat.kind, protection = typePublic, datasync.Public
	}
	body := wrap(n.identity, typeChatMessage, chat.encode())
	id := messageID(n.self, body)
	for n.kept(id) { // only after the wall clock was set back: see nextClock
		chat.clock--
		body = wrap(n.identity, typeChatMessage, chat.encode())
		id = messageID(n.self, body)
	}
	return payload.Message{
		ID: id, Chat: c.id, From: n.self, Text: text,
		Clock: chat.clock, Timestamp: time.UnixMilli(int64(chat.timestamp)).UTC(), Stored: now.Round(0).UTC(),
		Public: c.public(), Own: true, Protection: protection, Status: payload.Pending,
	}, body
}

func (n *Node) kept(id payload.MessageID) bool {
	_, ok := n.saved.Get(messageKey(id))
	return ok
}

// maxSaid is how many answered Says are remembered, so that one repeated by an
// API that missed the answer does not say the text twice.
const maxSaid = 1024

// said remembers which Say led to which message. It is a ring, also on disk.
type said struct {
	ids  map[layers.Ref]payload.MessageID
	ring [maxSaid]layers.Ref
	next uint64 // Says remembered so far
}

func newSaid() said { return said{ids: map[layers.Ref]payload.MessageID{}} }

// add remembers a Say instead of the oldest one.
func (s *said) add(ref layers.Ref, id payload.MessageID) layers.Record {
	count := s.next
	s.put(count, ref, id)
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 72), count)
	b = append(append(b, ref[:]...), id[:]...)
	return layers.Record{Key: prefixSaid + hex16(count%maxSaid), Value: b}
}

func (s *said) put(count uint64, ref layers.Ref, id payload.MessageID) {
	slot := &s.ring[count%maxSaid]
	delete(s.ids, *slot)
	*slot = ref
	s.ids[ref] = id
	s.next = max(s.next, count+1)
}

func (s *said) restore(b []byte) error {
	if len(b) != 72 {
		return fmt.Errorf("%d bytes, want 72", len(b))
	}
	s.put(binary.BigEndian.Uint64(b), layers.Ref(b[8:40]), payload.MessageID(b[40:]))
	return nil
}
