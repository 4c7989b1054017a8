package interop

import (
	"encoding/binary"
	"fmt"
)

// message is a protobuf message taken apart: the values of each field in order.
// Numbers are in number, everything with a length in bytes.
type message map[int][]value

type value struct {
	number uint64
	bytes  []byte
}

// The two wire types that Status uses.
const (
	varint = 0
	length = 2
)

// parse takes a message apart. It knows no types: which field means what is for
// the test to say.
func parse(b []byte) (message, error) {
	m := message{}
	next := func() (uint64, error) {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, fmt.Errorf("protobuf: bad number at %x", b)
		}
		b = b[n:]
		return v, nil
	}
	for len(b) > 0 {
		tag, err := next()
		if err != nil {
			return nil, err
		}
		n, err := next()
		if err != nil {
			return nil, err
		}
		v := value{number: n}
		switch tag & 7 {
		case varint:
		case length:
			if n > uint64(len(b)) {
				return nil, fmt.Errorf("protobuf: field %d: %d bytes, have %d", tag>>3, n, len(b))
			}
			v, b = value{bytes: b[:n]}, b[n:]
		default:
			return nil, fmt.Errorf("protobuf: field %d: wire type %d", tag>>3, tag&7)
		}
		m[int(tag>>3)] = append(m[int(tag>>3)], v)
	}
	return m, nil
}

// num and bytes return the only value of a field, or its zero.
func (m message) num(field int) uint64 {
	if len(m[field]) != 1 {
		return 0
	}
	return m[field][0].number
}

func (m message) bytes(field int) []byte {
	if len(m[field]) != 1 {
		return nil
	}
	return m[field][0].bytes
}

// putNum and putBytes append a field.
func putNum(b []byte, field int, n uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(field)<<3|varint), n)
}

func putBytes[T ~string | ~[]byte](b []byte, field int, v T) []byte {
	b = binary.AppendUvarint(b, uint64(field)<<3|length)
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}
