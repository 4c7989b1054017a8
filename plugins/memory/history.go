package memory

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/stratanode/strata/plugins/transport"
)

// cursorHead is what this network puts before the cursor of an archive: the number
// of the node whose archive it is, in bytes.
const cursorHead = 8

// Serve implements transport.Server: other nodes of the network ask the archive
// directly.
func (m *Node) Serve(ctx context.Context, a transport.Archive) error {
	m.setArchive(a)
	defer m.setArchive(nil)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-m.done:
		return transport.ErrClosed
	}
}

func (m *Node) setArchive(a transport.Archive) {
	m.net.mu.Lock()
	defer m.net.mu.Unlock()
	m.archive = a
}

// Query implements transport.Querier. It asks the first other node, in the order
// of New, that serves; a later page comes from the same one.
func (m *Node) Query(ctx context.Context, q transport.Query) (transport.Page, error) {
	number := uint64(0)
	if len(q.Cursor) > 0 {
		if len(q.Cursor) < cursorHead {
			return transport.Page{}, transport.Invalid("cursor", "%d bytes are too few", len(q.Cursor))
		}
		number, q.Cursor = binary.BigEndian.Uint64(q.Cursor), q.Cursor[cursorHead:]
	}
	server, archive := m.server(number)
	if server == 0 {
		return transport.Page{}, transport.ErrUnavailable
	}
	page, err := archive(ctx, transport.Ask{Query: q, Peer: strconv.FormatUint(m.number, 10)})
	if err != nil {
		return transport.Page{}, err
	}
	slices.SortStableFunc(page.Envelopes, func(a, b transport.Envelope) int { return cmp.Compare(a.Sent.Unix(), b.Sent.Unix()) })
	if page.Cursor != nil {
		if len(page.Cursor) > transport.MaxText-cursorHead {
			return transport.Page{}, transport.Invalid("cursor", "%d bytes are too many", len(page.Cursor))
		}
		page.Cursor = append(binary.BigEndian.AppendUint64(nil, server), page.Cursor...)
	}
	return page, nil
}

// server returns the other node that serves and has the number, or any if it is
// 0, and its archive; 0 if there is none.
func (m *Node) server(number uint64) (uint64, transport.Archive) {
	m.net.mu.Lock()
	defer m.net.mu.Unlock()
	for _, n := range m.peers() {
		if n.archive != nil && (number == 0 || n.number == number) {
			return n.number, n.archive
		}
	}
	return 0, nil
}
