package mail

import (
	"errors"
	"fmt"
	"time"

	"github.com/stratanode/strata/layers/overlay"
)

// Bounds of the configuration.
const (
	maxServers = 64               // that a node keeps links to; the Status network had 9
	minTimeout = time.Second      // below it a loaded server is given up
	maxTimeout = 10 * time.Minute // above it nobody waits
	maxAsks    = 4096             // each may have a page in memory
)

// DefaultConfig returns the configuration of an empty section.
func DefaultConfig() Config {
	return Config{
		Password: "status-offline-inbox",
		Timeout:  10 * time.Second,
		Asks:     64,
	}
}

// Validate reports every fault of c, not only the first.
func (c Config) Validate() error {
	var errs []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	fault(len(c.Servers) > maxServers, "mail_servers: %d, more than %d", len(c.Servers), maxServers)
	seen := map[overlay.PeerID]bool{}
	for _, s := range c.Servers {
		id, _, err := parseEnode(s)
		fault(err != nil, "mail_servers: %w", err)
		fault(err == nil && seen[id], "mail_servers: %s is there twice", s)
		seen[id] = true
	}
	fault(c.Timeout < minTimeout || c.Timeout > maxTimeout, "mail_timeout: %v is not within %v and %v", c.Timeout, minTimeout, maxTimeout)
	fault(c.Asks < 1 || c.Asks > maxAsks, "mail_requests: %d is not within 1 and %d", c.Asks, maxAsks)
	return errors.Join(errs...)
}
