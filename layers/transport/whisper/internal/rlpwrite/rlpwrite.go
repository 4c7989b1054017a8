// Package rlpwrite appends RLP to buffers: what go-ethereum's package has only
// for integers. It takes no lock and needs no memory beyond the buffer.
package rlpwrite

// MaxHeader is the longest header of a string or list, in bytes.
const MaxHeader = 9

// First bytes of the short forms (yellow paper, appendix B), and the longest
// content that has one, in bytes.
const (
	stringOffset = 0x80
	listOffset   = 0xc0
	maxShort     = 55
)

// ListHeader appends the header of a list whose items take size bytes.
func ListHeader(b []byte, size int) []byte { return header(b, listOffset, size) }

// List appends the list whose encoded items are content.
func List(b, content []byte) []byte {
	return append(ListHeader(b, len(content)), content...)
}

// String appends a byte string.
func String(b, s []byte) []byte {
	if len(s) == 1 && s[0] < stringOffset {
		return append(b, s[0])
	}
	return append(header(b, stringOffset, len(s)), s...)
}

// Bool appends a truth value, as the integer 1 or 0.
func Bool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, stringOffset)
}

func header(b []byte, offset byte, size int) []byte {
	if size <= maxShort {
		return append(b, offset+byte(size))
	}
	n := 1
	for size>>(8*n) > 0 {
		n++
	}
	b = append(b, offset+maxShort+byte(n))
	for n--; n >= 0; n-- {
		b = append(b, byte(size>>(8*n)))
	}
	return b
}
