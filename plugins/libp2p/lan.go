package libp2p

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/zeroconf/v2"
	ma "github.com/multiformats/go-multiaddr"
)

// The service of the specification of libp2p (discovery/mdns). Its own
// implementation in Go neither searches nor ends on a machine without IPv6, and
// tells of a peer only once in an hour.
const (
	lanService = "_p2p._udp"
	lanDomain  = "local"
	lanText    = "dnsaddr="
	lanPort    = 4001 // DNS-SD wants one; nobody reads it, the addresses have theirs
	lanName    = 16   // random bytes of the name of this node on the LAN, which must not tell who it is
	lanAddrs   = 32   // addresses announced, about 100 bytes each, and taken of one announcement
	foundLimit = 64   // dials to peers found on the LAN that run at once
)

// lanRound is how often everything is looked at anew: the interfaces, the
// addresses of this node, and who is there. A peer that was lost, or for which
// there was no room, is met again in the next one. Tests make it shorter.
var lanRound = time.Minute

// meetLAN announces this node to the LAN and dials the nodes found there.
func (t *Transport) meetLAN(random io.Reader) error {
	var name [lanName]byte
	if _, err := io.ReadFull(random, name[:]); err != nil {
		return fmt.Errorf("libp2p: randomness: %w", err)
	}
	t.spawn(func() { t.announce(t.ctx, hex.EncodeToString(name[:])) })
	dials := make(chan struct{}, foundLimit)
	// One search each, for one family may be missing.
	for family, kind := range map[string]zeroconf.IPType{"IPv4": zeroconf.IPv4, "IPv6": zeroconf.IPv6} {
		t.spawn(func() { t.search(t.ctx, family, kind, dials) })
	}
	return nil
}

// announce answers those who search, until ctx is done. A node that does not
// listen has nothing to announce.
func (t *Transport) announce(ctx context.Context, name string) {
	var server *zeroconf.Server
	var told []string
	var failed string
	for {
		if texts, ips := t.lanTexts(); !slices.Equal(texts, told) {
			if server != nil {
				server.Shutdown()
				server = nil
			}
			told = nil
			if len(texts) > 0 {
				s, err := zeroconf.RegisterProxy(name, lanService, lanDomain, lanPort, name, ips, texts, nil)
				if err == nil {
					server, told = s, texts
				}
				failed = t.lanState("announced", failed, err)
			}
		}
		if !pause(ctx, lanRound) {
			break
		}
	}
	if server != nil {
		server.Shutdown()
	}
}

// lanTexts returns the addresses of this node as they are announced, and one of
// each family of which the names of DNS are made.
func (t *Transport) lanTexts() (texts, ips []string) {
	addrs, err := t.host.Network().InterfaceListenAddresses()
	if err != nil {
		t.log.Debug("addresses of interfaces", "err", err)
		return nil, nil
	}
	have := map[int]bool{}
	for _, a := range addrs {
		first, _ := ma.SplitFirst(a)
		if first == nil || len(texts) == lanAddrs {
			continue
		}
		if _, err := a.ValueForProtocol(ma.P_CIRCUIT); err == nil {
			continue
		}
		code := first.Protocol().Code
		if code != ma.P_IP4 && code != ma.P_IP6 {
			continue
		}
		texts = append(texts, lanText+a.String()+"/p2p/"+t.host.ID().String())
		if !have[code] {
			have[code] = true
			ips = append(ips, first.Value())
		}
	}
	slices.Sort(texts) // their order means nothing
	return texts, ips
}

// search asks the LAN who is there, in one round after the other until ctx is
// done.
func (t *Transport) search(ctx context.Context, family string, kind zeroconf.IPType, dials chan struct{}) {
	var failed string
	for {
		round, cancel := context.WithTimeout(ctx, lanRound)
		failed = t.lanState("searched by "+family, failed, t.browse(round, kind, dials))
		<-round.Done()
		cancel()
		if ctx.Err() != nil {
			return
		}
	}
}

// browse dials who answers until ctx is done.
func (t *Transport) browse(ctx context.Context, kind zeroconf.IPType, dials chan struct{}) error {
	entries, ended := make(chan *zeroconf.ServiceEntry), make(chan error, 1)
	go func() { ended <- zeroconf.Browse(ctx, lanService, lanDomain, entries, zeroconf.SelectIPTraffic(kind)) }()
	for {
		select {
		case e, ok := <-entries:
			if !ok {
				entries = nil // ended follows
				continue
			}
			t.found(ctx, e.Text, dials)
		case err := <-ended: // without a socket entries is not closed
			return err
		}
	}
}

// found dials the peers of an announcement.
func (t *Transport) found(ctx context.Context, texts []string, dials chan struct{}) {
	var addrs []ma.Multiaddr
	for _, s := range texts[:min(len(texts), lanAddrs)] {
		if len(s) <= len(lanText) || s[:len(lanText)] != lanText {
			continue
		}
		if a, err := ma.NewMultiaddr(s[len(lanText):]); err == nil {
			addrs = append(addrs, a)
		}
	}
	peers, err := peer.AddrInfosFromP2pAddrs(addrs...)
	if err != nil {
		return // not one of libp2p
	}
	for _, p := range peers {
		if p.ID == t.host.ID() || len(t.host.Network().Peers()) >= t.conf.MaxPeers {
			continue
		}
		select {
		case dials <- struct{}{}:
		default:
			return
		}
		t.spawn(func() {
			t.dial(t.ctx, p)
			<-dials
		})
	}
}

// lanState logs a fault of mDNS when it comes and when it goes, and returns it
// for the next time.
func (t *Transport) lanState(what, before string, err error) string {
	switch {
	case err != nil && err.Error() != before:
		t.log.Warn("LAN cannot be "+what, "err", err)
	case err == nil && before != "":
		t.log.Info("LAN can be " + what)
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

// pause waits and returns false when ctx is done.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
