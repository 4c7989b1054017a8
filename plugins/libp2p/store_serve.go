package libp2p

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/stratanode/strata/plugins/transport"
)

// Bounds of answering out of the archive.
const (
	maxStoreServed = 8               // answers at once; the contract allows 16 questions
	archiveTimeout = 8 * time.Second // for the archive to answer; the peer waits 10 s for a frame
	storesBurst    = 32              // requests of a peer …
	storesRate     = 4.0             // … and per second after them
)

// Serve implements transport.Server: as long as it runs, peers may ask the
// archive by /strata/store/1.
func (t *Transport) Serve(ctx context.Context, archive transport.Archive) error {
	if t.host == nil || t.ctx.Err() != nil {
		return transport.ErrClosed
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()
	slots := make(chan struct{}, maxStoreServed)
	t.host.SetStreamHandler(storeProtocol, func(s network.Stream) { t.serveStore(ctx, s, slots, archive) })
	defer t.host.RemoveStreamHandler(storeProtocol)
	<-ctx.Done()
	// Streams of this Serve end with ctx; a handler that has just begun sees that
	// as the first thing.
	for range maxStoreServed {
		slots <- struct{}{}
	}
	return ctx.Err()
}

// serveStore answers one stream of /strata/store/1.
func (t *Transport) serveStore(ctx context.Context, s network.Stream, slots chan struct{}, archive transport.Archive) {
	k := t.meters.of(s.Conn().RemotePeer(), time.Now())
	if k == nil || !k.stores.Allow() {
		t.count.storeRefused.Add(1)
		t.quit(s, nil)
		return
	}
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	default:
		t.count.storeRefused.Add(1)
		t.quit(s, nil)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, serveTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { t.quit(s, nil) })()
	t.quit(s, t.answerStore(ctx, s, k, archive))
}

func (t *Transport) answerStore(ctx context.Context, s network.Stream, k *meter, archive transport.Archive) error {
	if err := s.SetDeadline(time.Now().Add(frameTimeout)); err != nil {
		return err
	}
	raw, err := readFrame(bufio.NewReader(s), maxStoreAsk)
	if err != nil {
		return asStore(err)
	}
	ask, err := decodeStoreAsk(raw)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(s, 32<<10)
	if ask.scope != t.scope {
		t.count.storeRefused.Add(1)
		return t.decline(s, w, statusRefused, "another network")
	}
	// A peer that goes is noticed by that its stream ends.
	ctx, cancel := context.WithTimeout(ctx, archiveTimeout)
	defer cancel()
	if err := s.SetDeadline(time.Time{}); err != nil {
		return err
	}
	t.spawn(func() {
		if _, err := io.CopyN(io.Discard, s, 1); !errors.Is(err, io.EOF) {
			cancel() // gone, or it says more than it may
		}
	})
	page, err := archive(ctx, transport.Ask{Query: ask.query, Peer: s.Conn().RemotePeer().String(), Address: addressOf(s.Conn().RemoteMultiaddr())})
	switch {
	case err == nil && len(page.Cursor) > maxStoreCursor:
		return t.decline(s, w, statusRefused, "a cursor that does not fit")
	case errors.Is(err, transport.ErrBusy), errors.Is(err, context.DeadlineExceeded):
		return t.decline(s, w, statusBusy, "no room now")
	case err != nil && ctx.Err() != nil:
		return err
	case err != nil:
		return t.decline(s, w, statusRefused, transport.ErrorOf(err).Reason)
	}
	return t.givePage(s, w, k, page)
}

// decline writes why there is no page.
func (t *Transport) decline(s network.Stream, w *bufio.Writer, status byte, reason string) error {
	t.count.storeDeclined.Add(1)
	if err := send(s, w, append([]byte{status}, transport.Clean(reason, transport.MaxText)...)); err != nil {
		return err
	}
	return errDone
}

// givePage writes a page. A peer that has had too many bytes waits for the next.
func (t *Transport) givePage(s network.Stream, w *bufio.Writer, k *meter, page transport.Page) error {
	var frames [][]byte
	size := 0
	for _, e := range page.Envelopes {
		if len(e.Data) == 0 || len(e.Data) > t.codec.maxData() || e.TTL < time.Second {
			continue // of another transport, and too long for this one
		}
		e.TTL = min(e.TTL, t.codec.maxTTL())
		wire := t.codec.encode(e)
		frames = append(frames, wire)
		size += len(wire)
	}
	if !k.bytes.AllowN(time.Now(), size) {
		return t.decline(s, w, statusBusy, "too many bytes for now")
	}
	frames = append(frames, nil, page.Cursor)
	if err := writeFrame(w, []byte{statusPage}); err != nil {
		return err
	}
	for _, f := range frames {
		if err := s.SetWriteDeadline(time.Now().Add(frameTimeout)); err != nil {
			return err
		}
		if err := writeFrame(w, f); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	t.count.storeServed.Add(uint64(len(page.Envelopes)))
	return errDone
}

// addressOf returns the IP address of a peer; zero if there is none, as for one
// behind a relay.
func addressOf(a ma.Multiaddr) netip.Addr {
	if _, err := a.ValueForProtocol(ma.P_CIRCUIT); err == nil {
		return netip.Addr{}
	}
	ip, err := manet.ToIP(a)
	if err != nil {
		return netip.Addr{}
	}
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

// asStore makes what is wrong with a frame a breach of this protocol.
func asStore(err error) error {
	if errors.Is(err, errRecent) {
		return errors.Join(errStore, err)
	}
	return err
}
