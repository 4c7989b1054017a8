package mail

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
)

const (
	enodeScheme = "enode://"
	keyDigits   = 128 // hex digits of a node key in an enode URL
	maxHost     = 253 // longest DNS name, in bytes
)

// parseEnode reads enode://KEY@HOST:PORT, with ?discport=PORT behind it or
// without. HOST is an IPv4 address, an IPv6 address in brackets or a DNS name.
func parseEnode(url string) (overlay.PeerID, layers.PublicKey, error) {
	id, key, err := NodeOf(url)
	if err != nil {
		return id, key, err
	}
	_, address, found := strings.Cut(url, "@")
	if !found {
		return overlay.PeerID{}, layers.PublicKey{}, urlError(url, errors.New("no address"))
	}
	address, discovery, found := strings.Cut(address, "?discport=")
	if found && discovery != "0" && !isPort(discovery) {
		return overlay.PeerID{}, layers.PublicKey{}, urlError(url, errors.New("discport is no port"))
	}
	if err := checkAddress(address); err != nil {
		return overlay.PeerID{}, layers.PublicKey{}, urlError(url, err)
	}
	return id, key, nil
}

// NodeOf returns the id and the key of the node that an enode URL names. The
// address in it may be anything, or missing.
func NodeOf(url string) (overlay.PeerID, layers.PublicKey, error) {
	rest, ok := strings.CutPrefix(url, enodeScheme)
	if !ok {
		return overlay.PeerID{}, layers.PublicKey{}, urlError(url, errors.New("does not begin with "+enodeScheme))
	}
	digits, _, _ := strings.Cut(rest, "@")
	if len(digits) != keyDigits {
		return overlay.PeerID{}, layers.PublicKey{}, urlError(url, fmt.Errorf("node key of %d hex digits, want %d", len(digits), keyDigits))
	}
	point, err := hex.DecodeString(digits)
	if err != nil {
		return overlay.PeerID{}, layers.PublicKey{}, urlError(url, errors.New("node key is not hex"))
	}
	key, err := layers.ParsePublicKey(append([]byte{4}, point...))
	if err != nil {
		return overlay.PeerID{}, layers.PublicKey{}, urlError(url, fmt.Errorf("node key: %w", err))
	}
	return layers.Keccak256(point), key, nil
}

func urlError(url string, err error) error { return fmt.Errorf("mail: enode URL %.80q: %w", url, err) }

// checkAddress tells what is wrong with HOST:PORT.
func checkAddress(s string) error {
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 || !isPort(s[colon+1:]) {
		return errors.New("no port")
	}
	host := s[:colon]
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if a, err := netip.ParseAddr(inner); !ok || err != nil || !a.Is6() {
			return errors.New("no IPv6 address in brackets")
		}
		return nil
	}
	if host == "" || len(host) > maxHost || strings.IndexFunc(host, notInHost) >= 0 {
		return errors.New("no host")
	}
	return nil
}

func notInHost(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-')
}

func isPort(s string) bool {
	if s == "" || s[0] < '1' || s[0] > '9' {
		return false
	}
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// parsePeer reads the hexadecimal form of a peer id.
func parsePeer(s string) (id overlay.PeerID, ok bool) {
	b, err := hex.DecodeString(strings.TrimPrefix(s, "0x"))
	if err != nil || len(b) != len(id) {
		return id, false
	}
	return overlay.PeerID(b), true
}
