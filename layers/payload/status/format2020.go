package status

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/stratanode/strata/layers"
)

// The fields of ApplicationMetadataMessage, which is around every message.
const (
	fieldSignature protowire.Number = 1
	fieldPayload   protowire.Number = 2
	fieldType      protowire.Number = 3
)

// applicationType says what the payload of an ApplicationMetadataMessage is. It
// is not covered by the signature.
type applicationType int32

const (
	typeChatMessage             applicationType = 1
	typeSyncInstallationChannel applicationType = 14 // the last known one
)

// metadata is an ApplicationMetadataMessage.
type metadata struct {
	signature []byte // of Keccak-256(payload)
	payload   []byte
	kind      applicationType
}

func (m metadata) encode() []byte {
	b := make([]byte, 0, len(m.signature)+len(m.payload)+16)
	b = appendBytes(b, fieldSignature, m.signature)
	b = appendBytes(b, fieldPayload, m.payload)
	return appendInt32(b, fieldType, int32(m.kind))
}

func decodeMetadata(b []byte) (m metadata, err error) {
	err = eachField(b, func(f field) error {
		switch f.number {
		case fieldSignature:
			return f.setBytes(&m.signature)
		case fieldPayload:
			return f.setBytes(&m.payload)
		case fieldType:
			return f.setInt32((*int32)(&m.kind))
		}
		return nil
	})
	return m, err
}

// wrap signs inner and puts it into an ApplicationMetadataMessage.
func wrap(identity layers.PrivateKey, kind applicationType, inner []byte) []byte {
	return metadata{identity.Sign(layers.Keccak256(inner)), inner, kind}.encode()
}

// author returns who signed m.
func (m metadata) author() (layers.PublicKey, error) {
	if len(m.signature) == 0 {
		return layers.PublicKey{}, errors.New("unsigned")
	}
	return layers.Recover(layers.Keccak256(m.payload), m.signature)
}

// messageType says what kind of chat a message is for.
type messageType int32

const (
	typeOneToOne messageType = 1
	typePublic   messageType = 2
)

// contentType says what the text of a message is.
type contentType int32

const (
	contentText    contentType = 1
	contentSticker contentType = 2
	contentStatus  contentType = 3
	contentEmoji   contentType = 4
)

// chatMessage is a ChatMessage.
type chatMessage struct {
	clock      uint64 // Lamport clock of the chat, in milliseconds
	timestamp  uint64 // milliseconds since 1970
	text       string
	responseTo string // id of another message
	ensName    string // claimed, never checked
	chatID     string
	kind       messageType
	content    contentType
	sticker    *sticker
}

// sticker is a StickerMessage.
type sticker struct {
	hash string
	pack int32
}

func (c chatMessage) encode() []byte {
	b := make([]byte, 0, len(c.text)+len(c.responseTo)+len(c.ensName)+len(c.chatID)+64)
	b = appendUint(b, 1, c.clock)
	b = appendUint(b, 2, c.timestamp)
	b = appendString(b, 3, c.text)
	b = appendString(b, 4, c.responseTo)
	b = appendString(b, 5, c.ensName)
	b = appendString(b, 6, c.chatID)
	b = appendInt32(b, 7, int32(c.kind))
	b = appendInt32(b, 8, int32(c.content))
	if c.sticker != nil {
		s := appendString(nil, 1, c.sticker.hash)
		s = appendInt32(s, 2, c.sticker.pack)
		b = protowire.AppendBytes(protowire.AppendTag(b, 9, protowire.BytesType), s)
	}
	return b
}

func decodeChatMessage(b []byte) (c chatMessage, err error) {
	err = eachField(b, func(f field) error {
		switch f.number {
		case 1:
			return f.setUint(&c.clock)
		case 2:
			return f.setUint(&c.timestamp)
		case 3:
			return f.setString(&c.text)
		case 4:
			return f.setString(&c.responseTo)
		case 5:
			return f.setString(&c.ensName)
		case 6:
			return f.setString(&c.chatID)
		case 7:
			return f.setInt32((*int32)(&c.kind))
		case 8:
			return f.setInt32((*int32)(&c.content))
		case 9:
			return c.setSticker(f)
		}
		return nil
	})
	return c, err
}

// setSticker merges f into the sticker, should there be several.
func (c *chatMessage) setSticker(f field) error {
	if f.wire != protowire.BytesType {
		return nil
	}
	if c.sticker == nil {
		c.sticker = &sticker{}
	}
	return eachField(f.bytes, func(f field) error {
		switch f.number {
		case 1:
			return f.setString(&c.sticker.hash)
		case 2:
			return f.setInt32(&c.sticker.pack)
		}
		return nil
	})
}

// decode2020 reads a signed chat message in the format of 2020. The other types
// of message are known but not used.
func decode2020(body []byte) (message, error) {
	outer, err := decodeMetadata(body)
	if err != nil {
		return message{}, fmt.Errorf("ApplicationMetadataMessage: %w", err)
	}
	switch {
	case outer.kind > typeChatMessage && outer.kind <= typeSyncInstallationChannel:
		return message{}, fmt.Errorf("%w: type %d is not used here", errNotChat, outer.kind)
	case outer.kind != typeChatMessage:
		return message{}, fmt.Errorf("%w: type %d is unknown", errNotChat, outer.kind)
	}
	// The content is looked at first: recovering the key costs a hundred times
	// as much.
	c, err := decodeChatMessage(outer.payload)
	if err != nil {
		return message{}, fmt.Errorf("ChatMessage: %w", err)
	}
	if err := c.check(); err != nil {
		return message{}, fmt.Errorf("ChatMessage: %w", err)
	}
	author, err := outer.author()
	if err != nil {
		return message{}, fmt.Errorf("ApplicationMetadataMessage: %w", err)
	}
	return message{author, c}, nil
}

// The bounds of a ChatMessage.
const (
	maxTimestamp   = 253402300799999 // ms: end of the year 9999, the last that RFC 3339 can write
	maxStickerHash = 256             // bytes; hashes are 36 to 80
	maxResponseTo  = 256             // bytes; message ids are 66
	maxChatIDBytes = 256             // bytes; the longest chat ids, of groups, are 169
)

// check reports the first rule of Status 6/PAYLOADS (2020) that c breaks,
// whatever chat it is for.
func (c chatMessage) check() error {
	switch {
	case c.clock == 0:
		return errors.New("clock is 0")
	case c.timestamp == 0 || c.timestamp > maxTimestamp:
		return fmt.Errorf("timestamp %d is not within the years 1970 and 9999", c.timestamp)
	case strings.TrimSpace(c.text) == "":
		return errors.New("text is blank")
	case strings.TrimSpace(c.chatID) == "":
		return errors.New("chat_id is empty")
	case len(c.chatID) > maxChatIDBytes:
		return fmt.Errorf("chat_id: %d bytes, limit %d", len(c.chatID), maxChatIDBytes)
	case len(c.responseTo) > maxResponseTo:
		return fmt.Errorf("response_to: %d bytes, limit %d", len(c.responseTo), maxResponseTo)
	case c.kind != typeOneToOne && c.kind != typePublic:
		return fmt.Errorf("message_type %d is not accepted here", c.kind)
	case c.content < contentText || c.content > contentEmoji:
		return fmt.Errorf("content_type %d is not accepted", c.content)
	case c.content == contentSticker && (c.sticker == nil || c.sticker.hash == ""):
		return errors.New("sticker has no hash")
	case c.content == contentSticker && len(c.sticker.hash) > maxStickerHash:
		return fmt.Errorf("sticker hash: %d bytes, limit %d", len(c.sticker.hash), maxStickerHash)
	}
	return nil
}

// readable returns the text to be shown. The text of a sticker only asks to
// update the client, so the sticker is named instead.
func (c chatMessage) readable() string {
	if c.content == contentSticker {
		return fmt.Sprintf("[sticker %s of pack %d]", c.sticker.hash, c.sticker.pack)
	}
	return c.text
}
