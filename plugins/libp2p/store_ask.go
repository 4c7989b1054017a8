package libp2p

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/stratanode/strata/plugins/transport"
)

// Bounds of asking for the past. A Query has 30 s.
const (
	maxStoresAsked = 3               // peers tried for one page
	storeTimeout   = 9 * time.Second // for the page of one peer
	storeShunned   = time.Minute     // a peer that failed is tried last for so long
	maxShunned     = 1024            // peers of which that is remembered
)

// stores remembers which peers failed to answer.
type stores struct {
	mu     sync.Mutex
	failed map[peer.ID]time.Time
}

func (s *stores) fail(p peer.ID, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.failed) >= maxShunned {
		clear(s.failed)
	}
	s.failed[p] = now
}

func (s *stores) shuns(p peer.ID, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.failed[p]
	return ok && now.Sub(at) < storeShunned
}

// tagOf names the peer that a cursor is of.
func tagOf(p peer.ID) [serverTag]byte {
	sum := sha256.Sum256([]byte(p))
	return [serverTag]byte(sum[:serverTag])
}

// Query implements transport.Querier. It asks connected peers that speak
// /strata/store/1, one after the other until one answers: those of the settings
// first, the others by lot. A later page comes from the peer of the first.
func (t *Transport) Query(ctx context.Context, q transport.Query) (transport.Page, error) {
	if t.host == nil || t.ctx.Err() != nil {
		return transport.Page{}, transport.ErrClosed
	}
	var tag []byte
	if len(q.Cursor) > 0 {
		if len(q.Cursor) <= serverTag {
			return transport.Page{}, transport.Invalid("cursor", "libp2p: %d bytes are not of a page", len(q.Cursor))
		}
		tag, q.Cursor = q.Cursor[:serverTag], q.Cursor[serverTag:]
	}
	if !q.Filter.All && len(q.Filter.Topics) == 0 || !q.From.Before(q.To) {
		return transport.Page{}, nil
	}
	last := error(&transport.Error{Code: transport.CodeUnavailable, Reason: "libp2p: no peer has an archive"})
	for _, p := range t.storePeers(tag) {
		page, err := t.askStore(ctx, p, q)
		if err == nil {
			if page.Cursor != nil {
				head := tagOf(p)
				page.Cursor = append(head[:], page.Cursor...)
			}
			return page, nil
		}
		if ctx.Err() != nil || t.ctx.Err() != nil {
			return transport.Page{}, cmp.Or(context.Cause(t.ctx), ctx.Err())
		}
		t.count.storeFailed.Add(1)
		t.stores.fail(p, time.Now())
		last = err
	}
	return transport.Page{}, last
}

// storePeers returns whom to ask, the best first.
func (t *Transport) storePeers(tag []byte) []peer.ID {
	static := map[peer.ID]bool{}
	for _, p := range infos(t.conf.Peers) {
		static[p.ID] = true
	}
	now := time.Now()
	type candidate struct {
		id   peer.ID
		rank int
	}
	var all []candidate
	for _, p := range t.host.Network().Peers() {
		if head := tagOf(p); tag != nil && string(head[:]) != string(tag) {
			continue
		}
		speaks, err := t.host.Peerstore().SupportsProtocols(p, storeProtocol)
		if err != nil || len(speaks) == 0 {
			continue
		}
		c := candidate{id: p}
		if !static[p] {
			c.rank++
		}
		if t.stores.shuns(p, now) {
			c.rank += 2
		}
		all = append(all, c)
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(a.rank, b.rank) })
	var list []peer.ID
	for _, c := range all[:min(len(all), maxStoresAsked)] {
		list = append(list, c.id)
	}
	return list
}

// askStore asks one peer for a page.
func (t *Transport) askStore(ctx context.Context, p peer.ID, q transport.Query) (transport.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()
	t.count.storeAsked.Add(1)
	s, err := t.host.NewStream(network.WithNoDial(ctx, "store"), p, storeProtocol)
	if err != nil {
		return transport.Page{}, unavailable(err)
	}
	defer context.AfterFunc(ctx, func() { t.quit(s, nil) })()
	page, err := t.readStore(s, q)
	if err != nil {
		t.quit(s, err)
		if e := (*transport.Error)(nil); errors.As(err, &e) {
			return transport.Page{}, e
		}
		return transport.Page{}, unavailable(err)
	}
	t.quit(s, errDone)
	t.count.storeFetched.Add(uint64(len(page.Envelopes)))
	return page, nil
}

// unavailable is the answer if a peer did not give one.
func unavailable(err error) error {
	return &transport.Error{Code: transport.CodeUnavailable, Reason: transport.Clean("libp2p: a peer did not answer: "+err.Error(), transport.MaxText)}
}

// readStore asks through a stream and reads the answer, checked as strictly as
// gossip. What is not in it cannot be checked: a peer may keep envelopes back.
func (t *Transport) readStore(s network.Stream, q transport.Query) (transport.Page, error) {
	if err := s.SetDeadline(time.Now().Add(storeTimeout)); err != nil {
		return transport.Page{}, err
	}
	if err := send(s, bufio.NewWriter(s), storeAsk{t.scope, q}.encode()); err != nil {
		return transport.Page{}, err
	}
	if err := s.CloseWrite(); err != nil {
		return transport.Page{}, err
	}
	page, err := readPage(bufio.NewReader(s), t.codec, q)
	return page, asStore(err)
}

// readPage reads and checks the answer to q.
func readPage(r *bufio.Reader, c codec, q transport.Query) (page transport.Page, err error) {
	status, err := readFrame(r, maxStatus)
	switch {
	case err != nil:
		return page, err
	case len(status) == 0:
		return page, fmt.Errorf("%w: no status", errStore)
	case status[0] == statusBusy:
		return page, &transport.Error{Code: transport.CodeBusy, Reason: "libp2p: the peer has no room now"}
	case status[0] == statusRefused:
		return page, &transport.Error{Code: transport.CodeInvalid, Reason: transport.Clean("libp2p: the peer refused: "+string(status[1:]), transport.MaxText)}
	case status[0] != statusPage || len(status) != 1:
		return page, fmt.Errorf("%w: status %d", errStore, status[0])
	}
	topics := make(map[transport.Topic]bool, len(q.Filter.Topics))
	for _, topic := range q.Filter.Topics {
		topics[topic] = true
	}
	size := 0
	for {
		wire, err := readFrame(r, c.maxWire())
		if err != nil {
			return page, err
		}
		if len(wire) == 0 {
			break
		}
		e, err := c.decode(wire)
		size += len(wire)
		switch {
		case err != nil:
			return page, fmt.Errorf("%w: envelope: %w", errStore, err)
		case !q.Filter.All && !topics[e.Topic] || e.Sent.Before(q.From) || !e.Sent.Before(q.To):
			return page, fmt.Errorf("%w: envelope not asked for", errStore)
		case len(page.Envelopes) == q.Limit || size > maxPageBytes:
			return page, fmt.Errorf("%w: page too long", errStore)
		}
		page.Envelopes = append(page.Envelopes, e)
	}
	cursor, err := readFrame(r, maxStoreCursor)
	if err != nil {
		return page, err
	}
	if len(cursor) > 0 {
		page.Cursor = cursor
	}
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		return page, fmt.Errorf("%w: more after the page", errStore)
	}
	slices.SortStableFunc(page.Envelopes, func(a, b transport.Envelope) int { return cmp.Compare(a.Sent.Unix(), b.Sent.Unix()) })
	return page, nil
}
