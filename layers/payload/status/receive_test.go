package status

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
	"github.com/stratanode/strata/layers/payload"
)

// chatTo returns a valid message for a chat.
func chatTo(id payload.ChatID, change ...func(*chatMessage)) chatMessage {
	c := chatMessage{
		clock: milliseconds(t0), timestamp: milliseconds(t0), text: "hello",
		chatID: string(id), kind: typeOneToOne, content: contentText,
	}
	if !strings.HasPrefix(string(id), "0x04") {
		c.kind = typePublic
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

func signed(k layers.PrivateKey, c chatMessage) []byte {
	return wrap(k, typeChatMessage, c.encode())
}

// private is how data sync reports body of k.
func private(n byte, k layers.PrivateKey, body []byte) datasync.Received {
	return datasync.Received{ID: datasync.MessageID{n}, From: k.Public(), Protection: datasync.Ratcheted, Body: body}
}

func public(k layers.PrivateKey, channel datasync.Channel, body []byte) datasync.Received {
	return datasync.Received{From: k.Public(), Channel: channel, Protection: datasync.Public, Body: body}
}

func TestPrivateMessageIsStoredReportedAndTaken(t *testing.T) {
	b := open(t, bob)
	c := chatTo(chatOf(bob), func(c *chatMessage) { c.responseTo = "0x01"; c.text = " as it \x1b[31mis\x00 " })
	body := signed(alice, c)
	out := b.below(private(7, alice, body))
	m := only[payload.Received](t, out.Up).Message
	want := payload.Message{
		ID: messageID(alice.Public(), body), Chat: chatOf(alice), From: alice.Public(), Text: c.text, ResponseTo: "0x01",
		Clock: c.clock, Timestamp: t0, Stored: t0, Protection: datasync.Ratcheted, Status: payload.Incoming,
	}
	if m != want {
		t.Errorf("got %+v, want %+v", m, want)
	}
	if got := only[datasync.Taken](t, out.Down).ID; got != (datasync.MessageID{7}) {
		t.Errorf("taken %v", got)
	}
	if len(out.Save) == 0 {
		t.Error("taken without being saved")
	}
	for range 2 {
		again := b.below(private(8, alice, body))
		if len(again.Up) != 0 || len(again.Save) != 0 {
			t.Errorf("shown again: %+v", again)
		}
		only[datasync.Taken](t, again.Down)
		b.restart()
	}
	page := only[payload.Page](t, b.above(payload.History{Chat: chatOf(alice)}).Up)
	if len(page.Messages) != 1 || page.Messages[0] != want {
		t.Errorf("history %+v, want %+v", page.Messages, want)
	}
}

func TestPublicMessageNeedsItsOwnJoinedChat(t *testing.T) {
	b := open(t, bob)
	body := signed(alice, chatTo("status"))
	if _, err := b.node.FromBelow(t0, public(alice, "status", body)); err == nil {
		t.Error("accepted without having joined")
	}
	b.above(payload.Join{Ref: ref(1), Channel: "status"})
	b.above(payload.Join{Ref: ref(2), Channel: "other"})
	if _, err := b.node.FromBelow(t0, public(alice, "other", body)); err == nil {
		t.Error("accepted in another chat than it names")
	}
	if _, err := b.node.FromBelow(t0, public(alice, "status", signed(alice, chatTo(chatOf(bob))))); err == nil {
		t.Error("private message accepted in a public chat")
	}
	out := b.below(public(alice, "status", body))
	m := only[payload.Received](t, out.Up).Message
	if m.Chat != "status" || !m.Public || len(out.Down) != 0 {
		t.Errorf("got %+v, sent %v", m, out.Down)
	}
	if out := b.below(public(alice, "status", body)); len(out.Up)+len(out.Save) != 0 {
		t.Errorf("shown twice: %+v", out)
	}
	b.above(payload.Leave{Ref: ref(3), Chat: "status"})
	if _, err := b.node.FromBelow(t0, public(alice, "status", signed(alice, chatTo("status", func(c *chatMessage) { c.clock++ })))); err == nil {
		t.Error("accepted after leaving")
	}
}

func TestOwnEchoIsNotShown(t *testing.T) {
	b := open(t, alice)
	_, out := b.said(1, "status", "x")
	if out := b.below(public(alice, "status", only[datasync.Broadcast](t, out.Down).Body)); len(out.Up) != 0 {
		t.Errorf("shown: %+v", out.Up)
	}
}

func TestMessageOfOwnOtherDeviceGoesToItsReceiver(t *testing.T) {
	b := open(t, alice)
	out := b.below(private(1, alice, signed(alice, chatTo(chatOf(bob)))))
	m := only[payload.Received](t, out.Up).Message
	if m.Chat != chatOf(bob) || !m.Own || m.Status != payload.Relayed {
		t.Errorf("got %+v", m)
	}
	if w := only[datasync.Watch](t, out.Down); len(w.Contacts) != 1 {
		t.Errorf("watches %v, want bob", w.Contacts)
	}
	for _, id := range []payload.ChatID{chatOf(alice), "0x04zz"} {
		out := b.below(private(2, alice, signed(alice, chatTo(id, func(c *chatMessage) { c.kind = typeOneToOne }))))
		if len(out.Up) != 0 {
			t.Errorf("own message for chat %v is shown", id)
		}
	}
}

// TestBadMessageIsRefusedAndTaken checks the rules of ChatMessage: a bad message
// is never shown, but taken if it is synchronised, because it would come again
// for ever.
func TestBadMessageIsRefusedAndTaken(t *testing.T) {
	limit := milliseconds(t0) + maxClockRead
	sticker1 := &sticker{hash: "e3", pack: 1}
	with := func(f func(*chatMessage)) []byte { return signed(alice, chatTo(chatOf(bob), f)) }
	good := with(func(*chatMessage) {})
	inner := chatTo(chatOf(bob)).encode()
	foreign := signed(mallory, chatTo(chatOf(bob)))
	for _, tt := range []struct {
		name string
		body []byte
		want string // in the error; empty: accepted
	}{
		{"good", good, ""},
		{"clock 0", with(func(c *chatMessage) { c.clock = 0 }), "clock is 0"},
		{"clock at the limit", with(func(c *chatMessage) { c.clock = limit }), ""},
		{"clock beyond it", with(func(c *chatMessage) { c.clock = limit + 1 }), "clock is 120001 ms ahead"},
		{"clock of 64 bits", with(func(c *chatMessage) { c.clock = 1<<64 - 1 }), "ms ahead"},
		{"old clock", with(func(c *chatMessage) { c.clock = 1 }), ""},
		{"timestamp 0", with(func(c *chatMessage) { c.timestamp = 0 }), "timestamp 0"},
		{"timestamp 10000", with(func(c *chatMessage) { c.timestamp = maxTimestamp + 1 }), "timestamp 253402300800000"},
		{"blank", with(func(c *chatMessage) { c.text = " \n\u2003" }), "text is blank"},
		{"controls", with(func(c *chatMessage) { c.text = "\x1b[2J\u202e\x07" }), ""},
		{"no UTF-8", with(func(c *chatMessage) { c.text = "a\xff" }), "not UTF-8"},
		{"longest", with(func(c *chatMessage) { c.text = strings.Repeat("a", 16<<10) }), ""},
		{"too long", with(func(c *chatMessage) { c.text = strings.Repeat("a", 16<<10+1) }), "text: 16385 bytes"},
		{"no chat id", with(func(c *chatMessage) { c.chatID = "" }), "chat_id is empty"},
		{"long chat id", with(func(c *chatMessage) { c.chatID = strings.Repeat("a", 257) }), "chat_id: 257 bytes"},
		{"meaningless chat id", with(func(c *chatMessage) { c.chatID = "whatever!" }), ""},
		{"author as chat id", with(func(c *chatMessage) { c.chatID = string(chatOf(alice)) }), ""},
		{"meant for another", with(func(c *chatMessage) { c.chatID = string(chatOf(mallory)) }), "chat_id names another receiver"},
		{"long response", with(func(c *chatMessage) { c.responseTo = strings.Repeat("a", 257) }), "response_to: 257 bytes"},
		{"type 0", with(func(c *chatMessage) { c.kind = 0 }), "message_type 0"},
		{"public", with(func(c *chatMessage) { c.kind = typePublic }), "message_type 2 in a private chat"},
		{"group", with(func(c *chatMessage) { c.kind = 3 }), "message_type 3"},
		{"system", with(func(c *chatMessage) { c.kind = 4 }), "message_type 4"},
		{"content 0", with(func(c *chatMessage) { c.content = 0 }), "content_type 0"},
		{"emoji", with(func(c *chatMessage) { c.content = contentEmoji }), ""},
		{"status", with(func(c *chatMessage) { c.content = contentStatus }), ""},
		{"transaction command", with(func(c *chatMessage) { c.content = 5 }), "content_type 5"},
		{"negative content", with(func(c *chatMessage) { c.content = -1 }), "content_type -1"},
		{"sticker", with(func(c *chatMessage) { c.content, c.sticker = contentSticker, sticker1 }), ""},
		{"no sticker", with(func(c *chatMessage) { c.content = contentSticker }), "sticker has no hash"},
		{"no hash", with(func(c *chatMessage) { c.content, c.sticker = contentSticker, &sticker{pack: 1} }), "sticker has no hash"},
		{"foreign author", foreign, "is not the sender"},
		{"unsigned", metadata{nil, inner, typeChatMessage}.encode(), "unsigned"},
		{"short signature", metadata{make([]byte, 64), inner, typeChatMessage}.encode(), "64 bytes"},
		{"v 27", metadata{append(make([]byte, 64), 27), inner, typeChatMessage}.encode(), "signature"},
		{"zero signature", metadata{make([]byte, 65), inner, typeChatMessage}.encode(), "signature"},
		{"no type", wrap(alice, 0, inner), "type 0 is unknown"},
		{"contact update", wrap(alice, 2, inner), "type 2 is not used here"},
		{"membership update", wrap(alice, 3, inner), "type 3 is not used here"},
		{"public chat sync", wrap(alice, 14, inner), "type 14 is not used here"},
		{"type of the future", wrap(alice, 15, inner), "type 15 is unknown"},
		{"empty", nil, "format is unknown"},
		{"garbage", []byte("\xff\xff\xff"), "format is unknown"},
		{"Transit", []byte(`["~#c4",["x","text/plain","~:user-message",1,1,["^ "]]]`), "2019"},
		{"wrapper of 2019", []byte("\x8a\xfa\x01\x00\x92\xfa\x01\x01x"), "2019"},
		{"cut", good[:len(good)-3], "unknown"},
		{"1 MiB and more", make([]byte, maxBody+1), "limit 1048576"},
		{"unknown fields", append(bytes.Clone(good), 0x22, 1, 'x', 0xf8, 0x7f, 1), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := open(t, bob)
			before := b.memory.Len()
			e := private(1, alice, tt.body)
			out := b.below(e)
			only[datasync.Taken](t, out.Down)
			if got := len(all[payload.Received](out.Up)); got != map[bool]int{true: 1}[tt.want == ""] {
				t.Errorf("shown %d times", got)
			}
			if tt.want == "" {
				return
			}
			if b.memory.Len() != before || len(out.Save) != 0 || len(b.node.chats) != 0 {
				t.Error("refused, but something was kept")
			}
			e.ID = datasync.MessageID{}
			if _, err := b.node.FromBelow(t0, e); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("not synchronised: got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestReplayUnderAnotherSenderIsRefused(t *testing.T) {
	// Status 6/PAYLOADS: the author's signature covers neither receiver nor chat,
	// so Bob could hand on what Alice wrote to him.
	toBob := signed(alice, chatTo(chatOf(bob)))
	m := open(t, mallory)
	if out := m.below(private(1, bob, toBob)); len(out.Up) != 0 {
		t.Errorf("Bob speaks for Alice: %+v", out.Up)
	}
	if out := m.below(private(2, alice, toBob)); len(out.Up) != 0 {
		t.Errorf("a message for Bob is shown to another: %+v", out.Up)
	}
}

func TestStickerIsReadable(t *testing.T) {
	b := open(t, bob)
	c := chatTo(chatOf(bob), func(c *chatMessage) { c.content, c.sticker = contentSticker, &sticker{"e301", 4} })
	m := only[payload.Received](t, b.below(private(1, alice, signed(alice, c))).Up).Message
	if m.Text != "[sticker e301 of pack 4]" {
		t.Errorf("text %q", m.Text)
	}
}

func TestStrangersAreBoundedAndNotWatched(t *testing.T) {
	b := open(t, alice, func(c *Config) { c.MaxStrangers = 2 })
	for n := byte(10); n < 14; n++ {
		out := b.below(private(n, testKey(n), signed(testKey(n), chatTo(chatOf(alice)))))
		if got, want := len(all[payload.Received](out.Up)), map[bool]int{true: 1}[n < 12]; got != want {
			t.Errorf("stranger %d: shown %d times, want %d", n, got, want)
		}
		if len(all[datasync.Watch](out.Down)) != 0 {
			t.Errorf("stranger %d makes us follow him", n)
		}
	}
	if w := only[datasync.Watch](t, b.restart().Down); len(w.Contacts) != 0 {
		t.Errorf("watches %v", w.Contacts)
	}
	// An answer makes a stranger a contact, and room for another.
	_, out := b.said(1, chatOf(testKey(10)), "hi")
	if w := only[datasync.Watch](t, out.Down); !slices.Equal(w.Contacts, []layers.PublicKey{testKey(10).Public()}) {
		t.Errorf("watches %v, want the one who was answered", w.Contacts)
	}
	again := private(20, testKey(12), signed(testKey(12), chatTo(chatOf(alice))))
	only[payload.Received](t, b.below(again).Up)
	if b.node.strangers != 2 {
		t.Errorf("%d strangers, want 2", b.node.strangers)
	}
	b.above(payload.Leave{Ref: ref(2), Chat: chatOf(testKey(12))})
	if b.node.strangers != 1 {
		t.Errorf("%d strangers after leaving one, want 1", b.node.strangers)
	}
	b.above(payload.Leave{Ref: ref(3), Chat: chatOf(testKey(10))})
	only[payload.Received](t, b.below(private(21, testKey(10), signed(testKey(10), chatTo(chatOf(alice), func(c *chatMessage) { c.clock++ })))).Up)
	if b.node.strangers != 1 {
		t.Error("who was answered once is a stranger again")
	}
	// Nor does he need room among the strangers.
	b.above(payload.Leave{Ref: ref(4), Chat: chatOf(testKey(10))})
	only[payload.Received](t, b.below(private(22, testKey(13), signed(testKey(13), chatTo(chatOf(alice))))).Up)
	only[payload.Received](t, b.below(private(23, testKey(10), signed(testKey(10), chatTo(chatOf(alice), func(c *chatMessage) { c.clock += 2 })))).Up)
}

func TestFullChatForgetsItsOldestForGood(t *testing.T) {
	b := open(t, bob, func(c *Config) { c.MaxMessages = 3 })
	b.above(payload.Join{Ref: ref(1), Channel: "status"})
	bodies := make([][]byte, 6)
	for i := range bodies {
		bodies[i] = signed(alice, chatTo("status", func(c *chatMessage) { c.clock = 1000 + uint64(i) }))
		only[payload.Received](t, b.below(public(alice, "status", bodies[i])).Up)
	}
	records := b.memory.Len()
	if _, err := b.node.FromBelow(t0, public(alice, "status", bodies[0])); err == nil {
		t.Error("a forgotten message comes back")
	}
	b.restart()
	page := only[payload.Page](t, b.above(payload.History{Chat: "status"}).Up)
	var clocks []uint64
	for _, m := range page.Messages {
		clocks = append(clocks, m.Clock)
	}
	if !slices.Equal(clocks, []uint64{1005, 1004, 1003}) {
		t.Errorf("kept %v", clocks)
	}
	if all := only[payload.Page](t, b.above(payload.History{}).Up); len(all.Messages) != 3 {
		t.Errorf("%d messages over all chats, want 3", len(all.Messages))
	}
	if want := 1 + 3*3; records != want {
		t.Errorf("%d records, want %d", records, want)
	}
	// A smaller limit is reached by and by.
	b.cfg.MaxMessages = 1
	b.restart()
	for i := range uint64(2) {
		b.below(public(alice, "status", signed(alice, chatTo("status", func(c *chatMessage) { c.clock = 2000 + i }))))
	}
	if b.memory.Len() != 1+3 {
		t.Errorf("%d records, want 4", b.memory.Len())
	}
}
