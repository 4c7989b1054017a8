package whisper

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/stratanode/strata/layers/transport/whisper/mail"
)

// Interest says which envelopes a node asks its peers for.
type Interest string

const (
	// Everything is the interest of a relay: all envelopes.
	Everything Interest = "everything"
	// Subscribed is the interest of a client: the topics the layers above have
	// subscribed to, which the peers learn as a bloom filter.
	Subscribed Interest = "subscribed"
)

// Bounds of the configuration. The floors are those of the Status network
// (Status 3/WHISPER-USAGE): its nodes neither ask for a proof of work above
// 0.002 nor use a time to live below 10 s.
const (
	statusPoW = 0.002
	statusTTL = 10 * time.Second

	maxMaxTTL      = 30 * 24 * time.Hour // beyond it an expiry says nothing
	minMessageSize = 4 << 10             // bytes; holds the shortest Status message with ease
	maxMessageSize = 10 << 20            // bytes; the hard limit of the deployed nodes
	minBundle      = 1 << 10             // bytes
	maxBundle      = 512 << 10           // bytes; half of what a peer takes by default
	minPool        = 1 << 20             // bytes
)

// Config is the configuration of the transport.
type Config struct {
	Interest       Interest      `yaml:"interest" comment:"Which envelopes to ask peers for: everything (a relay) or subscribed (a client; its peers learn about its topics)."`
	MinPoW         float64       `yaml:"min_pow" comment:"Proof of work per byte and second that an envelope of a peer must have, 0 to 0.002."`
	PoW            float64       `yaml:"pow" comment:"Proof of work per byte and second of own envelopes, from min_pow to 0.002."`
	PoWTime        time.Duration `yaml:"pow_time" comment:"After how long the proof of work for an own envelope is given up."`
	TTL            time.Duration `yaml:"ttl" comment:"Time to live of own envelopes for which nothing else is asked, at least 10s."`
	MaxTTL         time.Duration `yaml:"max_ttl" comment:"Longest time to live; envelopes of peers with a longer one are refused."`
	MaxMessageSize int           `yaml:"max_message_size_bytes" comment:"Longest packet and envelope in bytes, received or sent; 1048576 is what all peers take."`
	PoolBytes      int           `yaml:"pool_bytes" comment:"Memory for envelopes, in bytes. When it is full, those with the least proof of work go first."`
	BundleBytes    int           `yaml:"bundle_bytes" comment:"Longest packet of several envelopes that is sent, in bytes, up to 524288."`
	Light          bool          `yaml:"light" comment:"Carry nothing for others: own envelopes are sent, those of peers are only taken in."`

	Mail mail.Config `yaml:",inline"`
}

// DefaultConfig returns the configuration of an empty section.
func DefaultConfig() Config {
	return Config{
		Interest:       Everything,
		MinPoW:         0.001,
		PoW:            statusPoW,
		PoWTime:        5 * time.Second,
		TTL:            15 * time.Second,
		MaxTTL:         48 * time.Hour,
		MaxMessageSize: 1 << 20,
		PoolBytes:      64 << 20,
		BundleBytes:    maxBundle,
		Mail:           mail.DefaultConfig(),
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
	fault(c.Interest != Everything && c.Interest != Subscribed, "interest: %q is neither %s nor %s", c.Interest, Everything, Subscribed)
	fault(outside(c.MinPoW, 0, statusPoW), "min_pow: %v is not within 0 and %v", c.MinPoW, statusPoW)
	fault(outside(c.PoW, 0, statusPoW), "pow: %v is not within 0 and %v", c.PoW, statusPoW)
	fault(c.PoW < c.MinPoW, "pow: %v is below min_pow, %v", c.PoW, c.MinPoW)
	fault(c.PoWTime <= 0, "pow_time: %v is not above 0s", c.PoWTime)
	fault(c.TTL < statusTTL, "ttl: %v is below %v", c.TTL, statusTTL)
	fault(c.MaxTTL < c.TTL, "max_ttl: %v is below ttl, %v", c.MaxTTL, c.TTL)
	fault(c.MaxTTL > maxMaxTTL, "max_ttl: %v is above %v", c.MaxTTL, maxMaxTTL)
	fault(c.TTL%time.Second != 0, "ttl: %v is not in whole seconds", c.TTL)
	fault(c.MaxTTL%time.Second != 0, "max_ttl: %v is not in whole seconds", c.MaxTTL)
	fault(c.MaxMessageSize < minMessageSize || c.MaxMessageSize > maxMessageSize,
		"max_message_size_bytes: %d is not within %d and %d", c.MaxMessageSize, minMessageSize, maxMessageSize)
	fault(c.PoolBytes < minPool, "pool_bytes: %d is below %d", c.PoolBytes, minPool)
	fault(c.PoolBytes < 2*c.MaxMessageSize, "pool_bytes: %d is below twice max_message_size_bytes", c.PoolBytes)
	fault(c.BundleBytes < minBundle || c.BundleBytes > maxBundle, "bundle_bytes: %d is not within %d and %d", c.BundleBytes, minBundle, maxBundle)
	fault(c.BundleBytes > c.MaxMessageSize, "bundle_bytes: %d is above max_message_size_bytes, %d", c.BundleBytes, c.MaxMessageSize)
	if err := c.Mail.Validate(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func outside(x, low, high float64) bool { return math.IsNaN(x) || x < low || x > high }
