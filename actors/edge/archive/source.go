package archive

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/stratanode/strata/layers"
)

// Bounds of what names a mail server.
const (
	maxSources    = 64  // that an archive follows; they are asked in turn
	maxServerName = 512 // bytes; an enode URL has 137 and a host name
)

// sourceID returns what the mark of a server is stored under: the node id of an
// enode URL, so that another address is the same server, or else the whole text.
func sourceID(server string) (string, error) {
	switch {
	case server == "":
		return "", errors.New("no server is named")
	case len(server) > maxServerName:
		return "", fmt.Errorf("the server has a name of %d bytes, the longest may have %d", len(server), maxServerName)
	case !utf8.ValidString(server) || strings.ContainsFunc(server, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "", errors.New("the name of the server cannot be printed")
	case !strings.HasPrefix(server, enodeScheme):
		return server, nil
	}
	return enodeID(server)
}

const enodeScheme = "enode://"

// enodeID checks an enode URL, enode://KEY@HOST:PORT, and returns the node id in
// hex: the Keccak-256 of the key.
func enodeID(url string) (string, error) {
	rest, ok := strings.CutPrefix(url, enodeScheme)
	digits, address, at := strings.Cut(rest, "@")
	if !ok || !at {
		return "", fmt.Errorf("%.80q is no enode URL, enode://KEY@HOST:PORT", url)
	}
	point, err := hex.DecodeString(digits)
	if err == nil {
		_, err = layers.ParsePublicKey(append([]byte{4}, point...))
	}
	if err != nil {
		return "", fmt.Errorf("%.80q: key: %w", url, err)
	}
	address, _, _ = strings.Cut(address, "?")
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("%.80q: want a host and a port after the key", url)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
		return "", fmt.Errorf("%.80q: %.80q is no host and port", url, address)
	}
	id := layers.Keccak256(point)
	return hex.EncodeToString(id[:]), nil
}

// validateSync returns the faults of what says whom to follow.
func (c Config) validateSync() (errs []error) {
	if len(c.Sync) > maxSources {
		errs = append(errs, fmt.Errorf("sync: %d servers, at most %d", len(c.Sync), maxSources))
	}
	known := map[string]bool{}
	for i, server := range c.Sync {
		id, err := enodeID(server)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("sync: server %d: %w", i+1, err))
		case len(server) > maxServerName:
			errs = append(errs, fmt.Errorf("sync: server %d: has %d bytes, at most %d", i+1, len(server), maxServerName))
		case known[id]:
			errs = append(errs, fmt.Errorf("sync: server %d: is there twice", i+1))
		}
		known[id] = true
	}
	if c.SyncEvery != 0 && c.SyncEvery < leastSyncEvery {
		errs = append(errs, fmt.Errorf("sync_every: %v is neither 0 nor at least %v", c.SyncEvery, leastSyncEvery))
	}
	if c.SyncWindow < leastSyncWindow {
		errs = append(errs, fmt.Errorf("sync_window: %v is less than %v", c.SyncWindow, leastSyncWindow))
	}
	if c.SyncOverlap < 0 || c.SyncOverlap > maxSyncOverlap {
		errs = append(errs, fmt.Errorf("sync_overlap: %v is not within 0s and %v", c.SyncOverlap, maxSyncOverlap))
	}
	return errs
}
