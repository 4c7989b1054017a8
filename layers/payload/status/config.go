package status

import (
	"errors"
	"fmt"
	"time"
)

// Config is the section layers.payload of the configuration file.
type Config struct {
	PublicRetryFor time.Duration `yaml:"public_retry_for" comment:"how long a public message is offered again when no peer took it"`
	MaxTextBytes   int           `yaml:"max_text_bytes" comment:"longest text of a message, own or received, in bytes of UTF-8"`
	MaxMessages    int           `yaml:"max_messages" comment:"messages kept per chat; the oldest make room"`
	MaxStrangers   int           `yaml:"max_strangers" comment:"open chats of people this node never wrote to; more are refused"`
	MaxPending     int           `yaml:"max_pending" comment:"own messages that may wait to be taken by the layer below"`
}

// The bounds of Config.
const (
	minTextBytes = 256            // bytes; less does not carry a sentence in every script
	maxTextBytes = 1 << 19        // bytes; half of the largest Whisper packet of 1 MiB
	minRetryFor  = time.Second    // less than the first pause: offered once
	maxRetryFor  = 24 * time.Hour // later nobody expects the message any more
)

// DefaultConfig returns the configuration of an empty section.
func DefaultConfig() Config {
	return Config{
		PublicRetryFor: 10 * time.Minute,
		MaxTextBytes:   16 << 10,
		MaxMessages:    100_000,
		MaxStrangers:   1000,
		MaxPending:     1000,
	}
}

// Validate reports every fault of c, not only the first.
func (c Config) Validate() error {
	var errs []error
	if c.PublicRetryFor < minRetryFor || c.PublicRetryFor > maxRetryFor {
		errs = append(errs, fmt.Errorf("public_retry_for: %v is not within %v and %v", c.PublicRetryFor, minRetryFor, maxRetryFor))
	}
	if c.MaxTextBytes < minTextBytes || c.MaxTextBytes > maxTextBytes {
		errs = append(errs, fmt.Errorf("max_text_bytes: %d is not within %d and %d", c.MaxTextBytes, minTextBytes, maxTextBytes))
	}
	for _, f := range []struct {
		name  string
		value int
	}{
		{"max_messages", c.MaxMessages}, {"max_strangers", c.MaxStrangers}, {"max_pending", c.MaxPending},
	} {
		if f.value < 1 {
			errs = append(errs, fmt.Errorf("%s: %d is below 1", f.name, f.value))
		}
	}
	return errors.Join(errs...)
}
