package status

import (
	"errors"
	"fmt"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/payload"
)

// format is the era and shape of a body.
type format uint8

const (
	formatUnknown format = iota
	formatTransit        // 2019: bare Transit
	formatWrapper        // 2019: Transit in a signed protobuf
	format2020           // protobuf, always signed
)

// message is a chat message as its author wrote it, whatever the format. It is
// well-formed and signed, but not yet compared with where it came from.
type message struct {
	author layers.PublicKey // who signed it
	chatMessage
}

var (
	errFormat  = errors.New("format is unknown")
	errEra     = errors.New("formats of 2019 are not understood yet")
	errNotChat = errors.New("not a chat message")
)

// formatOf tells the formats apart by which fields are present, because each of
// the protobufs parses as the other and there is no version byte.
func formatOf(body []byte) format {
	if len(body) > 0 && body[0] == '[' {
		return formatTransit
	}
	found := formatUnknown
	err := eachField(body, func(f field) error {
		switch f.number {
		case 4001, 4002:
			found = formatWrapper
		case fieldSignature, fieldPayload, fieldType:
			if found == formatUnknown {
				found = format2020
			}
		}
		return nil
	})
	if err != nil {
		return formatUnknown
	}
	return found
}

// decode reads a body of any format. The message is the zero value if there is
// an error; the format is known also then.
func decode(body []byte) (message, format, error) {
	if len(body) > maxBody {
		return message{}, formatUnknown, fmt.Errorf("body: %d bytes, limit %d", len(body), maxBody)
	}
	var (
		m   message
		err error
	)
	f := formatOf(body)
	switch f {
	case format2020:
		m, err = decode2020(body)
	case formatTransit, formatWrapper:
		err = errEra
	default:
		err = errFormat
	}
	return m, f, err
}

// messageID returns the id of a message: Keccak-256 of its author's key and the
// very bytes that were received, signature included. It must never be made of a
// new encoding.
func messageID(author layers.PublicKey, body []byte) payload.MessageID {
	return layers.Keccak256(author[:], body)
}
