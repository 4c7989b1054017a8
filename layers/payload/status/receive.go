package status

import (
	"errors"
	"fmt"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
	"github.com/stratanode/strata/layers/payload"
)

// received takes a message in. A synchronised message is always Taken, also when
// its content is refused, because it would come again for ever; only for one that
// is not synchronised the refusal is an error.
func (n *Node) received(out *output, now time.Time, e datasync.Received) error {
	err := n.take(out, now, e)
	if e.ID == (datasync.MessageID{}) {
		if err != nil {
			return fmt.Errorf("status: %w", err)
		}
		return nil
	}
	out.Down = append(out.Down, datasync.Taken{ID: e.ID})
	return nil
}

// take stores the message in e, unless it is stored already. It changes nothing
// if it returns an error.
func (n *Node) take(out *output, now time.Time, e datasync.Received) error {
	if e.Channel != "" {
		if c := n.chats[payload.ChatID(e.Channel)]; c == nil || !c.open || !c.public() {
			return fmt.Errorf("public chat %.64q is not joined", string(e.Channel))
		}
	}
	id := messageID(e.From, e.Body)
	if n.kept(id) {
		return nil
	}
	m, _, err := decode(e.Body)
	if err != nil {
		return err
	}
	c, err := n.place(now, e, m)
	if err != nil {
		return err
	}
	if !n.room(c, m.clock, id) {
		return errors.New("older than all that the chat keeps")
	}
	own := m.author == n.self
	if !c.open && !c.answered && !own && n.strangers >= n.cfg.MaxStrangers {
		return fmt.Errorf("%d strangers have written, which is the limit (max_strangers)", n.cfg.MaxStrangers)
	}
	status := payload.Incoming
	if own {
		status = payload.Relayed // by the other device; how far it came is known there
	}
	n.admit(out, c, own)
	c.clock = raisedClock(c.clock, m.clock, now)
	stored := payload.Message{
		ID: id, Chat: c.id, From: m.author, Text: m.readable(), ResponseTo: m.responseTo,
		Clock: m.clock, Timestamp: time.UnixMilli(int64(m.timestamp)).UTC(), Stored: now.Round(0).UTC(),
		Public: c.public(), Own: own, Protection: e.Protection, Status: status,
	}
	n.store(out, c, stored)
	out.Up = append(out.Up, payload.Received{Message: stored})
	return nil
}

// place returns the chat that m belongs to, or why it belongs to none.
//
// The author must be the one who signed what the message came in, in public and
// in private chats. Every honest client sends its own messages itself, and the
// author's signature covers neither receiver nor chat: without this rule
// somebody could pass on a message that was meant for him as if the author had
// written it to us.
func (n *Node) place(now time.Time, e datasync.Received, m message) (*chat, error) {
	if m.author != e.From {
		return nil, fmt.Errorf("author %.12s is not the sender %.12s", m.author, e.From)
	}
	if len(m.text) > n.cfg.MaxTextBytes {
		return nil, fmt.Errorf("text: %d bytes, limit %d", len(m.text), n.cfg.MaxTextBytes)
	}
	// Whisper's own time of sending is not signed, so this node's time counts; a
	// message from a mail server is measured more kindly by that.
	if limit := milliseconds(now) + maxClockRead; m.clock > limit {
		return nil, fmt.Errorf("clock is %d ms ahead, limit %d", m.clock-milliseconds(now), maxClockRead)
	}
	if e.Channel != "" {
		return n.placePublic(e, m)
	}
	return n.placePrivate(m)
}

func (n *Node) placePublic(e datasync.Received, m message) (*chat, error) {
	if m.kind != typePublic {
		return nil, fmt.Errorf("message_type %d in a public chat", m.kind)
	}
	if m.chatID != string(e.Channel) {
		return nil, fmt.Errorf("chat_id %.64q is not the chat it came in", m.chatID)
	}
	return n.chats[payload.ChatID(e.Channel)], nil
}

// placePrivate finds the conversation: with the author or, if that is another
// device of this identity, with the person named in chat_id.
func (n *Node) placePrivate(m message) (*chat, error) {
	if m.kind != typeOneToOne {
		return nil, fmt.Errorf("message_type %d in a private chat", m.kind)
	}
	_, named, err := parseChat(payload.ChatID(m.chatID))
	if m.author == n.self {
		if err != nil || named.IsZero() || named == n.self {
			return nil, fmt.Errorf("chat_id %.64q of an own message is no other person", m.chatID)
		}
		return n.find(payload.ChatID(named.String()), named), nil
	}
	// What is no key says nothing, and the peers do not look at it either.
	if err == nil && !named.IsZero() && named != n.self && named != m.author {
		return nil, errors.New("chat_id names another receiver")
	}
	return n.find(payload.ChatID(m.author.String()), m.author), nil
}

// admit opens c for a message that has come. The caller saves c.
func (n *Node) admit(out *output, c *chat, own bool) {
	if own {
		if n.enter(c) {
			n.watchAgain(out)
		}
		return
	}
	if c.open {
		return
	}
	c.open = true
	n.chats[c.id] = c
	if c.stranger() {
		n.strangers++
		return
	}
	n.watchAgain(out)
}

// limit is how many messages of c are kept.
func (n *Node) limit(c *chat) int {
	if c.answered {
		return n.cfg.MaxMessages
	}
	return min(n.cfg.MaxMessages, strangerMessages)
}

// room reports whether a message may be added to c. A full chat takes no message
// older than its oldest, or it could be filled again with what it has dropped.
func (n *Node) room(c *chat, clock uint64, id payload.MessageID) bool {
	if c.count < n.limit(c) {
		return true
	}
	key, _, found := n.oldest(c)
	return !found || orderKey(c.id, clock, id) > key
}

// oldest returns the first entry of the order of c.
func (n *Node) oldest(c *chat) (string, payload.MessageID, bool) {
	from, to := layers.Prefix(orderPrefix(c.id))
	for key, id := range n.saved.Scan(from, to, false) {
		if len(id) != len(payload.MessageID{}) {
			broken(key, fmt.Errorf("%d bytes, want 32", len(id)))
		}
		return key, payload.MessageID(id), true
	}
	return "", payload.MessageID{}, false
}

// store saves m, its places in both orders, and c; the oldest message makes room
// if c is full. A chat whose limit was lowered shrinks with each message by one
// more.
func (n *Node) store(out *output, c *chat, m payload.Message) {
	if c.count >= n.limit(c) {
		n.forgetOldest(out, c)
	}
	s := storedMessage{m, n.seq}
	n.seq++
	c.count++
	out.Save = append(out.Save, s.record(),
		layers.Record{Key: orderKey(c.id, m.Clock, m.ID), Value: m.ID[:]},
		layers.Record{Key: seqKey(s.seq), Value: m.ID[:]},
		c.record())
}

// forgetOldest deletes the oldest messages of a full chat: one, or two as long as
// there are more than the limit.
func (n *Node) forgetOldest(out *output, c *chat) {
	quota := 1
	if c.count > n.limit(c) {
		quota = 2
	}
	from, to := layers.Prefix(orderPrefix(c.id))
	for key, b := range n.saved.Scan(from, to, false) {
		if quota == 0 {
			return
		}
		quota--
		c.count--
		id := payload.MessageID(b)
		out.Save = append(out.Save, layers.Record{Key: key}, layers.Record{Key: messageKey(id)})
		if m, ok := n.message(id); ok {
			out.Save = append(out.Save, layers.Record{Key: seqKey(m.seq)})
		}
	}
}
