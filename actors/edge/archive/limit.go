package archive

import (
	"net/netip"
	"sync"
	"time"
)

// limits are the accounts of all who ask: of every peer, and of every range of
// addresses, because it costs nothing to be another peer.
type limits struct {
	mu        sync.Mutex
	peers     accounts[string]
	addresses accounts[netip.Prefix]
}

func newLimits(cfg Config) *limits {
	return &limits{peers: newAccounts[string](cfg), addresses: newAccounts[netip.Prefix](cfg)}
}

// allow reports whether a peer may ask.
func (l *limits) allow(now time.Time, peer string, address netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.peers.of(now, peer).level <= 0 {
		return false
	}
	prefix, known := rangeOf(address)
	return !known || l.addresses.of(now, prefix).level > 0
}

// pay takes rows from the accounts of a peer, also more than there are.
func (l *limits) pay(now time.Time, peer string, address netip.Addr, rows int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.peers.of(now, peer).level -= float64(rows)
	if prefix, known := rangeOf(address); known {
		l.addresses.of(now, prefix).level -= float64(rows)
	}
}

// rangeOf returns the addresses that one subscriber is likely to have.
func rangeOf(address netip.Addr) (p netip.Prefix, known bool) {
	address = address.Unmap()
	bits := 64
	if address.Is4() {
		bits = 24
	}
	p, err := address.WithZone("").Prefix(bits)
	return p, err == nil
}

// maxAccounts is how many accounts one generation has, at about 150 bytes.
const maxAccounts = 1 << 14

// accounts are token buckets of rows. Those that were not used for as long as
// it takes to fill one are forgotten, and the least used ones when there are
// too many: they are kept in two generations, the older of which is dropped.
type accounts[K comparable] struct {
	rate, burst float64
	young, old  map[K]*account
	born        time.Time // of young
}

type account struct {
	level float64
	at    time.Time
}

func newAccounts[K comparable](cfg Config) accounts[K] {
	return accounts[K]{rate: float64(cfg.RowsPerSecond), burst: float64(cfg.BurstRows), young: map[K]*account{}}
}

// of returns an account, brought up to date.
func (s *accounts[K]) of(now time.Time, k K) *account {
	fill := time.Duration(2 * s.burst / s.rate * float64(time.Second))
	if len(s.young) >= maxAccounts || now.Sub(s.born) > fill {
		s.old, s.young, s.born = s.young, map[K]*account{}, now
	}
	a := s.young[k]
	if a == nil {
		if a = s.old[k]; a == nil {
			a = &account{s.burst, now}
		}
		delete(s.old, k)
		s.young[k] = a
	}
	if passed := now.Sub(a.at); passed > 0 { // the clock may be set back
		a.level = min(s.burst, a.level+s.rate*passed.Seconds())
	}
	a.at = now
	return a
}
