package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
)

// Packet codes of mail (Status 4/WHISPER-MAILSERVER).
const (
	codeSyncRequest  = 123
	codeSyncResponse = 124
	codeComplete     = 125
	codeRequest      = 126
	codeDirect       = 127
)

// mailPackets are packets 123 to 127, in clear.
func (q *quarry) mailPackets() {
	e := whisper.EncodeEnvelope(whisper.Envelope{Expiry: 1577836800, TTL: 50, Topic: transport.Topic{9, 2, 3, 4}, Data: q.bytes(80), Nonce: 7})
	bloom := bytes.Repeat([]byte{0xff}, 64)
	plain := func(lower, upper uint64, limit uint64, cursor, bloom []byte) []byte {
		return encodeRLP([]any{q.bytes(32), lower, upper, limit, cursor, bloom})
	}
	q.ruin("plain request", codeRequest, plain(1, 2, 10, nil, bloom), 10, 16)
	q.ruin("enveloped request", codeRequest, e, 8, 12)
	for _, n := range []int{1, 8, 63, 65, 1000} { // one of these killed the servers of 2019
		q.packet(fmt.Sprintf("plain request with a filter of %d bytes", n), codeRequest, plain(0, math.MaxUint32, 10, nil, make([]byte, n)))
	}
	for _, n := range []int{1, 35, 37, 40, 300, 5000} {
		q.packet(fmt.Sprintf("plain request with a cursor of %d bytes", n), codeRequest, plain(0, math.MaxUint32, 10, q.bytes(n), bloom))
	}
	for i, bounds := range [][3]uint64{{0, math.MaxUint32, 0}, {0, math.MaxUint32, math.MaxUint32}, {2, 1, 10}, {math.MaxUint32, math.MaxUint32, 1000}, {1 << 32, 1 << 33, 1}} {
		q.packet(fmt.Sprintf("plain request with bounds %d", i+1), codeRequest, plain(bounds[0], bounds[1], bounds[2], nil, bloom))
	}
	sync := encodeRLP([]any{uint64(0), uint64(math.MaxUint32), bloom, uint64(10), []byte{}})
	q.ruin("sync request", codeSyncRequest, sync, 6, 10)
	q.ruin("sync response", codeSyncResponse, encodeRLP([]any{[]any{}, q.bytes(36), false, "no"}), 6, 10)
	q.ruin("request complete", codeComplete, encodeRLP(q.bytes(100)), 8, 10)
	for _, n := range []int{0, 1, 31, 32, 63, 64, 101, 5000} {
		q.packet(fmt.Sprintf("request complete of %d bytes", n), codeComplete, encodeRLP(q.bytes(n)))
	}
	q.packet("request complete with an error", codeComplete, encodeRLP(append([]byte("ERROR="), q.bytes(300)...)))
	q.ruin("direct message", codeDirect, e, 8, 10)
	q.ruin("direct messages", codeDirect, list(append(bytes.Clone(e), e...)), 8, 10)
}

// requests are requests that only a mail server can read, which is when they
// harm.
func (q *quarry) requests() {
	add := func(name string, payload []byte) {
		q.all = append(q.all, hostileCase{Name: name, Code: codeRequest, Request: payload})
	}
	bloom := bytes.Repeat([]byte{0xff}, 64)
	good := encodeRLP([]any{uint64(1), uint64(2), bloom, []any{}, uint64(10), []byte{}, true})
	for i := range 16 {
		n := i * len(good) / 16
		add(fmt.Sprintf("sealed request, cut to %d bytes", n), good[:max(n, 1)])
	}
	for i := range 20 {
		bad := bytes.Clone(good)
		bad[q.random.IntN(len(bad))] ^= byte(1 + q.random.IntN(255))
		add(fmt.Sprintf("sealed request, changed %d", i+1), bad)
	}
	for _, n := range []int{1, 63, 65} {
		add(fmt.Sprintf("sealed request with a filter of %d bytes", n), encodeRLP([]any{uint64(1), uint64(2), make([]byte, n), uint64(10), []byte{}, true}))
	}
	for _, n := range []int{1, 35, 37, 1000} {
		add(fmt.Sprintf("sealed request with a cursor of %d bytes", n), encodeRLP([]any{uint64(1), uint64(2), bloom, uint64(10), q.bytes(n), true}))
	}
	topics := make([]any, 3000)
	for i := range topics {
		topics[i] = q.bytes(4)
	}
	add("sealed request with 3000 topics", encodeRLP([]any{uint64(1), uint64(2), bloom, topics, uint64(10), []byte{}, true}))
	add("sealed request with a topic of 5 bytes", encodeRLP([]any{uint64(1), uint64(2), bloom, []any{q.bytes(5)}, uint64(10), []byte{}, true}))
	for _, n := range []int{4, 8, 9, 71, 72, 76, 112, 116, 200} {
		fixed := binary.BigEndian.AppendUint32(nil, 1)
		fixed = binary.BigEndian.AppendUint32(fixed, math.MaxUint32)
		fixed = append(fixed, bytes.Repeat([]byte{0xff}, 200)...)
		add(fmt.Sprintf("sealed request in %d fixed bytes", n), fixed[:n])
	}
}
