package status

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxBody bounds what is read from the network.
const maxBody = 1 << 20 // bytes; no Whisper packet is larger

var errUTF8 = errors.New("not UTF-8")

// field is one field of a protobuf message. Of fixed-size values and groups,
// which no message here has, only the number is kept.
type field struct {
	number protowire.Number
	wire   protowire.Type
	varint uint64
	bytes  []byte // shared with the input
}

// eachField hands the fields of b to visit in the order of the wire. What it
// refuses, the protobuf libraries refuse too.
func eachField(b []byte, visit func(field) error) error {
	for len(b) > 0 {
		number, wire, size := protowire.ConsumeTag(b)
		if size < 0 {
			return protowire.ParseError(size)
		}
		b = b[size:]
		f := field{number: number, wire: wire}
		switch wire {
		case protowire.VarintType:
			f.varint, size = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			f.bytes, size = protowire.ConsumeBytes(b)
		default:
			size = protowire.ConsumeFieldValue(number, wire, b)
		}
		if size < 0 {
			return fmt.Errorf("field %d: %w", number, protowire.ParseError(size))
		}
		b = b[size:]
		if err := visit(f); err != nil {
			return fmt.Errorf("field %d: %w", number, err)
		}
	}
	return nil
}

// A field with a known number but another wire type counts as unknown and is
// passed over, as the protobuf libraries do; the setters below keep what was.

func (f field) setUint(v *uint64) error {
	if f.wire == protowire.VarintType {
		*v = f.varint
	}
	return nil
}

func (f field) setInt32(v *int32) error {
	if f.wire == protowire.VarintType {
		*v = int32(f.varint)
	}
	return nil
}

func (f field) setBytes(v *[]byte) error {
	if f.wire == protowire.BytesType {
		*v = f.bytes
	}
	return nil
}

func (f field) setString(v *string) error {
	if f.wire != protowire.BytesType {
		return nil
	}
	if !utf8.Valid(f.bytes) {
		return errUTF8
	}
	*v = string(f.bytes)
	return nil
}

// The appenders leave out zero values, as proto3 does.

func appendUint(b []byte, number protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), v)
}

func appendInt32(b []byte, number protowire.Number, v int32) []byte {
	return appendUint(b, number, uint64(int64(v))) // negative values take ten bytes
}

func appendBytes(b []byte, number protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), v)
}

func appendString(b []byte, number protowire.Number, v string) []byte {
	if v == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), v)
}
