package libp2p

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// The protocol /strata/store/1 gives a peer envelopes of the past, out of the
// archive of the node. Numbers and frames are as in /strata/recent/1. Who opens
// the stream writes one frame:
//
//	0   1   kind: 1 these topics, 2 every topic
//	1   8   scope, as in /strata/recent/1
//	9   8   from, Unix seconds, included
//	17  8   to, Unix seconds, not included
//	25  2   how many envelopes at most, 1 to 256
//	27  1   length of the cursor, up to 248
//	28  …   the cursor of the page before; none for the first
//	…   …   the topics, 4 bytes each
//
// The other answers with a frame of one byte, which is 0 for a page, 1 for a
// refusal and 2 if it has no room now, and behind 1 and 2 a text of at most 256
// bytes. After a 0 come the envelopes, a frame each in the wire form of gossip, an
// empty frame, and a frame with the cursor of the next page, which is empty if
// there is none. Who breaks a rule is reset.
const (
	storeProtocol = "/strata/store/1"

	kindTopics = 1
	kindAll    = 2

	storeHead      = 28 // bytes of a request before the cursor
	maxStoreCursor = transport.MaxText - serverTag
	maxStoreAsk    = storeHead + maxStoreCursor + 4*transport.MaxTopics

	statusPage    = 0
	statusRefused = 1
	statusBusy    = 2

	maxStatus = 1 + transport.MaxText

	// maxPageBytes bounds the envelopes of a page: a node gives no more than the
	// contract lets it have, and a single one is never cut.
	maxPageBytes = 2 << 20

	// serverTag is what the asker puts before a cursor to know whose it is, in
	// bytes.
	serverTag = 8
)

var errStore = errors.New("libp2p: peer broke the rules of " + storeProtocol)

// storeAsk is a request for a page.
type storeAsk struct {
	scope [scopeSize]byte
	query transport.Query
}

// encode returns the request as it travels. Times before 1970 are 1970.
func (a storeAsk) encode() []byte {
	q := a.query
	b := make([]byte, storeHead, storeHead+len(q.Cursor)+4*len(q.Filter.Topics))
	b[0] = kindTopics
	if q.Filter.All {
		b[0] = kindAll
	}
	copy(b[1:], a.scope[:])
	binary.BigEndian.PutUint64(b[9:], storeTime(q.From))
	binary.BigEndian.PutUint64(b[17:], storeTime(q.To))
	binary.BigEndian.PutUint16(b[25:], uint16(q.Limit))
	b[27] = byte(len(q.Cursor))
	b = append(b, q.Cursor...)
	if !q.Filter.All {
		for _, t := range q.Filter.Topics {
			b = append(b, t[:]...)
		}
	}
	return b
}

// storeTime returns the second at or after t, as far as it can be computed with.
func storeTime(t time.Time) uint64 {
	return uint64(min(max(t.Add(time.Second-1).Unix(), 0), maxSent))
}

// decodeStoreAsk reads a request. The error is errStore.
func decodeStoreAsk(b []byte) (storeAsk, error) {
	if len(b) < storeHead || len(b) > maxStoreAsk || b[0] != kindTopics && b[0] != kindAll {
		return storeAsk{}, fmt.Errorf("%w: request of %d bytes", errStore, len(b))
	}
	a := storeAsk{scope: [scopeSize]byte(b[1:9])}
	from, to := binary.BigEndian.Uint64(b[9:]), binary.BigEndian.Uint64(b[17:])
	limit, cursor := int(binary.BigEndian.Uint16(b[25:])), int(b[27])
	rest := b[storeHead:]
	switch {
	case from > maxSent || to > maxSent || from > to:
		return storeAsk{}, fmt.Errorf("%w: from %d to %d", errStore, from, to)
	case limit < 1 || limit > transport.MaxBatch:
		return storeAsk{}, fmt.Errorf("%w: limit %d", errStore, limit)
	case cursor > maxStoreCursor || cursor > len(rest):
		return storeAsk{}, fmt.Errorf("%w: cursor of %d bytes", errStore, cursor)
	}
	topics := rest[cursor:]
	all := b[0] == kindAll
	if n := len(topics) / 4; len(topics)%4 != 0 || n > transport.MaxTopics || all != (n == 0) {
		return storeAsk{}, fmt.Errorf("%w: %d bytes of topics", errStore, len(topics))
	}
	a.query = transport.Query{
		Filter: transport.Filter{All: all},
		From:   time.Unix(int64(from), 0).UTC(), To: time.Unix(int64(to), 0).UTC(), Limit: limit,
	}
	if cursor > 0 {
		a.query.Cursor = rest[:cursor:cursor]
	}
	for ; len(topics) > 0; topics = topics[4:] {
		a.query.Filter.Topics = append(a.query.Filter.Topics, transport.Topic(topics))
	}
	return a, nil
}
