package ratchet

import "google.golang.org/protobuf/encoding/protowire"

// encode writes m with its fields in the order of their numbers and its maps in
// the order of their keys, so that equal messages are equal bytes.
func (m protocolMessage) encode() []byte {
	size := 128
	for _, d := range m.direct {
		size += len(d.payload) + 256
	}
	b := make([]byte, 0, size+len(m.public)+len(m.bundles)*256)
	b = appendText(b, 2, m.installation)
	for _, d := range m.bundles {
		b = appendMessage(b, 3, d.encode())
	}
	for _, d := range m.direct {
		b = appendMapEntry(b, 101, d.target, d.encode())
	}
	if m.hasPublic {
		b = appendMessage(b, 102, m.public)
	}
	return b
}

func (d bundle) encode() []byte {
	b := make([]byte, 0, 192)
	b = appendBytes(b, 1, d.identity)
	for _, e := range d.prekeys {
		v := appendBytes(nil, 1, e.prekey)
		v = appendNumber(v, 2, uint64(e.version))
		v = appendNumber(v, 3, uint64(e.protocolVersion))
		b = appendMapEntry(b, 2, e.installation, v)
	}
	b = appendBytes(b, 4, d.signature)
	return appendNumber(b, 5, uint64(d.timestamp))
}

func (d directMessage) encode() []byte {
	b := make([]byte, 0, len(d.payload)+192)
	if d.x3dh != nil {
		h := appendBytes(nil, 1, d.x3dh.ephemeral)
		b = appendMessage(b, 1, appendBytes(h, 4, d.x3dh.prekey))
	}
	if d.ratchet != nil {
		h := appendBytes(nil, 1, d.ratchet.key)
		h = appendNumber(h, 2, uint64(d.ratchet.n))
		h = appendNumber(h, 3, uint64(d.ratchet.pn))
		b = appendMessage(b, 2, appendBytes(h, 4, d.ratchet.prekey))
	}
	b = appendBytes(b, 3, d.payload)
	if d.dh != nil {
		b = appendMessage(b, 101, appendBytes(nil, 1, d.dh.ephemeral))
	}
	return b
}

// appendMessage writes a field whose presence matters even if it is empty.
func appendMessage(b []byte, num protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
}

func appendBytes(b []byte, num protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return appendMessage(b, num, v)
}

func appendText(b []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), s)
}

func appendNumber(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

func appendMapEntry(b []byte, num protowire.Number, key string, value []byte) []byte {
	return appendMessage(b, num, appendMessage(appendMessage(nil, 1, []byte(key)), 2, value))
}
