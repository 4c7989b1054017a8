package status

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"testing"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
	"github.com/stratanode/strata/layers/layertest"
)

func ready(maxBody int) datasync.Ready {
	return datasync.Ready{Info: datasync.Info{MaxBody: maxBody}}
}

func TestVectors(t *testing.T) {
	later := layertest.Elsewhere("payloads of 2019 and groups are not implemented yet")
	layertest.RunVectors(t, "payload", map[string]func(*testing.T, layertest.Vector){
		"application_metadata":    checkApplicationMetadata,
		"transit_encode_decode":   later,
		"transit_decode":          later,
		"status_protocol_message": later,
		"unwrap":                  later,
		"clock":                   later, // the rule of 2019
		"group_chain":             later,
		"group_chain_2020":        later,
	})
}

// checkApplicationMetadata checks the signed envelope of every type, and the
// content too where this package knows it.
func checkApplicationMetadata(t *testing.T, v layertest.Vector) {
	var in struct {
		Fields struct {
			Clock       uint64 `json:"clock"`
			Timestamp   uint64 `json:"timestamp"`
			Text        string `json:"text"`
			ResponseTo  string `json:"response_to"`
			ENSName     string `json:"ens_name"`
			ChatID      string `json:"chat_id"`
			MessageType int32  `json:"message_type"`
			ContentType int32  `json:"content_type"`
			Sticker     *struct {
				Hash string
				Pack int32
			}
		}
		PrivateKey string `json:"private_key"`
		PublicKey  string `json:"public_key"`
		Type       int32
	}
	var want struct {
		Inner     string `json:"inner_protobuf"`
		ID        string `json:"message_id"`
		Hash      string `json:"payload_hash"`
		Signature string
		Wrapped   string
	}
	layertest.Decode(t, v.In, &in)
	layertest.Decode(t, v.Out, &want)

	key, err := layers.ParsePrivateKey(unhex(t, in.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	inner := unhex(t, want.Inner)
	wrapped := wrap(key, applicationType(in.Type), inner)
	checkHex(t, "wrapped", wrapped, want.Wrapped)
	hash := layers.Keccak256(inner)
	checkHex(t, "payload hash", hash[:], want.Hash)
	id := messageID(key.Public(), wrapped)
	checkHex(t, "message id", id[:], want.ID)

	outer, err := decodeMetadata(unhex(t, want.Wrapped))
	if err != nil {
		t.Fatal(err)
	}
	checkHex(t, "signature", outer.signature, want.Signature)
	checkHex(t, "payload", outer.payload, want.Inner)
	author, err := outer.author()
	if err != nil {
		t.Fatal(err)
	}
	checkHex(t, "author", author[:], in.PublicKey)
	if f := formatOf(wrapped); f != format2020 {
		t.Errorf("format %v, want that of 2020", f)
	}
	if outer.kind != typeChatMessage {
		return
	}

	f := in.Fields
	chat := chatMessage{
		clock: f.Clock, timestamp: f.Timestamp, text: f.Text, responseTo: f.ResponseTo, ensName: f.ENSName,
		chatID: f.ChatID, kind: messageType(f.MessageType), content: contentType(f.ContentType),
	}
	if f.Sticker != nil {
		chat.sticker = &sticker{f.Sticker.Hash, f.Sticker.Pack}
	}
	checkHex(t, "ChatMessage", chat.encode(), want.Inner)
	got, err := decodeChatMessage(inner)
	if err != nil || !reflect.DeepEqual(got, chat) {
		t.Errorf("decoded %+v, %v, want %+v", got, err, chat)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func checkHex(t *testing.T, what string, got []byte, want string) {
	t.Helper()
	if hex.EncodeToString(got) != want {
		t.Errorf("%s: got %x, want %s", what, got, want)
	}
}

func TestFormatIsToldByFields(t *testing.T) {
	for _, tt := range []struct {
		name string
		body string
		want format
	}{
		{"Transit", `["~#c4"]`, formatTransit},
		{"wrapper", "\x8a\xfa\x01\x00\x92\xfa\x01\x00", formatWrapper},
		{"wrapper without signature", "\x92\xfa\x01\x01x", formatWrapper},
		{"2020", "\x0a\x00\x12\x00\x18\x01", format2020},
		{"both", "\x0a\x00\x92\xfa\x01\x00", formatWrapper},
		{"unknown fields only", "\x22\x00", formatUnknown},
		{"unfinished", "\x0a\x05x", formatUnknown},
		{"open group", "\x0b", formatUnknown},
		{"empty", "", formatUnknown},
	} {
		if got := formatOf([]byte(tt.body)); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestUnknownAndMistypedFieldsArePassedOver(t *testing.T) {
	want := chatTo("status")
	b := want.encode()
	b = append(b, "\x08\x07"...)             // clock again: the last one counts
	b = append(b, "\x1d\x01\x02\x03\x04"...) // text as fixed32
	b = append(b, "\x0a\x01x"...)            // clock as bytes
	b = append(b, "\x53\x08\x01\x54"...)     // group 10
	b = append(b, "\x48\x01"...)             // sticker as number
	want.clock = 7
	if got, err := decodeChatMessage(b); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte(`["~#c4",[]]`))
	f.Add([]byte("\x8a\xfa\x01\x00\x92\xfa\x01\x00"))
	f.Add(signed(alice, chatTo("status")))
	f.Add(signed(alice, chatTo(chatOf(bob), func(c *chatMessage) { c.content, c.sticker = contentSticker, &sticker{"e3", -1} })))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, format, err := decode(b)
		if err != nil {
			return
		}
		if format != format2020 || m.author.IsZero() {
			t.Errorf("format %d, author %v", format, m.author)
		}
		// What is well-formed can be stored whole and is shown as something.
		if m.readable() == "" || m.check() != nil {
			t.Errorf("decoded %+v: %v", m, m.check())
		}
	})
}

func FuzzMetadata(f *testing.F) {
	f.Add(signed(alice, chatTo("status")))
	f.Add([]byte("\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMetadata(b)
		if err != nil {
			return
		}
		again, err := decodeMetadata(m.encode())
		if err != nil || !bytes.Equal(again.signature, m.signature) || !bytes.Equal(again.payload, m.payload) || again.kind != m.kind {
			t.Errorf("got %+v, %v, want %+v", again, err, m)
		}
	})
}

func FuzzChatMessage(f *testing.F) {
	f.Add(chatTo("status").encode())
	f.Add(chatTo("status", func(c *chatMessage) { c.sticker = &sticker{"e3", 1} }).encode())
	f.Add([]byte("\x4a\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeChatMessage(b)
		if err != nil {
			return
		}
		again, err := decodeChatMessage(c.encode())
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("got %+v, %v, want %+v", again, err, c)
		}
	})
}

func FuzzStoredMessage(f *testing.F) {
	b := open(f, alice)
	m, _ := b.said(1, "status", "x")
	f.Add(storedMessage{m, 7}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeStored([32]byte{1}, b)
		if err != nil {
			return
		}
		once := m.encode()
		again, err := decodeStored([32]byte{1}, once)
		if err != nil || !bytes.Equal(again.encode(), once) {
			t.Errorf("got %+v, %v, want %+v", again, err, m)
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add("", false)
	f.Add(cursor(prefixSeq, seqKey(7)), false)
	f.Add(cursor(orderPrefix("status"), orderKey("status", 7, [32]byte{1})), true)
	f.Fuzz(func(t *testing.T, text string, chat bool) {
		prefix := prefixSeq
		if chat {
			prefix = orderPrefix("status")
		}
		if key, err := parseCursor(prefix, text); err == nil && cursor(prefix, key) != text {
			t.Errorf("%q reads as %q, which writes as %q", text, key, cursor(prefix, key))
		}
	})
}
