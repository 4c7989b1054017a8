// Package udp floods envelopes over UDP between the nodes of a LAN. It is the transport to copy.
// A node sends what is new to it to all its peers, and again, at growing intervals, to those that
// have not confirmed it, until its TTL is over. README.md has the settings and the wire format.
package udp

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/stratanode/strata/plugins/transport"
	"github.com/stratanode/strata/plugins/transport/store"
)

const (
	maxData             = 60_000                                  // bytes of Data; a datagram has room for 65,507
	maxTTL              = 10 * time.Minute                        // so that nobody fills our memory for longer
	maxHeld, maxBytes   = 1 << 16, 128 << 20                      // envelopes kept until their TTL is over, and bytes
	firstWait, lastWait = 200 * time.Millisecond, 4 * time.Second // before sending again; doubles
	buffer              = 4 << 20                                 // bytes for the socket; the system may give less
	kindData, kindHave  = 1, 2                                    // datagrams: an envelope, or the key of one that arrived
)

// UDP is the transport.
type UDP struct {
	*store.Store // Subscribe, Receive, Stats
	conn         *net.UDPConn
	peers        []netip.AddrPort
	reading      sync.WaitGroup
	mu           sync.Mutex
	missing      map[store.Key][]netip.AddrPort // who has not confirmed an envelope; guarded by mu
}

// New returns a transport to open.
func New() transport.Transport { return &UDP{missing: map[store.Key][]netip.AddrPort{}} }

// Open implements transport.Transport.
func (u *UDP) Open(_ context.Context, o transport.Options) (info transport.Info, err error) {
	var settings struct {
		Listen string   `json:"listen"`
		Peers  []string `json:"peers"`
	}
	if err = o.Settings(&settings); err != nil {
		return info, err
	}
	for _, text := range settings.Peers {
		peer, err := net.ResolveUDPAddr("udp", text)
		if err != nil {
			return info, transport.Invalid("peers", "%v", err)
		}
		u.peers = append(u.peers, plain(peer.AddrPort()))
	}
	conn, err := net.ListenPacket("udp", settings.Listen)
	if err != nil {
		return info, transport.Invalid("listen", "%v", err)
	}
	u.conn = conn.(*net.UDPConn)
	_, _ = u.conn.SetReadBuffer(buffer), u.conn.SetWriteBuffer(buffer)
	u.Store = store.New(o.Now, store.Limits{Data: maxData, TTL: maxTTL, Envelopes: maxHeld, Bytes: maxBytes})
	u.SetPeers(len(u.peers)) // nobody knows which of them are there
	u.reading.Go(u.read)
	return transport.Info{Name: "udp", Version: "1.0.0", MaxData: maxData, MaxTTL: maxTTL, Latency: time.Second,
		Addresses: []string{u.conn.LocalAddr().String()}, Receiver: transport.AnonymityNetwork, Storage: transport.StorageTTL}, nil
}

// Publish implements transport.Transport.
func (u *UDP) Publish(_ context.Context, batch []transport.Envelope) []error {
	errs := make([]error, len(batch))
	for i, e := range batch {
		errs[i] = u.take(e, netip.AddrPort{})
	}
	return errs
}

// Close implements transport.Transport.
func (u *UDP) Close(context.Context) error {
	if u.conn == nil {
		return nil // Open failed
	}
	u.Store.Close()
	defer u.reading.Wait()
	return u.conn.Close()
}

// read handles what arrives until Close.
func (u *UDP) read() {
	for b := make([]byte, 1<<16); ; {
		n, from, err := u.conn.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		switch from = plain(from); {
		case n == 1+len(store.Key{}) && b[0] == kindHave:
			u.confirmed(store.Key(b[1:n]), from)
		case n > 1 && b[0] == kindData:
			if e, err := store.Decode(bytes.Clone(b[1:n])); err == nil {
				_ = u.take(e, from)
			}
		}
	}
}

// take keeps an envelope, floods it if it is new, and confirms it to the peer it came from, if any.
func (u *UDP) take(e transport.Envelope, from netip.AddrPort) error {
	k, fresh, err := u.Add(e, !from.IsValid())
	if err == nil && from.IsValid() {
		_, _ = u.conn.WriteToUDPAddrPort(append([]byte{kindHave}, k[:]...), from)
	}
	if fresh {
		u.mu.Lock()
		u.missing[k] = slices.Clone(u.peers)
		u.mu.Unlock()
		u.confirmed(k, from)
		u.flood(k, store.Encode([]byte{kindData}, e), firstWait)
	}
	return err
}

func (u *UDP) confirmed(k store.Key, by netip.AddrPort) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if peers, ok := u.missing[k]; ok {
		u.missing[k] = slices.DeleteFunc(peers, func(p netip.AddrPort) bool { return p == by })
	}
}

// flood sends a datagram to the peers that miss it, now and while it is worth carrying.
func (u *UDP) flood(k store.Key, datagram []byte, wait time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.missing[k]) == 0 || !u.Holds(k) {
		delete(u.missing, k)
		return
	}
	for _, peer := range u.missing[k] {
		if _, err := u.conn.WriteToUDPAddrPort(datagram, peer); errors.Is(err, net.ErrClosed) {
			return
		}
	}
	time.AfterFunc(wait, func() { u.flood(k, datagram, min(2*wait, lastWait)) })
}

func plain(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
